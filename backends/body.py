"""Where uploaded bytes come from: memory, or a range of a file read in threads."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

from backends.checksums import crc32c
from backends.errors import Kind, StoreError
from backends.threads import pool, run

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from concurrent.futures import Future

    from backends.base import Body

T = TypeVar("T", bytes, memoryview)

CHUNK = 1 << 20  # aiohttp over TLS is fastest, and stalls the loop least, with pieces of about 1 MiB (measured)


class Inspector(Protocol):
    """Looks at a file's bytes as they are read. Each pass has its own Inspection: one given up may still be reading."""

    def start(self) -> Inspection: ...


class Inspection(Protocol):
    """Of one pass: sees its bytes in the reading thread and in order."""

    def update(self, data: bytes) -> None: ...

    def finish(self) -> None:
        """Before the last chunk is handed out: what it raises ends the upload."""


class Encoder(Protocol):
    """Makes what is sent of what is read: of each ``CHUNK`` by itself, in the reading thread; the same every time."""

    def size(self, offset: int, length: int) -> int:
        """Bytes that ``length`` bytes from ``offset`` on become."""

    def __call__(self, offset: int, data: bytes | memoryview, /) -> bytes:
        """``offset`` is that of the data in its file, a multiple of ``CHUNK``."""


class BytesBody:
    """A body in memory."""

    def __init__(self, data: bytes, *, checksum: int | None = None) -> None:
        self.size = len(data)
        self.crc32c: int | None = crc32c(data) if checksum is None else checksum
        self._data = data

    async def chunks(self) -> AsyncIterator[bytes]:
        if self.size <= CHUNK:
            if self._data:
                yield self._data
            return
        for start in range(0, self.size, CHUNK):
            yield self._data[start : start + CHUNK]

    def part(self, offset: int, size: int) -> BytesBody:
        return BytesBody(self._data[offset : offset + size])


