"""What was read before need not be read again: checksums by (device, inode, size, mtime), in one file of the state dir.

A snapshot's files are links, so their inode is the live file's. Cassandra never changes a finished component in place:
it writes another file and renames it, which is another inode. ``ctime`` is no part of the key, because every snapshot
changes it. What is younger than ``RACY`` is not kept: on a file system with coarse times a change right after the read
would not show.

Of a key its hash is kept, of 64 bits: two of a million files are one to it once in 10⁷ times. If it errs, or the file
lies, an upload finds other bytes than planned and :meth:`Cache.forget` takes it away. The file may be lost or damaged
at any time: that costs reads. All of it blocks.
"""

from __future__ import annotations

import time
from array import array
from bisect import bisect_left
from heapq import merge
from struct import Struct
from typing import TYPE_CHECKING

import structlog
import xxhash

from agent import files
from backends.checksums import crc32c

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from typing import BinaryIO

    from agent.sstables import FoundFile

RACY = 2 * 10**9  # nanoseconds; the coarsest times of a file system that Cassandra may be on are seconds
_MAGIC = b"crc-cache 2\n\0\0\0\0"
_SUM = 8  # bytes of the checksum of all, at the end
_KEY = Struct("<QQQQ")
_RUN = 1 << 16  # files that are sorted and written at once

log = structlog.get_logger(__name__)


class Cache:
    """``<state dir>/checksums``: a column of hashes, sorted, and one of checksums. 12 bytes a file, as in memory.

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
        return Known(*columns)

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

    def __init__(self, hashes: array[int] | None = None, crcs: array[int] | None = None) -> None:
        self._hashes = array("Q") if hashes is None else hashes
        self._crcs = array("I") if crcs is None else crcs
        self._seen = bytearray(len(self._hashes))
        self._added = array("Q")  # hash and checksum of each
        self._now = time.time_ns()

    @property
    def changed(self) -> bool:
        """Something was read, or something is gone: worth a write."""
        return bool(self._added) or 0 in self._seen

    def get(self, file: FoundFile) -> int | None:
        """The ``crc`` of the file's component, if exactly this file was read before."""
        found = _hash(file)
        at = bisect_left(self._hashes, found)
        if at == len(self._hashes) or self._hashes[at] != found:
            return None
        self._seen[at] = 1
        return self._crcs[at]

    def add(self, file: FoundFile, crc: int) -> None:
        """It was read: the next backup need not."""
        if file.inode and 0 <= file.mtime_ns < self._now - RACY:
            self._added += array("Q", (_hash(file), crc))  # one step: threads

    def columns(self) -> Iterator[array[int]]:
        """What was seen, by hash, piece by piece of each column."""
        old = len(self._hashes)
        added = self._added
        seen = ((self._hashes[at], at) for at in range(old) if self._seen[at])
        order = array("I", (at for _, at in merge(seen, *_runs(added, old))))
        for column, there in enumerate((self._hashes, self._crcs)):
            for begin in range(0, len(order), _RUN):
                piece = order[begin : begin + _RUN]
                rows = (there[at] if at < old else added[(at - old) * 2 + column] for at in piece)
                yield array(there.typecode, rows)


def _hash(file: FoundFile) -> int:
    return xxhash.xxh3_64_intdigest(_KEY.pack(file.inode, file.device, file.size, file.mtime_ns % (1 << 64)))


def _runs(added: array[int], first: int) -> list[Iterator[tuple[int, int]]]:
    """(hash, number) of the rows, each run in order; numbers begin at ``first``. All at once would take ten times the
    memory that the rows do.
    """
    count = len(added) // 2
    runs = [range(begin, min(begin + _RUN, count)) for begin in range(0, count, _RUN)]
    ordered = [array("I", sorted(run, key=lambda at: added[at * 2])) for run in runs]
    return [((added[at * 2], first + at) for at in run) for run in ordered]


def _read(file: BinaryIO, size: int) -> tuple[array[int], array[int]] | None:
    """The columns; None for a damaged file."""
    columns = array("Q"), array("I")
    count, rest = divmod(size - len(_MAGIC) - _SUM, sum(column.itemsize for column in columns))
    magic = file.read(len(_MAGIC))
    if rest or count < 0 or magic != _MAGIC:
        return None
    crc = crc32c(magic)
    for column in columns:
        try:
            column.fromfile(file, count)
        except EOFError:
            return None
        crc = crc32c(memoryview(column).cast("B"), crc) if count else crc
    return columns if int.from_bytes(file.read(_SUM), "little") == crc else None


def _summed(columns: Iterable[array[int]]) -> Iterator[bytes]:
    """The file's bytes."""
    crc = crc32c(_MAGIC)
    yield _MAGIC
    for column in columns:
        data = column.tobytes()
        crc = crc32c(data, crc)
        yield data
    yield crc.to_bytes(_SUM, "little")
