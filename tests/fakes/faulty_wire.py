"""A wire to an HTTP server on loopback that breaks, bends and delays as it is told.

Each connection carries one request (the server is asked to close), so a fault is counted in bytes of that request or of
its answer. Nothing of what is signed is touched.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

END = b"\r\n\r\n"


@dataclass
class Fault:
    """What happens to one request. Offsets count body bytes; a negative one counts back from the body's end.

    ``answer`` is said instead of the server, once the request has come whole. ``cut_head`` breaks the request inside
    its own head, ``cut_answer_head`` the answer's. ``cut_answer`` breaks the answer's body, ``lose_answer`` all of it.
    """

    method: str = ""  # any
    path: str = ""  # a part of it
    times: int = 1
    skip: int = 0
    cut_head: bool = False
    cut_body: int | None = None
    flip_body: int | None = None
    lose_answer: bool = False
    cut_answer_head: bool = False
    cut_answer: int | None = None
    flip_answer: int | None = None
    answer: bytes = b""
    hold: bool = False  # the request is taken, and nothing is ever said
    trickle_head: float = 0.0  # seconds between the bytes of the answer
    trickle_body: float = 0.0
    trickle_request: float = 0.0  # seconds before each piece is taken from the client
    hit: int = field(default=0, init=False)

    def takes(self, method: str, path: str) -> bool:
        return self.method in {"", method} and self.path in path and self.hit < self.times


class FaultyWire:
    """``requests`` holds (method, path) of all that came; ``passed`` the body bytes that went to the server."""

    def __init__(self, target: int, host: str = "127.0.0.1") -> None:
        self._target = (host, target)
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.Task[None]] = set()
        self._faults: list[Fault] = []
        self.requests: list[tuple[str, str]] = []
        self.passed = 0
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def will(self, fault: Fault) -> Fault:
        self._faults.append(fault)
        return fault

    async def start(self) -> None:
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)  # so that little is taken ahead
        listening.bind(("127.0.0.1", 0))
        self._server = await asyncio.start_server(self._link, sock=listening)
        self.port = listening.getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for link in self._links:
            link.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)
        await self._server.wait_closed()

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._links.add(task)
        task.add_done_callback(self._links.discard)
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):  # 3.11 logs a cancelled callback
            await self._serve(reader, writer)
        if not writer.is_closing():
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(END)
        method, path = head.split(b" ", 2)[:2]
        fault = self._fault(method.decode(), path.decode())
        if fault.cut_head:
            return
        exchange = _Exchange(fault, reader, writer, self)
        if fault.answer or fault.hold:
            await exchange.refuse(head)
            return
        server_reader, server_writer = await asyncio.open_connection(*self._target)
        try:
            await exchange.pass_on(head, server_reader, server_writer)
        finally:
            server_writer.transport.abort()

    def _fault(self, method: str, path: str) -> Fault:
        self.requests.append((method, path))
        for fault in self._faults:
            if fault.takes(method, path):
                if fault.skip:
                    fault.skip -= 1
                    continue
                fault.hit += 1
                return fault
        return Fault()


class _Exchange:
    """One request and its answer."""

    def __init__(
        self, fault: Fault, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, wire: FaultyWire
    ) -> None:
        self._fault = fault
        self._reader = reader
        self._writer = writer
        self._wire = wire

    async def refuse(self, head: bytes) -> None:
        """The answer comes when the request has: a client that still sends would only see a broken connection."""
        drain = asyncio.create_task(self._drain(_length(head), chunked=_chunked(head)))
        if self._fault.hold:
            await drain
            await self._reader.read(1)  # until the client goes
            return
        await drain
        said, end, body = self._fault.answer.partition(END)
        self._writer.write(said + end + (b"" if head.startswith(b"HEAD ") else body))
        await self._writer.drain()
        self._writer.close()

    async def pass_on(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(_close(head))
        request = asyncio.create_task(self._request(_length(head), writer, chunked=_chunked(head)))
        broken = asyncio.create_task(self._answer(reader))
        try:
            done, _ = await asyncio.wait([request, broken], return_when=asyncio.FIRST_COMPLETED)
            if request in done and not request.result():
                broken.cancel()
                await asyncio.gather(broken, return_exceptions=True)
                return
            await broken
        finally:
            request.cancel()
            broken.cancel()
            await asyncio.gather(request, broken, return_exceptions=True)

    async def _request(self, length: int, writer: asyncio.StreamWriter, *, chunked: bool) -> bool:
        """False when it was cut."""
        fault, done = self._fault, 0
        cut = _offset(fault.cut_body, length)
        flip = _offset(fault.flip_body, length)
        while chunked or done < length:
            data = bytearray(await self._reader.read(1 << 16))
            if not data:
                return True
            if fault.trickle_request:
                await asyncio.sleep(fault.trickle_request)
            if flip is not None and done <= flip < done + len(data):
                data[flip - done] ^= 1
            if cut is not None and done + len(data) > cut:
                writer.write(data[: cut - done])
                with suppress(OSError):
                    await writer.drain()
                self._wire.passed += cut - done
                return False
            writer.write(data)
            await writer.drain()
            done += len(data)
            self._wire.passed += len(data)
        return cut is None

    async def _answer(self, reader: asyncio.StreamReader) -> None:
        fault = self._fault
        head = await reader.readuntil(END)
        if fault.lose_answer:
            return
        if fault.cut_answer_head:
            self._writer.write(head[: len(head) // 2])
            await self._writer.drain()
            return
        await self._say(head, fault.trickle_head)
        length, done = _length(head), 0
        cut, flip = _offset(fault.cut_answer, length), _offset(fault.flip_answer, length)
        while data := bytearray(await reader.read(1 << 16)):
            if flip is not None and done <= flip < done + len(data):
                data[flip - done] ^= 1
            if cut is not None and done + len(data) > cut:
                await self._say(data[: cut - done], 0)
                return
            await self._say(data, fault.trickle_body)
            done += len(data)
        self._writer.close()

    async def _say(self, data: bytes | bytearray, pause: float) -> None:
        for start in range(0, len(data), 1 if pause else len(data) or 1):
            self._writer.write(data[start : start + 1] if pause else data)
            await self._writer.drain()
            if pause:
                await asyncio.sleep(pause)

    async def _drain(self, length: int, *, chunked: bool) -> None:
        if chunked:
            with suppress(asyncio.IncompleteReadError):
                await self._reader.readuntil(b"0\r\n")
            return
        while length > 0:
            data = await self._reader.read(min(length, 1 << 16))
            if not data:
                return
            length -= len(data)


def _header(head: bytes, name: bytes) -> bytes:
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return value.strip()
    return b""


def _length(head: bytes) -> int:
    return int(_header(head, b"content-length") or 0)


def _chunked(head: bytes) -> bool:
    return b"chunked" in _header(head, b"transfer-encoding").lower() and not _header(head, b"content-length")


def _close(head: bytes) -> bytes:
    lines = [line for line in head.removesuffix(END).split(b"\r\n") if not line.lower().startswith(b"connection:")]
    return b"\r\n".join([*lines, b"Connection: close"]) + END


def _offset(offset: int | None, length: int) -> int | None:
    return offset if offset is None or offset >= 0 else length + offset


@asynccontextmanager
async def faulty_wire(target: int) -> AsyncIterator[FaultyWire]:
    wire = FaultyWire(target)
    await wire.start()
    yield wire
    await wire.stop()