class FileBody:
    """``size`` bytes of the file at ``path``, from ``offset``; to the file's end when ``size`` is left out.

    Read by ``os.pread`` in threads, one chunk ahead, with ``posix_fadvise(DONTNEED)`` behind, so that a backup
    does not push Cassandra's pages out of the cache. ``crc32c`` is computed in the same pass and known after the first
    whole one; a later pass that finds other bytes raises SourceChanged before its last chunk, so nothing wrong is ever
    sent whole. With an ``encoder``, ``size`` and ``crc32c`` are of what it makes; an inspector sees the file's bytes.
    Raises SourceChanged when the file is gone or too short, and OSError for a disk that does not read.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        offset: int = 0,
        size: int | None = None,
        *,
        checksum: int | None = None,
        inspector: Inspector | None = None,
        encoder: Encoder | None = None,
    ) -> None:
        self.path = os.fspath(path)
        self.offset = offset
        self.length = max(0, os.stat(self.path).st_size - offset) if size is None else size  # noqa: PTH116
        self.size = self.length if encoder is None else encoder.size(offset, self.length)
        self.crc32c = checksum
        self.inspector = inspector
        self.encoder = encoder

    def part(self, offset: int, size: int) -> FileBody:
        assert self.encoder is None, "a part of what is encoded is no range of the file"
        return FileBody(self.path, self.offset + offset, size)

    async def chunks(self) -> AsyncIterator[bytes]:
        if not self.length:
            return
        reader = _Reader(self)
        try:
            data = await reader.next()
            while not reader.finished:
                ahead = reader.next()
                yield data
                data = await ahead
            self._settle(reader.crc)
            if reader.inspection is not None:
                reader.inspection.finish()
            yield data
        finally:
            reader.close()

    async def measure(self) -> int:
        """``crc32c`` without handing out the bytes: they stay in the page cache for the pass that sends them."""
        crc, position = 0, 0
        while position < self.length:
            length = min(16 * CHUNK, self.length - position)
            crc = await run(self._scan, position, length, crc)
            position += length
        self._settle(crc)
        return crc

    def _settle(self, crc: int) -> None:
        if self.crc32c is None:
            self.crc32c = crc
        elif self.crc32c != crc:
            raise self.changed("its bytes are not the ones that were read before")

    def _scan(self, position: int, length: int, crc: int) -> int:
        buffer = memoryview(bytearray(CHUNK))
        descriptor = self.open()
        try:
            start = self.offset + position
            end = start + length
            while start < end:
                want = min(CHUNK, end - start)
                if os.preadv(descriptor, [buffer[:want]], start) < want:
                    raise self.changed("it is shorter than it was")
                crc = crc32c(self.encoded(start, buffer[:want]), crc)
                start += want
        finally:
            os.close(descriptor)
        return crc

    def encoded(self, offset: int, data: T) -> T | bytes:
        return data if self.encoder is None else self.encoder(offset, data)

    def open(self) -> int:
        try:
            return os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise self.changed("it is gone") from error

    def changed(self, what: str) -> StoreError:
        return StoreError(
            Kind.SOURCE_CHANGED, "read", "file://", self.path, f"the file changed under the upload: {what}"
        )


class _Reader:
    """One pass over a FileBody. At most one job is in a thread; the descriptor is closed after it, never under it."""

    def __init__(self, body: FileBody) -> None:
        self._body = body
        self._descriptor = -1
        self._position = body.offset
        self._end = body.offset + body.length
        self._job: Future[bytes] | None = None
        self.crc = 0
        self.inspection = body.inspector.start() if body.inspector is not None else None

    @property
    def finished(self) -> bool:
        return self._position >= self._end

    def next(self) -> asyncio.Future[bytes]:
        self._job = pool().submit(self._read)
        return asyncio.wrap_future(self._job)

    def _read(self) -> bytes:
        if self._descriptor < 0:
            self._descriptor = self._body.open()
        want = min(CHUNK, self._end - self._position)
        data = os.pread(self._descriptor, want, self._position)
        if len(data) < want:
            raise self._body.changed("it is shorter than it was")
        if self.inspection is not None:
            self.inspection.update(data)
        sent = self._body.encoded(self._position, data)
        self.crc = crc32c(sent, self.crc)
        os.posix_fadvise(self._descriptor, self._position, want, os.POSIX_FADV_DONTNEED)
        self._position += want
        if self.finished:
            self._close()
        return sent

    def close(self) -> None:
        if self._job is None or self._job.cancel() or self._job.done():
            self._close()
        else:
            self._job.add_done_callback(lambda _: self._close())

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


@runtime_checkable
class Measurable(Protocol):
    async def measure(self) -> int: ...


async def checksum_of(body: Body) -> int:
    """The body's crc32c, by a pass over it where it is not known: by ``measure()`` where the body has that.

    A body that wraps another (to slow it down, to count) passes ``measure`` on, or the pass goes through it.
    """
    if body.crc32c is not None:
        return body.crc32c
    if isinstance(body, Measurable):
        return await body.measure()
    crc = 0
    async for data in body.chunks():
        crc = crc32c(data, crc)
    return crc


async def checked(body: Body, operation: str, store: str, key: str) -> AsyncGenerator[bytes, None]:
    """The body's chunks. Raises before the last one when size or checksum are not what the body says."""
    if isinstance(body, FileBody):  # checks itself, in its thread
        async for data in body.chunks():
            yield data
        return
    held: bytes | None = None
    size, crc = 0, 0
    async for data in body.chunks():
        if held is not None:
            yield held
        held = data
        size += len(data)
        crc = crc32c(data, crc)
    if size != body.size:
        raise StoreError(Kind.SOURCE_CHANGED, operation, store, key, f"the source gave {size} bytes of {body.size}")
    if body.crc32c is not None and crc != body.crc32c:
        raise StoreError(Kind.CORRUPT, operation, store, key, "the bytes read do not match their checksum")
    if held is not None:
        yield held
