"""A body as the bytes and headers of one request, in each of the ways that stores verify it.

With a trailer the file is read once: the checksum follows the bytes. The framing is AWS's ("Chunked uploads with
trailing headers", S3 API Reference): chunks of known sizes, so that the length stands before the first one.
"""

from __future__ import annotations

import base64
import hashlib
from contextlib import aclosing
from typing import TYPE_CHECKING

from backends.body import FileBody, checked, checksum_of
from backends.checksums import crc32c, to_base64
from backends.s3_probe import Checksums
from backends.s3_sign import TRAILER, UNSIGNED
from backends.threads import run

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from backends.base import Body

CRC32C = "x-amz-checksum-crc32c"
FRAME = 1 << 20  # bytes; servers hold a frame whole, and refuse large ones (MinIO those above 16 MiB)
_END = len(f"0\r\n{CRC32C}:AAAAAA==\r\n\r\n")


class Outgoing:
    """``body`` for one request; ``names`` are operation, store and key. ``crc`` is known when ``pieces`` has ended."""

    def __init__(self, body: Body, way: Checksums, names: tuple[str, str, str]) -> None:
        self._body = body
        self._way = way
        self.names = names
        self.sends = TRAILER if way is Checksums.TRAILER else UNSIGNED
        self.crc = 0
        self.failure: Exception | None = None  # the body's own error, as it was raised

    async def headers(self) -> dict[str, str]:
        """To be signed. Where the way asks for a checksum that is not known, the body is read for it."""
        body, size = self._body, str(self._body.size)
        match self._way:
            case Checksums.TRAILER:
                return {
                    "content-encoding": "aws-chunked",
                    "content-length": str(framed(body.size)),
                    "x-amz-decoded-content-length": size,
                    "x-amz-trailer": CRC32C,
                }
            case Checksums.HEADER:
                return {"content-length": size, CRC32C: to_base64(await checksum_of(body))}
            case Checksums.MD5:
                return {"content-length": size, "content-md5": await _md5(body)}
            case Checksums.NONE:
                return {"content-length": size}

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        if self._way is Checksums.TRAILER:
            async with aclosing(self._framed()) as framed_pieces:
                async for piece in framed_pieces:
                    yield piece
            yield f"0\r\n{CRC32C}:{to_base64(self.crc)}\r\n\r\n".encode()
        else:
            async with aclosing(self._bytes()) as chunks:
                async for chunk in chunks:
                    yield chunk

    async def _bytes(self) -> AsyncGenerator[bytes, None]:
        sums = not isinstance(self._body, FileBody) and self._body.crc32c is None
        crc = 0
        try:
            async with aclosing(checked(self._body, *self.names)) as chunks:
                async for chunk in chunks:
                    if sums:
                        crc = crc32c(chunk, crc)
                    yield chunk
        except Exception as error:
            self.failure = error
            raise
        self.crc = crc if sums else self._body.crc32c or 0

    async def _framed(self) -> AsyncGenerator[bytes, None]:
        left, frame = self._body.size, 0  # of the body, and of the present frame
        async with aclosing(self._bytes()) as chunks:
            async for chunk in chunks:
                start = 0
                while start < len(chunk):
                    if not frame:
                        frame = min(FRAME, left)
                        yield b"%x\r\n" % frame
                    piece = chunk if not start and len(chunk) <= frame else chunk[start : start + frame]
                    yield piece
                    start += len(piece)
                    frame -= len(piece)
                    left -= len(piece)
                    if not frame:
                        yield b"\r\n"


def framed(size: int) -> int:
    """Bytes on the wire of a body of ``size`` bytes with its trailer."""
    full, rest = divmod(size, FRAME)
    return size + full * (len(f"{FRAME:x}") + 4) + (len(f"{rest:x}") + 4 if rest else 0) + _END


async def _md5(body: Body) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    async for chunk in body.chunks():
        await run(digest.update, chunk)
    return base64.b64encode(digest.digest()).decode()
