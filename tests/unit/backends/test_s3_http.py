"""Connections of our own against a server that writes each byte as the test says."""

from __future__ import annotations

import asyncio
import random
import ssl
from contextlib import aclosing, asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Protocol

import pytest
from botocore import exceptions as sdk

from backends import s3_direct
from backends.s3_direct import Direct
from backends.s3_http import CHUNK, Connection, Server
from backends.streams import Guarded
from tests.contract import certificates
from tests.fakes.room import Room

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nETag: e\r\n\r\nok"


class Serving(Protocol):
    """A transport to a server, and how many connections that has seen."""

    def __call__(
        self, handler: Handler, stall: float = 5.0
    ) -> AbstractAsyncContextManager[tuple[Direct, list[int]]]: ...


@pytest.fixture(scope="module", params=["http", "https"])
def contexts(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[ssl.SSLContext | None, ssl.SSLContext | None]:
    """The server's and the client's."""
    if request.param == "http":
        return None, None
    directory = certificates.make(tmp_path_factory.mktemp("tls"))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(directory / "public.crt", directory / "private.key")
    return server, ssl.create_default_context(cafile=str(directory / "public.crt"))


@pytest.fixture
def serving(contexts: tuple[ssl.SSLContext | None, ssl.SSLContext | None]) -> Serving:
    return partial(_serving, contexts)


@asynccontextmanager
async def _serving(
    contexts: tuple[ssl.SSLContext | None, ssl.SSLContext | None], handler: Handler, stall: float = 5.0
) -> AsyncIterator[tuple[Direct, list[int]]]:
    connections: list[int] = []
    writers: list[asyncio.StreamWriter] = []
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(len(connections))
        writers.append(writer)
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=contexts[0])
    port = server.sockets[0].getsockname()[1]
    url = f"http{'s' if contexts[0] else ''}://127.0.0.1:{port}"
    direct = Direct(Server(url, "127.0.0.1", port, contexts[1], 5.0, stall), 4)
    try:
        yield direct, connections
    finally:
        await direct.close()
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in writers:
            writer.transport.abort()  # TLS would wait for a goodbye
            with suppress(OSError):
                await writer.wait_closed()
        await server.wait_closed()


async def request_of(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    """One request: its headers and its body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = next((int(line.split(":")[1]) for line in head.split("\r\n") if line.startswith("content-length")), 0)
    return head, await reader.readexactly(length)


async def got(direct: Direct, method: str = "GET", body: bytes = b"") -> tuple[int, bytes]:
    async def pieces() -> AsyncGenerator[bytes, None]:
        for start in range(0, len(body), 1 << 20):
            yield body[start : start + (1 << 20)]

    headers = {"host": "h", "content-length": str(len(body))}
    async with direct.request(method, "/key?x=1", headers, pieces() if body else None) as answer:
        return answer.status, b"".join([piece async for piece in answer.chunks()])


async def poured(direct: Direct, taken: bytearray | Room) -> None:
    """Into ``taken``, which after each step and an error is what the sink is said to have got."""
    told = 0
    sink, found = (taken, taken.taken) if isinstance(taken, Room) else (taken.extend, taken)
    async with (
        direct.request("GET", "/key?x=1", {"host": "h"}) as answer,
        aclosing(answer.pour(sink)) as counts,
    ):
        async for count in counts:
            assert count
            told += count
            assert told == len(found)


def always(*answers: bytes) -> Handler:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            for answer in answers:
                await request_of(reader)
                writer.write(answer)
                await writer.drain()

    return handler


async def test_a_request_as_it_is_written(serving: Serving) -> None:
    heads: list[str] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head, body = await request_of(reader)
            heads.append(head)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    data = bytes(range(256)) * 9000
    async with serving(handler) as (direct, connections):
        assert await got(direct, "PUT", data) == (200, data)
        assert await got(direct) == (200, b"")
    assert heads[0] == f"PUT /key?x=1 HTTP/1.1\r\nhost: h\r\ncontent-length: {len(data)}\r\n\r\n"
    assert len(connections) == 1


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length:5\r\n\r\nhello", b"hello"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n", b"hello"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nTrailer: x\r\n\r\n", b"hello"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b""),
        (b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", b""),
    ],
)
async def test_bodies_and_the_connection_after_them(serving: Serving, answer: bytes, body: bytes) -> None:
    """Each answer twice on one connection: nothing of the first is left in the second."""
    async with serving(always(answer, OK)) as (direct, connections):
        for expected in (body, b"ok", body, b"ok"):
            assert await got(direct) == (200, expected)
        for expected in (body, b"ok"):
            taken = bytearray()
            await poured(direct, taken)
            assert taken == expected
    assert len(connections) == 1


async def test_an_answer_byte_by_byte(serving: Serving) -> None:
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        for byte in answer:
            writer.write(bytes([byte]))
            await writer.drain()

    async with serving(handler) as (direct, _):
        assert await got(direct) == (200, b"hello")


async def test_a_large_body_comes_in_chunks(serving: Serving) -> None:
    data = bytes(range(256)) * (20 << 10)  # 5 MiB
    async with serving(always(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(data), data))) as (direct, _):
        async with direct.request("GET", "/", {"host": "h"}) as answer:
            pieces = [piece async for piece in answer.chunks()]
        assert b"".join(pieces) == data
        assert max(map(len, pieces)) <= CHUNK
        assert await got(direct) == (200, data)


async def test_a_pour_that_breaks_off_has_told_of_all_that_came(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a retry asks for the rest, and not for what the sink has."""
    came = random.Random(1).randbytes(CHUNK + 100_000)
    cut = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(came) + 1, came)

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(cut)

    # Whether the end is there already when the last bytes are taken is chance: as if it always were.
    monkeypatch.setattr(Connection, "waits", False)
    taken = bytearray()
    async with serving(handler) as (direct, _):
        with pytest.raises(sdk.ConnectionClosedError):
            await poured(direct, taken)
    assert taken == came


