"""What was read before need not be read again: checksums by (device, inode, size, mtime), in one file of the state dir.

A snapshot's files are links, so their inode is the live file's. Cassandra never changes a finished component in place:
it writes another file and renames it, which is another inode. ``ctime`` is no part of the key, because every snapshot
changes it. What is younger than ``RACY`` is not kept: on a file system with coarse times a change right after the read
would not show.

The file may be lost or damaged at any time: that costs reads. If it lies, an upload finds other bytes than planned
and :meth:`Cache.forget` takes it away. All of it blocks.
"""

from __future__ import annotations

import time
from array import array
from bisect import bisect_left
from heapq import merge
from typing import TYPE_CHECKING

import structlog

from agent import files
from backends.checksums import crc32c

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from agent.sstables import FoundFile

RACY = 2 * 10**9  # nanoseconds; the coarsest times of a file system that Cassandra may be on are seconds
_MAGIC = b"crc-cache 1\n\0\0\0\0"  # 16 bytes: the columns stay aligned
_COLUMNS = 5
_WORD = 8
_RUN = 1 << 16  # files that are sorted and written at once

log = structlog.get_logger(__name__)


class Cache:
    """``<state dir>/checksums``: columns of 64-bit words, by inode. 40 bytes a file, in memory and on disk.

    A backup loads it, asks it, and keeps what its snapshot has: what is no longer there goes, so it does not grow.
    """

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "checksums"

    def load(self) -> Known:
        try:
            with self._path.open("rb") as file:
                columns = _read(file, self._path.stat().st_size)
        except FileNotFoundError:
            return Known()
        except OSError as error:
            log.warning("the checksums of earlier backups cannot be read: the files are read again", error=str(error))
            return Known()
        if columns is None:
            log.warning("the checksums of earlier backups are damaged: the files are read again", path=str(self._path))
            return Known()
        return Known(columns)

    def keep(self, known: Known) -> None:
        """What ``known`` saw, and nothing else. A disk that takes no more is no reason to fail a backup."""
        if not known.changed:
            return
        try:
            files.write_atomic(self._path, _summed(known.columns()))
        except OSError as error:
            log.warning("checksums are not kept: the next backup reads the files again", error=str(error))

    def forget(self) -> None:
        files.remove(self._path)


class Known:
    """What earlier backups read, and what this one saw of it or read itself. Threads may share it."""

    def __init__(self, columns: Sequence[array[int]] = ()) -> None:
        self._inodes, self._devices, self._sizes, self._times, self._crcs = columns or (array("Q") for _ in range(5))
        self._seen = bytearray(len(self._inodes))
        self._added = array("Q")  # inode, device, size, mtime, crc of each
        self._now = time.time_ns()

    @property
    def changed(self) -> bool:
        """Something was read, or something is gone: worth a write."""
        return bool(self._added) or 0 in self._seen

    def get(self, file: FoundFile) -> int | None:
        """The ``crc`` of the file's component, if exactly this file was read before."""
        at = bisect_left(self._inodes, file.inode)
        while at < len(self._inodes) and self._inodes[at] == file.inode:
            if (self._devices[at], self._sizes[at], self._times[at]) == (file.device, file.size, file.mtime_ns):
                self._seen[at] = 1
                return self._crcs[at]
            at += 1
        return None

    def add(self, file: FoundFile, crc: int) -> None:
        """It was read: the next backup need not."""
        if file.inode and 0 <= file.mtime_ns < self._now - RACY:
            row = (file.inode, file.device, file.size, file.mtime_ns, crc)
            self._added += array("Q", row)  # one step: threads

    def columns(self) -> Iterator[array[int]]:
        """What was seen, by inode, piece by piece of each column."""
        old = len(self._inodes)
        added = self._added
        seen = ((self._inodes[at], at) for at in range(old) if self._seen[at])
        order = array("I", (at for _, at in merge(seen, *_runs(added, old))))
        loaded = (self._inodes, self._devices, self._sizes, self._times, self._crcs)
        for column in range(_COLUMNS):
            there = loaded[column]
            for begin in range(0, len(order), _RUN):
                piece = order[begin : begin + _RUN]
                yield array("Q", [there[at] if at < old else added[(at - old) * _COLUMNS + column] for at in piece])


def _runs(added: array[int], first: int) -> list[Iterator[tuple[int, int]]]:
    """(inode, number) of the rows, each run in order; numbers begin at ``first``. All at once would take ten times the
    memory that the rows do.
    """
    count = len(added) // _COLUMNS
    runs = [range(begin, min(begin + _RUN, count)) for begin in range(0, count, _RUN)]
    ordered = [array("I", sorted(run, key=lambda at: added[at * _COLUMNS])) for run in runs]
    return [((added[at * _COLUMNS], first + at) for at in run) for run in ordered]


def _read(file: BinaryIO, size: int) -> list[array[int]] | None:
    """The columns; None for a damaged file."""
    count, rest = divmod(size - len(_MAGIC) - _WORD, _COLUMNS * _WORD)
    magic = file.read(len(_MAGIC))
    if rest or count < 0 or magic != _MAGIC:
        return None
    crc = crc32c(magic)
    columns = []
    for _ in range(_COLUMNS):
        column = array("Q")
        try:
            column.fromfile(file, count)
        except EOFError:
            return None
        crc = crc32c(memoryview(column).cast("B"), crc) if count else crc
        columns.append(column)
    return columns if int.from_bytes(file.read(_WORD), "little") == crc else None


def _summed(columns: Iterable[array[int]]) -> Iterator[bytes]:
    """The file's bytes."""
    crc = crc32c(_MAGIC)
    yield _MAGIC
    for column in columns:
        data = column.tobytes()
        crc = crc32c(data, crc)
        yield data
    yield crc.to_bytes(_WORD, "little")
