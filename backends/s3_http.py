"""HTTP/1.1 over one blocking connection: what a thread does with a hot request. One thread at a time.

Why not aiohttp: a probe of both against MinIO on two cores, CPU seconds a GB of the client, aiohttp on uvloop -> this:
upload 1.1 -> 0.5 (http), 1.7 -> 1.1 (https); download 1.3 -> 0.55, 2.1 -> 1.6. A socket that a thread reads and writes
needs no copies between the loop's buffers, OpenSSL encrypts straight into it, and both happen without the GIL; the
event loop only sees one event a chunk.

What S3 and its likes answer is spoken, not all of HTTP: a status line, headers, a body by ``Content-Length`` or in
chunks, connections kept. Redirects are answers like others.
"""

from __future__ import annotations

import contextlib
import select
import socket
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from aiohttp.http_exceptions import BadStatusLine
from botocore import exceptions as sdk

from backends.s3_tls import Secured
from backends.streams import Roomy

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from backends.streams import Sink

CHUNK = 512 << 10  # bytes handed out at once, and held by a connection that receives a body: larger ones leave the
# processor's cache before they are written, smaller ones cost more hops (measured: 128 KiB to 1 MiB)
POUR = 2 << 20  # bytes that go into a sink before the thread gives way
GATHER = 0.02  # seconds that the rest of a small answer is waited for
JOIN = 64 << 10  # bytes up to which pieces are copied together: one packet, one TLS record
_HEAD = 64 << 10  # bytes, the most that an answer's headers may be
_READ, _WRITE = select.POLLIN, select.POLLOUT


class Server(NamedTuple):
    """Where to connect; ``url`` is scheme, host and port, for messages. ``tls`` None: plain."""

    url: str
    host: str
    port: int
    tls: ssl.SSLContext | None
    connect: float  # seconds
    stall: float  # seconds without any progress


class Head(NamedTuple):
    """An answer without its body; names in lower case."""

    status: int
    headers: dict[str, str]