@pytest.mark.parametrize("size", [1000, 200_000, 8 << 20])
@pytest.mark.parametrize("chunk", [0, 7000, 300_000])
async def test_a_body_goes_into_the_room_of_a_sink(serving: Serving, size: int, chunk: int) -> None:
    """All but what came together with the headers, or with the frame of a chunk."""
    data = random.Random(size).randbytes((1 << 20) + 17)
    answer = b"Content-Length: %d\r\n\r\n%b" % (len(data), data)
    if chunk:
        pieces = [data[at : at + chunk] for at in range(0, len(data), chunk)]
        framed = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
        answer = b"Transfer-Encoding: chunked\r\n\r\n%b0\r\n\r\n" % framed
    async with serving(always(b"HTTP/1.1 200 OK\r\n" + answer)) as (direct, connections):
        for _ in range(2):
            sink = Room(size)
            await poured(direct, sink)
            assert sink.taken == data
            if not chunk:
                assert sink.copied <= 64 << 10
    assert len(connections) == 1, "the body was taken to its end"


def test_a_guarded_sink_has_the_room_of_its_own() -> None:
    sink = Room(10)
    room = Guarded(sink).room()
    assert room is not None
    room[:3] = b"abc"
    Guarded(sink)(room[:3])
    assert (sink.taken, sink.copied) == (b"abc", 0)
    assert Guarded(bytearray().extend).room() is None


async def test_what_came_before_a_break_is_in_the_room(serving: Serving) -> None:
    data = random.Random(1).randbytes(200_000)

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500000\r\n\r\n" + data)
        await writer.drain()

    async with serving(handler) as (direct, _):
        sink = Room(150_000)
        with pytest.raises(sdk.ConnectionClosedError):
            await poured(direct, sink)
    assert sink.taken == data


async def test_what_answers_a_head_has_no_body(serving: Serving) -> None:
    async with serving(always(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", OK)) as (direct, connections):
        assert await got(direct, "HEAD") == (200, b"")
        assert await got(direct) == (200, b"ok")
    assert len(connections) == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nnonsense\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"",
    ],
)
async def test_an_answer_cut_short_is_an_error(serving: Serving, answer: bytes) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(answer)

    async with serving(handler) as (direct, _):
        with pytest.raises(sdk.ConnectionClosedError):
            await got(direct)


async def test_what_does_not_speak_http(serving: Serving) -> None:
    async with serving(always(b"220 mail.example ESMTP\r\n\r\n")) as (direct, _):
        with pytest.raises(Exception, match=r"220 mail\.example"):
            await got(direct)


@pytest.mark.parametrize("early", [b"Connection: close\r\n", b""])
async def test_an_answer_before_the_end_of_the_body(serving: Serving, early: bytes) -> None:
    """The server says no after the headers and reads no more: its words are heard, at once."""
    done = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n" + early + b"\r\nno")
        await done.wait()

    async with serving(handler, stall=60.0) as (direct, connections):
        async with asyncio.timeout(10):
            assert await got(direct, "PUT", bytes(32 << 20)) == (403, b"no")
            assert await got(direct, "PUT", bytes(32 << 20)) == (403, b"no")
        assert len(connections) == 2  # one that was cut is not used again
        done.set()


