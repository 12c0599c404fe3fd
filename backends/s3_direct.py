"""Requests over connections of our own, each in a thread while it moves bytes. The event loop hands chunks over.

One thread a connection at most: the caller bounds how many requests run at once.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from backends.body import CHUNK
from backends.s3_http import Connection
from backends.streams import poured

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from backends.s3_http import Head, Server
    from backends.streams import Sink

    Counts = AsyncGenerator[int, None]

P = ParamSpec("P")
T = TypeVar("T")

# Threads that receive at once. More only take the interpreter from each other: 2.1 GB over TLS in 8 bodies cost 5.0 s
# CPU and 170,000 switches on two cores, three of them at a time 3.9 s and 50,000.
_RECEIVING = len(os.sched_getaffinity(0)) + 1
IDLE = 10.0  # seconds; S3 closes after about 20
_BATCH = CHUNK + (64 << 10)  # bytes handed to a thread at once: a chunk and the framing around it


class Answer:
    """What came back; ``chunks()`` streams its body in pieces of up to 512 KiB, ``pour()`` into a sink."""

    def __init__(
        self,
        head: Head,
        chunks: Callable[[], AsyncGenerator[bytes, None]],
        pour: Callable[[Sink], Counts] | None = None,
    ) -> None:
        self.status, self.headers = head
        self.chunks = chunks
        self.pour = pour or (lambda sink: poured(chunks(), sink))


class Direct:
    """Connections to one server, kept between requests."""

    def __init__(self, server: Server, connections: int) -> None:
        self._server = server
        self._threads = ThreadPoolExecutor(connections, thread_name_prefix="backends-s3")
        self._receiving = asyncio.Semaphore(_RECEIVING)
        self._idle: list[Connection] = []

    @asynccontextmanager
    async def request(
        self, method: str, target: str, headers: dict[str, str], body: AsyncGenerator[bytes, None] | None = None
    ) -> AsyncIterator[Answer]:
        """Sends and waits for the answer's headers. Its body is taken in the block; a rest costs the connection.

        Left early, by an error of the body or by a cancellation, the connection is closed: the server discards.
        """
        connection = self._take()
        try:
            head = await self._exchange(connection, method, _head(method, target, headers), body)

            async def chunks() -> AsyncGenerator[bytes, None]:
                while not connection.ended:
                    yield connection.read() if connection.arrived else await self._receive(connection, connection.read)

            async def pour(sink: Sink) -> Counts:
                while not connection.ended:
                    if count := await self._receive(connection, connection.pour, sink):
                        yield count

            yield Answer(head, chunks, pour)
        finally:
            self._give_back(connection)

    async def close(self) -> None:
        while self._idle:
            self._idle.pop().close()
        await asyncio.to_thread(self._threads.shutdown)

    async def _exchange(
        self, connection: Connection, method: str, head: bytes, body: AsyncGenerator[bytes, None] | None
    ) -> Head:
        """Small pieces travel with large ones, the first with the headers and the last with the wait for the answer."""
        batch, size = [head], len(head)
        if body is not None:
            async with aclosing(body):
                async for piece in body:
                    if size + len(piece) > _BATCH:
                        if not await self._run(connection, connection.send, batch):
                            batch = []  # the server has answered: it wants no more
                            break
                        batch, size = [], 0
                    batch.append(piece)
                    size += len(piece)
        return await self._run(connection, connection.exchange, batch, bodiless=method == "HEAD")

    async def _receive(self, connection: Connection, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Who has nothing to receive yet keeps nobody from it."""
        if connection.waits:
            await self._run(connection, connection.wait)
        async with self._receiving:
            return await self._run(connection, call, *args, **kwargs)

    async def _run(self, connection: Connection, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """A cancelled caller waits for the thread, which ends at once: a sink is not fed any more after it."""
        job = self._threads.submit(call, *args, **kwargs)
        ended = asyncio.wrap_future(job)
        try:
            return await asyncio.shield(ended)
        except asyncio.CancelledError:
            connection.abort()
            job.add_done_callback(lambda _: connection.close())  # never under the thread that uses it
            if connection.connected:  # else it still connects, and then does no more
                await asyncio.wait([ended])
            raise

    def _take(self) -> Connection:
        """The one that was used last, unless the server has let go of it meanwhile."""
        now = asyncio.get_running_loop().time()
        while self._idle:
            connection = self._idle.pop()
            if now - connection.idle_since < IDLE and connection.quiet():
                return connection
            connection.close()
        return Connection(self._server)

    def _give_back(self, connection: Connection) -> None:
        if connection.reusable:
            connection.idle_since = asyncio.get_running_loop().time()
            self._idle.append(connection)
        elif not connection.aborted:  # else its thread's end closes it
            connection.close()


def _head(method: str, target: str, headers: dict[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode()