class Connection:
    """Connects on its first use. After any failure it is of no more use; ``close`` it. ``abort`` is for other threads.

    Raises what the SDK raises for the same: EndpointConnectionError, SSLError, ReadTimeoutError, ConnectionClosedError.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._socket: socket.socket | Secured | None = None
        self._aborted = False
        self._buffer = bytearray(_HEAD)
        self._start = self._end = 0  # what was received and not yet taken
        self._left = 0  # of the body, or of its present chunk
        self._chunked = False
        self._keep = False
        self._cut = False  # the answer came before the request's end
        self.idle_since = 0.0

    @property
    def reusable(self) -> bool:
        """The answer was taken whole, and the server keeps the connection."""
        return self.ended and self._start == self._end and self._keep and not self._cut and not self._aborted

    @property
    def aborted(self) -> bool:
        return self._aborted

    @property
    def connected(self) -> bool:
        return self._socket is not None

    @property
    def ended(self) -> bool:
        """The answer's body was taken whole."""
        return not self._left and not self._chunked

    @property
    def arrived(self) -> bool:
        """What is left of the answer's body is here, so that ``read`` does not wait."""
        return 0 < self._left <= self._end - self._start

    @property
    def waits(self) -> bool:
        """``read`` would have to wait for the server."""
        return not self._pending() and not self._poll(_READ, 0)

    def wait(self) -> None:
        """Until ``read`` need not."""
        try:
            if not self._pending() and not self._poll(_READ, self._server.stall):
                raise TimeoutError
        except OSError as error:
            raise self._failure(error) from error

    def quiet(self) -> bool:
        """The server has neither closed it nor said anything since the last answer."""
        return self._socket is not None and not self._pending() and not self._poll(_READ, 0)

    def abort(self) -> None:
        """Ends whatever a thread does here, at once; that thread or its owner closes."""
        self._aborted = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
            self._keep = False

    def send(self, pieces: Sequence[bytes]) -> bool:
        """False when the answer is there already: what is left need not be sent."""
        try:
            if all(map(self._write, _joined(pieces))):
                return True
        except (BrokenPipeError, ConnectionResetError) as error:
            with contextlib.suppress(OSError):
                self._receive(len(self._buffer), 0)
            if self._start == self._end:  # else it has said why before it closed
                raise self._failure(error) from error
        except OSError as error:
            raise self._failure(error) from error
        self._cut = True
        return False

    def exchange(self, pieces: Sequence[bytes], *, bodiless: bool = False) -> Head:
        """Sends what is left and waits for the answer; a small body comes along. ``bodiless``: it was a HEAD."""
        self.send(pieces)
        try:
            head = self._head(bodiless=bodiless)
        except OSError as error:
            raise self._failure(error) from error
        if self._left <= _HEAD:
            with contextlib.suppress(OSError):  # told by ``read``
                self._compact()
                self._gather(self._left, GATHER)
        return head

    def read(self, most: int = CHUNK) -> bytes:
        """What has arrived of the body, at least a byte; nothing at its end. One that breaks off is an error."""
        with self._take(most) as data:
            return bytes(data)

    def pour(self, sink: Sink) -> int:
        """As ``read``, into a sink: what has arrived, up to ``POUR``. How much that was."""
        count, roomy = 0, sink if isinstance(sink, Roomy) else None
        while not self.ended and count < POUR and not (count and self.waits):
            try:
                data = self._take(CHUNK, roomy.room() if roomy else None)
            except (sdk.BotoCoreError, BadStatusLine):
                if not count:
                    raise
                break  # told by the next call
            with data:
                if data:  # else it was the end of the last chunk
                    sink(data)
                    count += len(data)
        return count

    def _connect(self) -> socket.socket | Secured:
        if self._socket is None:
            server = self._server
            try:
                made = socket.create_connection((server.host, server.port), server.connect)
            except TimeoutError as error:
                raise _said(sdk.ConnectTimeoutError, server, error) from error
            except OSError as error:
                raise _said(sdk.EndpointConnectionError, server, error) from error
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.settimeout(0)
            self._socket = made if server.tls is None else self._secured(made, server.tls)
        if self._aborted:
            raise ConnectionAbortedError
        return self._socket

    def _secured(self, made: socket.socket, context: ssl.SSLContext) -> Secured:
        try:
            return Secured(made, context, self._server.host, self._server.connect)
        except OSError as error:
            made.close()
            kind = sdk.ConnectTimeoutError if isinstance(error, TimeoutError) else sdk.SSLError
            raise _said(kind, self._server, error) from error

    def _write(self, data: bytes) -> bool:
        """False as ``send``."""
        connection, view = self._connect(), memoryview(data)
        while view:
            try:
                view = view[connection.send(view) :]
                continue
            except BlockingIOError:
                pass
            if not (ready := self._poll(_WRITE | _READ, self._server.stall)):
                raise TimeoutError
            if ready & _READ:
                with contextlib.suppress(TimeoutError):  # what came was TLS's own
                    self._receive(len(self._buffer), 0)
                    return False
        return True

    def _head(self, *, bodiless: bool) -> Head:
        until = time.monotonic() + self._server.stall  # for all of it: a head that drips in is none
        while True:
            while (stop := self._buffer.find(b"\r\n\r\n", self._start, self._end)) < 0:
                if self._end - self._start >= _HEAD:
                    raise self._nonsense()
                self._receive(len(self._buffer), max(0.0, until - time.monotonic()))
            first, *lines = bytes(self._buffer[self._start : stop]).decode("latin-1").split("\r\n")
            version, _, rest = first.partition(" ")
            if not version.startswith("HTTP/1.") or not rest[:3].isdecimal():
                raise self._nonsense()
            self._start = stop + 4
            if (status := int(rest[:3])) >= 200:
                break
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = headers.get("content-length", "")
        empty = bodiless or status in {204, 304}
        self._chunked = not empty and "chunked" in headers.get("transfer-encoding", "").lower()
        self._left = int(length) if length.isdecimal() and not empty and not self._chunked else 0
        ends = empty or self._chunked or length.isdecimal()  # else the body ends with the connection, and is not read
        self._keep = ends and version == "HTTP/1.1" and "close" not in headers.get("connection", "").lower()
        return Head(status, headers)

    def _take(self, most: int, room: memoryview | None = None) -> memoryview:
        """For ``read``: a view that is good until the next call; released before it. Of ``room``, where there is one,
        unless something was received before.
        """
        try:
            if self._chunked and not self._left:
                self._next_chunk()
            if not self._left:
                return memoryview(b"")
            if room is None:
                return self._body(most)
            return self._body(held) if (held := self._end - self._start) else self._fill(room)
        except OSError as error:
            raise self._failure(error) from error

    def _fill(self, room: memoryview) -> memoryview:
        """What of the body arrives first, and what has come by then."""
        with room[: self._left] as view:
            count = self._some(view, self._server.stall)
            with contextlib.suppress(OSError):  # told by the next read, after what came
                while count < len(view):
                    count += self._some(view[count:], 0)
        self._left -= count
        return room[:count]

    def _body(self, most: int) -> memoryview:
        want = min(most, self._left)
        if len(self._buffer) < want:
            self._buffer.extend(bytes(want - len(self._buffer)))
        self._compact()
        if not self._end:
            self._receive(want, self._server.stall)
        with contextlib.suppress(OSError):  # told by the next read, after what came
            self._gather(want, 0)
        taken = min(want, self._end)
        self._start = taken
        self._left -= taken
        return memoryview(self._buffer)[:taken]

    def _gather(self, upto: int, seconds: float) -> None:
        """Fills the buffer up to there with what comes in that time."""
        until = time.monotonic() + seconds
        receive, view = self._connect().recv_into, memoryview(self._buffer)
        while True:
            with contextlib.suppress(BlockingIOError):
                while self._end < upto and (count := receive(view[self._end : upto])):
                    self._end += count
            if self._end >= upto:
                return
            self._receive(upto, max(0.0, until - time.monotonic()))

    def _next_chunk(self) -> None:
        """Reads the size of the next chunk of a chunked body, and after the last one the trailer."""
        line = self._line() or self._line()  # the line's end behind the chunk before
        try:
            size = int(line.partition(b";")[0], 16)
        except ValueError:
            raise ConnectionResetError from None
        while not size and self._line():
            pass
        self._left = size
        self._chunked = size > 0

    def _line(self) -> bytes:
        while (stop := self._buffer.find(b"\r\n", self._start, self._end)) < 0:
            if self._end - self._start >= _HEAD:
                raise self._nonsense()
            self._receive(len(self._buffer), self._server.stall)
        line = bytes(self._buffer[self._start : stop])
        self._start = stop + 2
        return line

    def _pending(self) -> bool:
        """Something was received that nobody has looked at."""
        return self._end > self._start or (isinstance(self._socket, Secured) and self._socket.pending)

    def _compact(self) -> None:
        self._buffer[: self._end - self._start] = self._buffer[self._start : self._end]
        self._start, self._end = 0, self._end - self._start

    def _receive(self, upto: int, seconds: float) -> None:
        """More bytes into the buffer, whose first ``upto`` bytes may be used. TimeoutError when there are none."""
        if self._start:
            self._compact()
        self._end += self._some(memoryview(self._buffer)[self._end : upto], seconds)

    def _some(self, view: memoryview, seconds: float) -> int:
        """At least a byte into ``view``."""
        connection = self._connect()
        while True:
            try:
                count = connection.recv_into(view)
            except BlockingIOError:
                if not self._poll(_READ, seconds):
                    raise TimeoutError from None
                continue
            if not count:
                raise ConnectionResetError
            return count

    def _poll(self, events: int, seconds: float) -> int:
        """The events that came; an error or the other end's close counts as readable."""
        assert self._socket is not None
        poller = select.poll()
        poller.register(self._socket, events)
        found = sum(ready for _, ready in poller.poll(seconds * 1000))
        if self._aborted:
            raise ConnectionAbortedError
        return found | _READ if found & ~_WRITE else found

    def _nonsense(self) -> BadStatusLine:
        return BadStatusLine(bytes(self._buffer[self._start : min(self._end, self._start + 80)]).decode("latin-1"))

    def _failure(self, error: OSError) -> sdk.BotoCoreError:
        kind = sdk.ReadTimeoutError if isinstance(error, TimeoutError) else sdk.ConnectionClosedError
        return _said(kind, self._server, error)


def _said(kind: Any, server: Server, error: OSError) -> sdk.BotoCoreError:
    """The SDK's errors are untyped, and take what their message needs."""
    made: sdk.BotoCoreError = kind(endpoint_url=server.url, error=error)
    return made


def _joined(pieces: Sequence[bytes]) -> list[bytes]:
    """Small neighbours as one."""
    if sum(map(len, pieces)) <= JOIN:
        return [b"".join(pieces)]
    joined: list[bytes] = []
    for piece in pieces:
        if joined and len(joined[-1]) + len(piece) <= JOIN:
            joined[-1] += piece
        else:
            joined.append(piece)
    return joined
