from __future__ import annotations

import random

import pytest

from backends.base import BytesBody
from backends.errors import AlreadyExists, Kind, NotFound, StoreError
from backends.memory import MemoryStore
from backends.retry import Policy, RetryStore
from tests.fakes.faulty_store import Fault, FaultyStore, error


class Sleeps(list[float]):
    async def __call__(self, seconds: float) -> None:
        self.append(seconds)


@pytest.fixture
def sleeps() -> Sleeps:
    return Sleeps()


@pytest.fixture
def faulty() -> FaultyStore:
    return FaultyStore(MemoryStore())


@pytest.fixture
def store(faulty: FaultyStore, sleeps: Sleeps) -> RetryStore:
    return RetryStore(faulty, Policy(sleep=sleeps, random=lambda: 1.0))


async def read(store: RetryStore, key: str, **range_: int) -> bytes:
    return b"".join([chunk async for chunk in store.get(key, **range_)])


async def test_waits_grow_and_then_it_gives_up(store: RetryStore, faulty: FaultyStore, sleeps: Sleeps) -> None:
    faulty.fail("head", Fault(error(), times=100))
    with pytest.raises(StoreError, match="as the test told"):
        await store.head("key")
    assert faulty.calls["head"] == 8
    assert sleeps == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8])


async def test_a_success_ends_it(store: RetryStore, faulty: FaultyStore, sleeps: Sleeps) -> None:
    faulty.fail("put", Fault(error(), times=2))
    await store.put("key", BytesBody(b"x"))
    assert (faulty.calls["put"], len(sleeps)) == (3, 2)


def test_jitter_is_full_and_capped() -> None:
    policy = Policy(random=random.Random(1).random)
    waits = [policy.wait(error(), 30) for _ in range(500)]
    assert 0 <= min(waits) < 1
    assert 19 < max(waits) <= 20


async def test_the_stores_own_time_is_honoured(store: RetryStore, faulty: FaultyStore, sleeps: Sleeps) -> None:
    faulty.fail("head", error(Kind.THROTTLED, retry_after=7.0))
    faulty.fail("head", error(Kind.THROTTLED, retry_after=9999.0))
    faulty.fail("head", error(Kind.THROTTLED, retry_after=0.0))
    with pytest.raises(NotFound):
        await store.head("key")
    assert sleeps == pytest.approx([7.0, 120.0, 0.8])


@pytest.mark.parametrize("kind", [kind for kind in Kind if not error(kind).retryable])
async def test_what_will_not_pass_is_not_tried_again(store: RetryStore, faulty: FaultyStore, kind: Kind) -> None:
    await store.put("key", BytesBody(b"x"))
    for verb, call in (
        ("head", store.head("key")),
        ("get", read(store, "key")),
        ("create_upload", store.create_upload("k")),
    ):
        faulty.fail(verb, error(kind))
        with pytest.raises(StoreError):
            await call
        assert faulty.calls[verb] == 1


async def test_a_body_is_read_again_from_its_start(store: RetryStore, faulty: FaultyStore) -> None:
    class Counted(BytesBody):
        passes = 0

        def chunks(self):
            self.passes += 1
            return super().chunks()

    body = Counted(bytes(3 << 20))
    faulty.fail("put", Fault(error(Kind.CORRUPT), times=2, done=True))
    await store.put("key", body)
    assert body.passes == 3
    assert await read(store, "key") == bytes(3 << 20)


async def test_a_broken_stream_goes_on_where_it_broke(store: RetryStore, faulty: FaultyStore) -> None:
    data = bytes(range(256)) * (4 << 12)  # 4 MiB, four chunks
    await store.put("key", BytesBody(data))
    faulty.fail("get", Fault(error(), after=1))
    faulty.fail("get", Fault(error(), after=0))
    faulty.fail("get", Fault(error(), after=2))
    assert await read(store, "key") == data
    faulty.fail("get", Fault(error(), after=1))
    assert await read(store, "key", offset=100, length=(2 << 20) + 5) == data[100 : 100 + (2 << 20) + 5]
    faulty.fail("get", Fault(error(), after=4))  # after the last byte
    assert await read(store, "key") == data


