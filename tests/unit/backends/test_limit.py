from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from backends.base import BytesBody, FileBody, ObjectStore
from backends.body import checksum_of
from backends.checksums import crc32c
from backends.limit import LimitStore
from backends.memory import MemoryStore
from backends.rate import TokenBucket
from tests.fakes.clock import Time
from tests.fakes.faulty_store import FaultyStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from backends.base import ObjectMeta

VERBS = {name for name in vars(ObjectStore) if not name.startswith("_")}


def bucket_of(time: Time, rate: float) -> TokenBucket:
    return TokenBucket(rate, clock=time, sleep=time.sleep)


class Slow(MemoryStore):
    """Each request takes a few turns of the loop; ``most`` ran at once."""

    def __init__(self) -> None:
        super().__init__()
        self.running = self.most = 0

    async def _work(self) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        for _ in range(5):
            await asyncio.sleep(0)
        self.running -= 1

    async def put(self, *args, **more):
        await self._work()
        return await super().put(*args, **more)

    async def head(self, *args):
        await self._work()
        return await super().head(*args)

    async def get(self, key, **more) -> AsyncIterator[bytes]:
        await self._work()
        async for chunk in super().get(key, **more):
            yield chunk


def test_it_forgets_no_verb() -> None:
    assert vars(LimitStore).keys() >= VERBS - {"name"}


async def test_close_reaches_the_store() -> None:
    inner = FaultyStore(MemoryStore())
    await LimitStore(inner).close()
    assert inner.closed


@pytest.mark.parametrize("requests", [1, 3])
async def test_so_many_requests_run_at_once_whatever_they_are(requests: int) -> None:
    slow = Slow()
    store = LimitStore(slow, requests)

    async def use(number: int) -> None:
        await store.put(f"{number}", BytesBody(b"x"))
        await store.head(f"{number}")
        assert [chunk async for chunk in store.get(f"{number}")] == [b"x"]

    await asyncio.gather(*(use(number) for number in range(10)))
    assert slow.most == requests


async def test_a_stream_is_a_request_until_it_ends() -> None:
    store = LimitStore(MemoryStore(), 1)
    await store.put("a", BytesBody(b"x" * 3_000_000))
    async with aclosing(store.get("a")) as stream:
        await anext(stream)
        waiting = [asyncio.create_task(store.head("a")), asyncio.create_task(_first(store.list("")))]
        for _ in range(10):
            await asyncio.sleep(0)
        assert not any(task.done() for task in waiting)
    assert [meta.size for meta in await asyncio.gather(*waiting)] == [3_000_000] * 2


async def _first(found: AsyncIterator[ObjectMeta]) -> ObjectMeta:
    async with aclosing(found) as metas:
        return await anext(metas)


async def test_what_is_listed_can_be_worked_on_meanwhile() -> None:
    store = LimitStore(MemoryStore(), 1)
    for key in ("a", "b", "c"):
        await store.put(key, BytesBody(key.encode()))
    async with asyncio.timeout(10):
        assert [(await store.head(meta.key)).size async for meta in store.list("")] == [1, 1, 1]


async def test_bytes_a_second_each_way() -> None:
    time = Time()
    store = LimitStore(MemoryStore(), send=bucket_of(time, 10_000), receive=bucket_of(time, 50_000))
    await store.put("key", BytesBody(b"x" * 100_000))
    assert time.now - 100 == pytest.approx(10, abs=0.5)
    time.now = 200.0
    assert sum([len(chunk) async for chunk in store.get("key")]) == 100_000
    assert time.now - 200 == pytest.approx(2, abs=0.3)
    time.now = 300.0
    assert sum([count async for count in store.pour("key", bytearray().extend)]) == 100_000
    assert time.now - 300 == pytest.approx(2, abs=0.3)


async def test_two_stores_may_share_a_limit() -> None:
    time = Time()
    bucket = bucket_of(time, 10_000)
    stores = [LimitStore(MemoryStore(), send=bucket) for _ in range(2)]
    await asyncio.gather(*(store.put("key", BytesBody(b"x" * 50_000)) for store in stores))
    assert time.now - 100 == pytest.approx(10, abs=0.5)


async def test_a_part_pays_too() -> None:
    time = Time()
    store = LimitStore(MemoryStore(), send=bucket_of(time, 10_000))
    upload = await store.create_upload("key")
    part = await store.upload_part("key", upload, 1, BytesBody(b"x" * 30_000))
    await store.complete_upload("key", upload, [part])
    assert time.now - 100 == pytest.approx(3, abs=0.3)


async def test_a_pass_that_only_sums_is_free(tmp_path: Path) -> None:
    """Where a store must know the checksum first."""
    path = tmp_path / "f"
    path.write_bytes(b"x" * 100_000)
    time = Time()
    found: list[int] = []

    class Summing(MemoryStore):
        async def put(self, key, body, **more):
            found.append(await checksum_of(body))
            return await super().put(key, body, **more)

    await LimitStore(Summing(), send=bucket_of(time, 10_000)).put("key", FileBody(path))
    assert found == [crc32c(b"x" * 100_000)]
    assert time.now - 100 == pytest.approx(10, abs=0.5)
