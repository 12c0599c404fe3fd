from __future__ import annotations

import asyncio

import pytest

from backends.base import BytesBody
from backends.errors import AlreadyExists, Kind, StoreError
from backends.helpers import read_all, upload
from backends.memory import MemoryStore
from tests.fakes.faulty_store import Fault, FaultyStore, error


@pytest.fixture
def store() -> FaultyStore:
    return FaultyStore(MemoryStore())


async def uploads(store: FaultyStore) -> list[str]:
    return [one.id async for one in store.list_uploads("")]


@pytest.mark.parametrize(("size", "parts"), [(0, 0), (19, 0), (20, 0), (21, 3), (30, 3), (31, 4)])
async def test_put_up_to_two_parts(store: FaultyStore, size: int, parts: int) -> None:
    data = bytes(range(size))
    meta = await upload(store, "key", BytesBody(data), part_size=10)
    assert meta.size == size
    assert store.calls["upload_part"] == parts
    assert store.calls["put"] == (0 if parts else 1)
    assert await read_all(store, "key", 100) == data


async def test_parts_grow_with_the_stores_limits() -> None:
    store = FaultyStore(MemoryStore(min_part=50))
    await upload(store, "key", BytesBody(bytes(120)), part_size=10)
    assert store.calls["upload_part"] == 3


async def test_a_failed_part_aborts_and_says_so_itself(store: FaultyStore) -> None:
    store.fail("upload_part", Fault(error(Kind.FORBIDDEN), skip=1))
    with pytest.raises(StoreError) as caught:
        await upload(store, "key", BytesBody(bytes(100)), part_size=10)
    assert caught.value.kind is Kind.FORBIDDEN
    assert await uploads(store) == []


async def test_an_object_that_is_there_aborts(store: FaultyStore) -> None:
    await store.put("key", BytesBody(b"theirs"))
    with pytest.raises(AlreadyExists):
        await upload(store, "key", BytesBody(bytes(100)), part_size=10, if_absent=True)
    assert await uploads(store) == []


async def test_a_cancelled_upload_is_aborted(store: FaultyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    sending = asyncio.Event()

    async def stuck(*_args: object) -> None:
        sending.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(store, "upload_part", stuck)
    task = asyncio.create_task(upload(store, "key", BytesBody(bytes(100)), part_size=10))
    await sending.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await uploads(store) == []


@pytest.mark.parametrize(("limit", "fits"), [(4, False), (5, True), (6, True)])
async def test_read_all_has_a_limit(store: FaultyStore, limit: int, fits: bool) -> None:
    await store.put("key", BytesBody(b"12345"))
    if fits:
        assert await read_all(store, "key", limit) == b"12345"
    else:
        with pytest.raises(StoreError, match="larger than 4 bytes"):
            await read_all(store, "key", limit)