async def test_a_broken_pour_goes_on_where_it_broke(store: RetryStore, faulty: FaultyStore) -> None:
    data = random.Random(3).randbytes((4 << 20) + 7)
    await store.put("key", BytesBody(data))
    faulty.fail("get", Fault(error(), after=3))
    faulty.fail("get", Fault(error(), after=0))
    faulty.fail("get", Fault(error(), after=4))
    taken = bytearray()
    counts = [count async for count in store.pour("key", taken.extend, offset=5, length=4 << 20)]
    assert taken == data[5 : 5 + (4 << 20)]
    assert sum(counts) == len(taken)
    assert faulty.calls["get"] == 4


async def test_progress_makes_new_tries(store: RetryStore, faulty: FaultyStore) -> None:
    data = bytes(10 << 20)
    await store.put("key", BytesBody(data))
    for _ in range(9):
        faulty.fail("get", Fault(error(), after=1))
    assert await read(store, "key") == data
    faulty.fail("get", Fault(error(), times=100))
    with pytest.raises(StoreError, match="as the test told"):
        await read(store, "key")
    assert faulty.calls["get"] == 10 + 8


async def test_a_broken_listing_goes_on_after_the_last_key(store: RetryStore, faulty: FaultyStore) -> None:
    expected = [f"k{number}" for number in range(5)]
    for key in expected:
        await store.put(key, BytesBody(b""))
    faulty.fail("list", Fault(error(), after=2))
    faulty.fail("list", Fault(error(), after=2))
    assert [meta.key async for meta in store.list("k", start_after="k0")] == expected[1:]


async def test_a_lost_answer_to_a_conditional_put_is_still_ours(store: RetryStore, faulty: FaultyStore) -> None:
    faulty.fail("put", Fault(error(), done=True))
    meta = await store.put("key", BytesBody(b"mine"), if_absent=True)
    assert meta.size == 4


async def test_theirs_is_not_ours(store: RetryStore, faulty: FaultyStore) -> None:
    await store.put("key", BytesBody(b"them"))
    faulty.fail("put", error())
    with pytest.raises(AlreadyExists):
        await store.put("key", BytesBody(b"mine"), if_absent=True)


async def test_on_the_first_try_even_equal_bytes_are_theirs(store: RetryStore) -> None:
    await store.put("key", BytesBody(b"same"))
    with pytest.raises(AlreadyExists):
        await store.put("key", BytesBody(b"same"), if_absent=True)


@pytest.mark.parametrize("if_absent", [True, False])
async def test_a_lost_answer_to_completing_is_done(store: RetryStore, faulty: FaultyStore, if_absent: bool) -> None:
    upload = await store.create_upload("key")
    parts = [await store.upload_part("key", upload, number, BytesBody(b"x" * number)) for number in (2, 1)]
    faulty.fail("complete_upload", Fault(error(), done=True))
    meta = await store.complete_upload("key", upload, parts, if_absent=if_absent)
    assert meta.size == 3


async def test_completing_what_was_aborted_is_an_error(store: RetryStore, faulty: FaultyStore) -> None:
    upload = await store.create_upload("key")
    part = await store.upload_part("key", upload, 1, BytesBody(b"x"))
    await store.put("key", BytesBody(b"something else"))
    await store.abort_upload("key", upload)
    faulty.fail("complete_upload", error())
    with pytest.raises(NotFound):
        await store.complete_upload("key", upload, [part])


async def test_uploads_are_listed_once_each(store: RetryStore, faulty: FaultyStore) -> None:
    for _ in range(3):
        await store.create_upload("key")
    faulty.fail("list_uploads", Fault(error(), after=2))
    assert len([upload async for upload in store.list_uploads("")]) == 3


async def test_an_error_that_is_not_a_stores_passes(store: RetryStore, faulty: FaultyStore) -> None:
    faulty.fail("put", ValueError("a bug"))
    with pytest.raises(ValueError, match="a bug"):
        await store.put("key", BytesBody(b"x"))
    assert faulty.calls["put"] == 1
