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
from typing import TYPE_CHECKING

import structlog

from agent import files
from backends.checksums import crc32c

if TYPE_CHECKING:
    from pathlib import Path

    from agent.sstables import FoundFile

RACY = 2 * 10**9  # nanoseconds; the coarsest times of a file system that Cassandra may be on are seconds
_MAGIC = b"crc-cache 1\n\0\0\0\0"  # 16 bytes: the columns stay aligned
_COLUMNS = 5
_WORD = 8

log = structlog.get_logger(__name__)


class Cache:
    """``<state dir>/checksums``: columns of 64-bit words, by inode. 40 bytes a file, in memory and on disk.

    A backup loads it, asks it, and keeps what its snapshot has: what is no longer there goes, so it does not grow.
    """

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "checksums"

    def load(self) -> Known:
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return Known()
        except OSError as error:
            log.warning("the checksums of earlier backups cannot be read: the files are read again", error=str(error))
            return Known()
        body, crc = data[:-_WORD], int.from_bytes(data[-_WORD:], "little")
        if not body.startswith(_MAGIC) or crc != crc32c(body) or (len(body) - len(_MAGIC)) % (_COLUMNS * _WORD):
            log.warning("the checksums of earlier backups are damaged: the files are read again", path=str(self._path))
            return Known()
        return Known(body[len(_MAGIC) :])

    def keep(self, known: Known) -> None:
        """What ``known`` saw, and nothing else. A disk that takes no more is no reason to fail a backup."""
        if not known.changed:
            return
        body = _MAGIC + known.columns()
        try:
            files.write_atomic(self._path, body + crc32c(body).to_bytes(_WORD, "little"))
        except OSError as error:
            log.warning("checksums are not kept: the next backup reads the files again", error=str(error))

    def forget(self) -> None:
        files.remove(self._path)


class Known:
    """What earlier backups read, and what this one saw of it or read itself. Threads may share it."""

    def __init__(self, columns: bytes = b"") -> None:
        words = array("Q", columns)
        self._loaded = count = len(words) // _COLUMNS
        self._inodes, self._devices, self._sizes, self._times, self._crcs = (
            words[column * count : (column + 1) * count] for column in range(_COLUMNS)
        )
        self._now = time.time_ns()
        self._seen = array("Q")  # inode, device, size, mtime, crc of each
        self._added = False

    @property
    def changed(self) -> bool:
        """Something was read, or something is gone: worth a write."""
        return self._added or len(self._seen) != self._loaded * _COLUMNS

    def get(self, file: FoundFile) -> int | None:
        """The ``crc`` of the file's component, if exactly this file was read before."""
        at = bisect_left(self._inodes, file.inode)
        while at < self._loaded and self._inodes[at] == file.inode:
            if (self._devices[at], self._sizes[at], self._times[at]) == (file.device, file.size, file.mtime_ns):
                self._see(file, self._crcs[at])
                return self._crcs[at]
            at += 1
        return None

    def add(self, file: FoundFile, crc: int) -> None:
        """It was read: the next backup need not."""
        if file.inode and 0 <= file.mtime_ns < self._now - RACY:
            self._see(file, crc)
            self._added = True

    def columns(self) -> bytes:
        """What was seen, as :meth:`Cache.load` reads it."""
        seen = self._seen
        order = sorted(range(0, len(seen), _COLUMNS), key=seen.__getitem__)
        return b"".join(array("Q", [seen[at + column] for at in order]).tobytes() for column in range(_COLUMNS))

    def _see(self, file: FoundFile, crc: int) -> None:
        self._seen += array("Q", (file.inode, file.device, file.size, file.mtime_ns, crc))  # one step: threads