async def test_a_connection_that_the_server_let_go_is_not_used(serving: Serving) -> None:
    closed = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(OK)
        await writer.drain()
        writer.close()
        if writer.get_extra_info("ssl_object") is None:  # TLS would wait for our goodbye; its own is out
            await writer.wait_closed()
        closed.set()

    async with serving(handler) as (direct, connections):
        for number in range(3):
            closed.clear()
            assert await got(direct) == (200, b"ok")
            await closed.wait()
            assert len(connections) == number + 1


async def test_a_connection_that_says_close_is_closed(serving: Serving) -> None:
    answer = b"HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 2\r\n\r\nok"
    async with serving(always(answer)) as (direct, connections):
        await got(direct)
        await got(direct)
        assert len(connections) == 2


@pytest.mark.parametrize("size", [2, 300 << 10])
async def test_an_answer_that_nobody_asked_for_is_not_the_next_ones(serving: Serving, size: int) -> None:
    """Wherever it waits: in the kernel, in TLS's memory, in ours."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (size, bytes(size))
    stray = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray"
    async with serving(always(answer + stray)) as (direct, connections):
        for number in range(3):
            assert await got(direct) == (200, bytes(size))
            assert len(connections) == number + 1


async def test_a_body_left_early_costs_its_connection(serving: Serving) -> None:
    data = bytes(4 << 20)
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(data), data)
    async with serving(always(answer)) as (direct, connections):
        async with direct.request("GET", "/", {"host": "h"}) as first, aclosing(first.chunks()) as chunks:
            await anext(chunks)
        assert await got(direct) == (200, data)
        assert len(connections) == 2


async def test_who_waits_for_its_server_keeps_no_other_from_receiving(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_direct, "_RECEIVING", 1)
    data, waits = bytes(2 << 20), asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head, _ = await request_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data))
        if head.startswith("GET"):
            writer.write(data[:100])
            await waits.wait()
        writer.write(data)

    async with (
        serving(handler, stall=60.0) as (direct, _),
        direct.request("GET", "/", {"host": "h"}) as answer,
        aclosing(answer.chunks()) as chunks,
    ):
        assert await anext(chunks) == data[:100]
        slow = asyncio.ensure_future(anext(chunks))
        async with asyncio.timeout(10):
            assert await got(direct, "POST") == (200, data)
        assert not slow.done()
        waits.set()
        assert await slow


@pytest.mark.parametrize("verb", ["GET", "PUT"])
async def test_cancelling_ends_the_thread_and_the_connection(serving: Serving, verb: str) -> None:
    """The server hears of it at once, though the thread was waiting in the kernel."""
    arrived, gone = asyncio.Event(), asyncio.Event()

    async def handler(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        arrived.set()
        try:
            await reader.read() if verb == "GET" else await asyncio.Event().wait()
        finally:
            gone.set()

    async with serving(handler, stall=60.0) as (direct, _):
        task = asyncio.create_task(got(direct, verb, bytes(64 << 20) if verb == "PUT" else b""))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(10):
            if verb == "GET":
                await gone.wait()
            await asyncio.to_thread(direct._threads.shutdown)


@pytest.mark.parametrize("body", [b"", bytes(64 << 20)])
async def test_no_progress_is_a_timeout(serving: Serving, body: bytes) -> None:
    async def handler(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.Event().wait()

    async with serving(handler, stall=0.2) as (direct, _):
        with pytest.raises(sdk.ReadTimeoutError):
            await got(direct, "PUT", body)


@pytest.mark.slow
async def test_slow_is_not_stalled(serving: Serving) -> None:
    """Each byte that comes gives it new time."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n")
        for _ in range(8):
            await asyncio.sleep(0.15)
            writer.write(b"x")

    async with serving(handler, stall=1.0) as (direct, _):
        assert await got(direct) == (200, b"x" * 8)


async def test_nobody_there(serving: Serving) -> None:
    async with serving(always(OK)) as (direct, _):
        pass
    again = Direct(direct._server, 1)
    with pytest.raises(sdk.EndpointConnectionError, match=r"127\.0\.0\.1"):
        await got(again)
    await again.close()
