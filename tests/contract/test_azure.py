"""Azure alone, on a real Azurite: names, blocks, tiers and tags, many requests, memory."""

from __future__ import annotations

import asyncio
import os
import tracemalloc
from typing import TYPE_CHECKING

import pytest
import uvloop

from backends.azure import AzureStore
from backends.azure_blocks import parsed
from backends.base import BytesBody, Endpoint, FileBody, Options
from backends.checksums import crc32c
from backends.errors import Kind, NotFound, StoreError
from backends.helpers import read_all, upload
from tests.contract.azurite import ACCOUNT, KEY, Azurite, new_container

if TYPE_CHECKING:
    from pathlib import Path

CHUNK = 1 << 20


async def test_names_that_azure_would_change_are_refused(container: AzureStore) -> None:
    """Backslashes become slashes, there and in Azurite; uploads are kept below a name that is nobody's."""
    for key in ("a\\b", "dir./x", "x.", ".uploads/x"):
        for attempt in (container.put(key, BytesBody(b"x")), container.create_upload(key), container.copy("a", key)):
            with pytest.raises(StoreError) as caught:
                await attempt
            assert caught.value.kind is Kind.INVALID, key


async def test_block_names_say_what_they_are(container: AzureStore, tmp_path: Path) -> None:
    """A part known before is one block; one summed on its way is found only after its note has arrived."""
    path = tmp_path / "source"
    path.write_bytes(os.urandom(CHUNK + 1))
    identity = await container.create_upload("key")
    small = await container.upload_part("key", identity, 1, BytesBody(b"small"))
    large = await container.upload_part("key", identity, 50_000, FileBody(path))
    names = [parsed(part.etag) for part in (small, large)]
    assert [(name.upload, name.number, name.kind) for name in names if name] == [
        (identity, 1, "w"), (identity, 50_000, "d"),
    ]  # fmt: skip
    again = await AzureStore.open(
        container._wire.container, Endpoint(container._wire.url("").rpartition("/")[0]),
        env={"AZURE_STORAGE_ACCOUNT": ACCOUNT, "AZURE_STORAGE_KEY": KEY},
    )  # fmt: skip
    assert await again.list_parts("key", identity) == [small, large]  # a restarted process
    meta = await again.complete_upload("key", identity, [small, large])
    assert meta.crc32c == (await again.head("key")).crc32c == crc32c(b"small" + path.read_bytes())
    await again.close()


async def test_a_part_that_broke_off_is_no_part(container: AzureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    identity = await container.create_upload("key")
    first = await container.upload_part("key", identity, 1, BytesBody(bytes(2 << 20)))

    async def lost(*_: object) -> None:
        raise StoreError(Kind.UNAVAILABLE, "upload part", "", "", "the note is lost")

    monkeypatch.setattr(container._send, "note", lost)
    with pytest.raises(StoreError, match="the note is lost"):
        await container.upload_part("key", identity, 1, BytesBody(b"\1" * (2 << 20)))
    assert await container.list_parts("key", identity) == [first]


@pytest.mark.slow
async def test_three_thousand_parts(container: AzureStore) -> None:
    identity = await container.create_upload("key")
    pieces = [f"{number:04d}".encode() for number in range(3000)]
    slots = asyncio.Semaphore(16)

    async def send(number: int) -> None:
        async with slots:
            await container.upload_part("key", identity, number + 1, BytesBody(pieces[number]))

    await asyncio.gather(*map(send, range(3000)))
    parts = await container.list_parts("key", identity)
    assert [part.number for part in parts] == list(range(1, 3001))
    await container.complete_upload("key", identity, parts)
    assert await read_all(container, "key", 12_000) == b"".join(pieces)
    assert (await container.head("key")).crc32c == crc32c(b"".join(pieces))


@pytest.mark.slow
async def test_six_hundred_keys_are_three_requests(container: AzureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = [f"k{number:03d}" for number in range(600)]
    slots = asyncio.Semaphore(16)

    async def put(key: str) -> None:
        async with slots:
            await container.put(key, BytesBody(b""))

    await asyncio.gather(*map(put, wanted))
    asked = []
    session = container._wire._session
    assert session is not None
    send = session.request
    monkeypatch.setattr(session, "request", lambda *given, **more: asked.append(given) or send(*given, **more))
    await container.delete([*wanted, "not-there"])
    assert [method for method, _ in asked] == ["POST"] * 3
    monkeypatch.undo()
    assert [meta.key async for meta in container.list("")] == []


@pytest.mark.parametrize("size", [5, CHUNK + 5])
async def test_tier_and_tags(azurite: Azurite, container: AzureStore, size: int) -> None:
    options = Options(storage_class="Cool", tags={"made by": "a test"})
    store = await AzureStore.open(container._wire.container, Endpoint(azurite.url), options, env=azurite.env)
    await store.put("key", BytesBody(bytes(size)))
    headers, _ = await store._wire.call("head", "HEAD", "key")
    assert (headers["x-ms-access-tier"], headers["x-ms-tag-count"]) == ("Cool", "1")
    copied = await store.copy("key", "copy")
    assert copied.crc32c == crc32c(bytes(size))
    await store.close()


@pytest.mark.slow
async def test_a_large_upload_is_streamed(container: AzureStore, tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(64 << 20)
    tracemalloc.start()
    try:
        meta = await container.put("key", FileBody(path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert meta.size == 64 << 20
    assert peak < 12 << 20


async def test_more_requests_than_connections(azurite: Azurite, container: AzureStore) -> None:
    name = container._wire.container
    store = await AzureStore.open(name, Endpoint(azurite.url), env=azurite.env, connections=2)
    await asyncio.gather(*(store.put(f"k{number}", BytesBody(b"x" * 1000)) for number in range(20)))
    assert len([meta async for meta in store.list("")]) == 20
    await store.close()


async def test_large_conditional_puts_at_once(container: AzureStore) -> None:
    results = await asyncio.gather(
        *(container.put("key", BytesBody(bytes([n]) * (2 << 20)), if_absent=True) for n in range(4)),
        return_exceptions=True,
    )
    won = [n for n, result in enumerate(results) if not isinstance(result, BaseException)]
    assert len(won) == 1, results
    assert {type(result).__name__ for result in results if isinstance(result, BaseException)} == {"AlreadyExists"}
    assert (await read_all(container, "key", 2 << 20))[:1] == bytes(won)


async def test_an_upload_of_another_key_is_not_found(container: AzureStore) -> None:
    identity = await container.create_upload("key")
    for attempt in (
        container.list_parts("other", identity), container.upload_part("other", identity, 1, BytesBody(b"x")),
        container.list_parts("key", "../key"), container.upload_part("key", "f" * 18, 1, BytesBody(b"x")),
    ):  # fmt: skip
        with pytest.raises(NotFound):
            await attempt
    await container.abort_upload("other", identity)
    assert [one.key async for one in container.list_uploads("")] == ["key"]


@pytest.mark.slow
def test_on_uvloop(azurite: Azurite, tmp_path: Path) -> None:
    path = tmp_path / "source"
    data = os.urandom(5 << 20)
    path.write_bytes(data)

    async def main() -> bytes:
        async with new_container(azurite) as store:
            await upload(store, "key", FileBody(path), part_size=2 << 20)
            return await read_all(store, "key", len(data))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(main()) == data
