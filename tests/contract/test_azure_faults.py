"""Azure where something is wrong: no container, no server or one that speaks otherwise, damaged bytes, silence."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from backends.azure import AzureStore
from backends.base import BytesBody, Endpoint
from backends.errors import Kind, StoreError
from backends.helpers import read_all
from tests.contract.azurite import ACCOUNT, KEY, Azurite, refused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


@pytest.mark.slow
async def test_a_missing_container(azurite: Azurite) -> None:
    errors = await refused(await AzureStore.open("no-such-container", Endpoint(azurite.url), env=azurite.env))
    for verb, error in errors.items():
        assert (error.kind, error.retryable) == (Kind.NO_BUCKET, False), verb
        assert "azure://no-such-container" in str(error)
        assert "create the container, or correct the target" in str(error)


async def test_nobody_listens(azurite: Azurite) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/{ACCOUNT}"
        errors = await refused(await AzureStore.open("container", Endpoint(url), env=azurite.env))
    for verb, error in errors.items():
        assert (error.kind, error.retryable) == (Kind.UNAVAILABLE, True), verb
        assert "127.0.0.1" in str(error)


async def test_http_where_https_was_said(azurite: Azurite) -> None:
    url = azurite.url.replace("http", "https")
    errors = await refused(await AzureStore.open("container", Endpoint(url), env=azurite.env))
    for verb, error in errors.items():
        assert (error.kind, error.retryable) == (Kind.UNAVAILABLE, False), verb
        assert "speaks http" in str(error)


@asynccontextmanager
async def proxy(azurite: Azurite, change: Callable[[bytes, bool], bytes | None]) -> AsyncIterator[str]:
    """The server's URL through a proxy: ``change`` gets what passes and whether it goes up; None hangs up."""
    tasks: set[asyncio.Task[None]] = set()

    async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter, up: bool) -> None:
        with suppress(ConnectionError):
            while data := await source.read(1 << 16):
                changed = change(data, up)
                if changed is None:
                    break
                target.write(changed)
                await target.drain()
        target.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        there, back = await asyncio.open_connection("127.0.0.1", azurite.port)
        try:
            pumps = [asyncio.ensure_future(pump(reader, back, True)), asyncio.ensure_future(pump(there, writer, False))]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for one in pumps:
                    one.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        finally:
            for end in (back, writer):
                end.close()
                with suppress(ConnectionError):
                    await end.wait_closed()
            tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/{ACCOUNT}"
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("size", [1000, 3 << 20])
async def test_bytes_that_change_on_their_way_make_no_blob(azurite: Azurite, container: AzureStore, size: int) -> None:
    def damage(data: bytes, up: bool) -> bytes:
        return data.replace(b"GOOD", b"EVIL") if up else data

    async with proxy(azurite, damage) as url:
        store = await AzureStore.open(container._wire.container, Endpoint(url), env=azurite.env)
        body = BytesBody(bytes(size - 4) + b"GOOD")
        identity = await store.create_upload("key")
        for attempt in (store.put("key", body), store.upload_part("key", identity, 1, body)):
            with pytest.raises(StoreError) as caught:
                await attempt
            assert (caught.value.kind, caught.value.retryable) == (Kind.CORRUPT, True)
        assert await store.list_parts("key", identity) == []
        await store.close()
    assert [meta.key async for meta in container.list("")] == []


async def test_an_answer_cut_short_is_an_error(azurite: Azurite, container: AzureStore) -> None:
    await container.put("key", BytesBody(bytes(2 << 20)))
    passed = 0

    def cut(data: bytes, up: bool) -> bytes | None:
        nonlocal passed
        passed += 0 if up else len(data)
        return data if passed < 1 << 20 else None

    async with proxy(azurite, cut) as url:
        store = await AzureStore.open(container._wire.container, Endpoint(url), env=azurite.env)
        with pytest.raises(StoreError) as caught:
            await read_all(store, "key", 2 << 20)
        await store.close()
    assert (caught.value.kind, caught.value.retryable) == (Kind.UNAVAILABLE, True)


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["head", "put", "get"])
async def test_a_server_that_stops_is_given_up(azurite: Azurite, verb: str) -> None:
    """One that takes the request and says nothing, one that takes no more of a body, one that sends no more of one."""
    still = asyncio.Event()
    async with silent(still, b"only" if verb == "get" else b"") as url:
        store = await AzureStore.open("container", Endpoint(url), env=azurite.env, stall=0.5)
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "head": lambda: store.head("key"), "put": lambda: store.put("key", BytesBody(bytes(64 << 20))),
            "get": lambda: read_all(store, "key", 100),
        }  # fmt: skip
        async with asyncio.timeout(10):
            with pytest.raises(StoreError) as caught:
                await calls[verb]()
        assert (caught.value.kind, caught.value.retryable) == (Kind.TIMEOUT, True)
        await store.close()


@pytest.mark.parametrize(("headers", "used_again"), [("", False), ("x-ms-error-code: InternalError\r\n", True)])
@pytest.mark.parametrize("body", ["", "words"])
async def test_a_failure_that_is_not_azures_ends_its_connection(headers: str, body: str, *, used_again: bool) -> None:
    """Azurite whose disk is full has read nothing of the body, and stays silent to the next request."""
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(f"HTTP/1.1 500 No\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode())
                for _ in range(9 if body else 0):  # the headers alone have come by then
                    await asyncio.sleep(0)
                writer.write(body.encode())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/{ACCOUNT}"
    store = await AzureStore.open("container", Endpoint(url), env={"AZURE_STORAGE_KEY": KEY})
    for _ in range(3):
        with pytest.raises(StoreError) as caught:
            await store.delete(["key"])
        assert caught.value.retryable
    await store.close()
    server.close()
    assert connections == (1 if used_again else 3)


@asynccontextmanager
async def silent(still: asyncio.Event, beginning: bytes) -> AsyncIterator[str]:
    """A server that reads a request's head, sends the beginning of a body of 9 bytes if given one, and then rests."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if beginning:
            writer.write(b"HTTP/1.1 200 OK\r\nx-ms-request-id: 1\r\nContent-Length: 9\r\n\r\n" + beginning)
        with suppress(asyncio.CancelledError):
            await still.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/{ACCOUNT}"
    finally:
        still.set()
        server.close()
        await asyncio.sleep(0)
