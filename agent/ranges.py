"""Ranges of large files on their way to the disk, past the page cache where the file system lets them.

Copying into the page cache, finding pages for it and writing them back cost a third of a restore's CPU, and nobody
reads what was restored until Cassandra starts. Blocks where it is not ``async``.
"""

from __future__ import annotations

import mmap
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from agent.catalog import DATA
from agent.integrity import Sums
from agent.staged import ADVISE, PAGE, checksum, write_all

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.staged import Staged

BUFFER = 2 << 20  # bytes written at once; half of that cost a tenth more of a restore's CPU


class Buffers:
    """Memory that begins with a page, used again: as much as there are ranges at once. Of one event loop."""

    def __init__(self) -> None:
        self._free: list[mmap.mmap] = []

    @contextmanager
    def lent(self) -> Iterator[mmap.mmap]:
        """Until no thread writes to it any more. It takes no memory before it is used."""
        buffer = self._free.pop() if self._free else mmap.mmap(-1, BUFFER, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        try:
            yield buffer
        finally:
            self._free.append(buffer)


class RangeWriter:
    """One range of one component, checksummed in the thread that writes it. All is written with its last byte.

    Whole pages are collected in ``buffer`` and go past the page cache. What is left of a file behind its last whole
    page goes through it, and so does a range that begins within a page: no page is written in both ways.
    """

    def __init__(self, name: str, file: Staged, offset: int, length: int, buffer: mmap.mmap) -> None:
        self._name = name
        self._file = file
        self._start = self._position = self._written = self._advised = offset
        self._end = offset + length
        self._buffer = buffer
        self._collects = file.direct and offset % PAGE == 0
        self._crc = 0

    def __call__(self, data: bytes | memoryview, /) -> None:
        self._crc = checksum(self._name, data, self._crc)
        with memoryview(data) as view:
            if self._collects:
                self._collect(view)
            else:
                self._position += len(view)
                self._write_cached(view)

    def room(self) -> memoryview | None:
        """In ``buffer``, which never is full here."""
        return memoryview(self._buffer)[self._position - self._written :] if self._collects else None

    @property
    def sums(self) -> Sums:
        size = self._position - self._start
        return Sums(size, 0, self._crc) if self._name == DATA else Sums(size, self._crc)

    def _collect(self, view: memoryview) -> None:
        taken = 0
        while taken < len(view):
            held = self._position - self._written
            count = min(len(view) - taken, len(self._buffer) - held)
            if view.obj is not self._buffer:  # else it was put into the room
                self._buffer[held : held + count] = view[taken : taken + count]
            taken += count
            self._position += count
            if held + count == len(self._buffer) or self._position == self._end:
                self._flush(held + count)

    def _flush(self, held: int) -> None:
        with memoryview(self._buffer) as whole, whole[: held - held % PAGE] as pages:
            done = self._file.write_direct(pages, self._written)
            self._written += done
            with whole[done:held] as rest:
                self._write_cached(rest)

    def _write_cached(self, view: memoryview) -> None:
        self._written += write_all(self._file.descriptor, view, self._written)
        if self._written - self._advised >= ADVISE:
            # Starts what is dirty on its way to the disk, and drops what has got there.
            os.posix_fadvise(self._file.descriptor, self._start, self._written - self._start, os.POSIX_FADV_DONTNEED)
            self._advised = self._written
