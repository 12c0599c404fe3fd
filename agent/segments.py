"""A compressed object: segments of its content, each a zstd frame of its own, so that any range can be read.

    object  = header ‖ segment 1 ‖ … ‖ segment n
    header  = the bytes of each segment in the object, n numbers of 32 bits
    segment = zstd frame (‖ skippable frame, where a part of an upload would be too small)

A segment is a part of the upload: made in memory, as a request says its size before its first byte. The first one has
the header, so it is sent when the others are there. How many there are follows from the size of the content alone.
"""

from __future__ import annotations

import io
import os
from struct import Struct
from typing import TYPE_CHECKING, Any

import zstandard
from isal.isal_zlib import crc32

from agent import integrity
from agent.catalog import FRAME, OVERHEAD, SEGMENTS, frames, segment_size
from agent.errors import reading
from agent.frames import BadFrame
from agent.integrity import Sums
from backends.checksums import combine, crc32c

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.frames import Sealer
    from agent.integrity import StrPath
    from backends.streams import Sink

LARGEST = SEGMENTS * (64 << 20)  # bytes of content; a segment is held in memory
_LEAST = 5 << 20  # bytes; S3's least part that is not the last
_LEVEL = 3
_READ = 1 << 20
_SKIPPED = Struct("<II")
_SKIPPABLE = 0x184D2A50  # RFC 8878, 3.1.2
_WINDOW = 1 << 27  # bytes; what a level up to 19 asks for


class Segments:
    """Of one object, with ``content`` bytes in it. Numbers begin at 1. Blocks."""

    def __init__(self, content: int, sealer: Sealer | None) -> None:
        self.content = content
        self.size = segment_size(content)
        self.count = -(-content // self.size)
        self._sealer = sealer

    def range(self, number: int) -> tuple[int, int]:
        """(offset, length), in the content."""
        offset = (number - 1) * self.size
        return offset, min(self.size, self.content - offset)

    @property
    def header_size(self) -> int:
        size = 4 * self.count
        return size if self._sealer is None else size + OVERHEAD * frames(size)

    def header(self, sizes: Sequence[int]) -> bytes:
        """Of all segments, in order."""
        return self._sealed(0, Struct(f"<{self.count}I").pack(*sizes))

    def read_header(self, data: bytes) -> tuple[int, ...]:
        """BadFrame for what is none."""
        if len(data) != self.header_size:
            raise BadFrame(f"its header has {len(data)} bytes of {self.header_size}")
        plain = data
        if self._sealer is not None:
            sealer = self._sealer.part(0, 4 * self.count)
            stored = FRAME + OVERHEAD
            plain = b"".join(
                sealer.open(at, data[at * stored : (at + 1) * stored]) for at in range(frames(4 * self.count))
            )
        return Struct(f"<{self.count}I").unpack(plain)

    def encode(self, path: StrPath, number: int, *, digest: bool) -> tuple[bytes, Sums]:
        """A segment's bytes, and the sums of its content as they are planned: of Data.db (``digest``) a CRC32."""
        offset, length = self.range(number)
        with reading(path):
            packed, crc = _compress(path, offset, length, digest=digest)
        if number < self.count and len(packed) < _LEAST:
            missing = max(0, _LEAST - len(packed) - _SKIPPED.size)
            packed += _SKIPPED.pack(_SKIPPABLE, missing) + bytes(missing)
        data = self._sealed(number, packed)
        return data, Sums(length, 0 if digest else crc, crc if digest else None, crc32c(data))

    def measure(self, path: StrPath, *, digest: bool) -> tuple[int, int, Sums]:
        """(bytes of the object, its CRC32C, sums of the content) as it would be made of this file now."""
        sizes, found = [], []
        for number in range(1, self.count + 1):
            data, sums = self.encode(path, number, digest=digest)
            sizes.append(len(data))
            found.append(sums)
        header = self.header(sizes)
        stored = [(crc32c(header), len(header))]
        stored += [(one.stored or 0, size) for one, size in zip(found, sizes, strict=True)]
        return len(header) + sum(sizes), combine(stored), integrity.combine(found)

    def sealer(self, number: int, stored: int) -> Sealer | None:
        """Of a segment that has so many bytes in the object; None where it is not encrypted."""
        if self._sealer is None:
            return None
        return self._sealer.part(number, stored - OVERHEAD * -(-stored // (FRAME + OVERHEAD)))

    def _sealed(self, number: int, data: bytes) -> bytes:
        return data if self._sealer is None else self._sealer.part(number, len(data)).whole(data)


class Unpacking:
    """A sink of one segment's frame, of ``size`` bytes content; those from ``begin`` to ``end`` go on to another one.

    BadFrame for anything else than such a frame: never more than its size comes out.
    """

    def __init__(self, sink: Sink, begin: int, end: int, size: int) -> None:
        self._size = size
        self._packed = 0
        self._content = _Content(sink, begin, end, size)
        decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
        file: Any = self._content  # all that is asked of it is to write
        self._stream = decompressor.stream_writer(file, write_size=_READ, closefd=False)

    @property
    def passed(self) -> int:
        """Bytes that went on."""
        return self._content.passed

    def write(self, data: bytes | memoryview) -> None:
        self._packed += len(data)
        try:
            self._stream.write(data)
        except zstandard.ZstdError as error:
            raise BadFrame(f"it cannot be decompressed ({error})") from error

    def finish(self, packed: int) -> None:
        """After ``packed`` bytes."""
        if self._packed != packed or self._content.position != self._size:
            raise BadFrame(f"a segment of it ends early: {self._packed} bytes of {packed}")


class _Content:
    """Takes what comes out. Apart from Unpacking, which would hold itself by it, and two MiB of zstd's with it."""

    def __init__(self, sink: Sink, begin: int, end: int, size: int) -> None:
        self._sink = sink
        self._begin = begin
        self._end = end
        self._size = size
        self.position = 0
        self.passed = 0

    def write(self, data: bytes) -> int:
        begin, end = self.position, self.position + len(data)
        if end > self._size:
            raise BadFrame(f"a segment of it has more than its {self._size} bytes")
        self.position = end
        low, high = max(begin, self._begin), min(end, self._end)
        if low < high:
            self.passed += high - low
            self._sink(memoryview(data)[low - begin : high - begin])
        return len(data)


def _compress(path: StrPath, offset: int, length: int, *, digest: bool) -> tuple[bytes, int]:
    """(a zstd frame, the checksum of its content). SnapshotGone for a file that is gone or too short."""
    compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compressobj()
    found = io.BytesIO()  # gives what it holds without a second copy
    crc = 0
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise integrity.changed(path, "it is gone") from error
    try:
        for begin in range(offset, offset + length, _READ):
            want = min(_READ, offset + length - begin)
            data = os.pread(descriptor, want, begin)
            if len(data) < want:
                raise integrity.changed(path, "it is shorter than it was")
            crc = crc32(data, crc) if digest else crc32c(data, crc)
            found.write(compressor.compress(data))
            os.posix_fadvise(descriptor, begin, want, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
    found.write(compressor.flush())
    return found.getvalue(), crc
