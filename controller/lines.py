"""Bytes of a watch to lines of JSON. One line is one object, so there is no line limit, only a cap against nonsense."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable

CAP = 32 << 20  # etcd takes 1.5 MiB by default, and no more than 10 MiB are ever configured


class LineTooLong(Exception):  # noqa: N818  says it all
    pass


async def read_lines(chunks: AsyncIterable[bytes], *, cap: int = CAP) -> AsyncGenerator[bytes, None]:
    """Lines without their end, empty ones left out. An unfinished last line is dropped: its object comes again.

    Raises LineTooLong once more than ``cap`` bytes of one line were read.
    """
    rest = bytearray()
    async for chunk in chunks:
        if b"\n" not in chunk:
            rest += chunk
        else:
            first, *more = chunk.split(b"\n")
            rest += first
            more, last = more[:-1], more[-1]
            for line in (bytes(rest), *more):
                if len(line) > cap:
                    raise LineTooLong(f"a line of {len(line)} bytes")
                if line.strip():
                    yield line
            rest = bytearray(last)
        if len(rest) > cap:
            raise LineTooLong(f"more than {cap} bytes without an end of line")
