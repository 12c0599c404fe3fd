"""Files of a restore on their way to the disk: written under ``.part``, synced, and only then under their name.

A sync waits for the disk, so it waits beside the transfers, and many small files wait together: on ext4 a thousand of
them cost a few commits of the journal instead of a thousand. Blocks where it is not ``async``.
"""

from __future__ import annotations

import asyncio
import errno
import mmap
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Self

import structlog
from isal.isal_zlib import crc32

from agent.catalog import DATA, Component
from backends.checksums import crc32c

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Member = tuple[Component, Path, int]  # and where it begins in what was read

PAGE = mmap.PAGESIZE  # what memory, offset and length of a direct write are multiples of: enough for every device
BATCH = 64  # small files that are synced together; each has its descriptor open until then
ADVISE = 4 << 20  # bytes between two calls; what is smaller than that may stay in the page cache
_SYNCERS = 4  # syncs that wait at once share a commit
_AHEAD = 8  # syncs under way; beyond, the transfers wait for the disk
_REFUSED = frozenset({errno.EINVAL, errno.EOPNOTSUPP})  # of a direct write, by file systems that have none

log = structlog.get_logger(__name__)


class Staged:
    """A file under ``.part``. ``large``: ``size`` bytes are reserved, so that a full disk is told before they are
    fetched, and it can be written past the page cache while it is ``direct``.
    """

    def __init__(self, path: Path, size: int, *, large: bool) -> None:
        self.path = path
        self._size = size
        self.direct = False
        self._direct = -1
        self._temporary = path.with_name(path.name + ".part")
        self.descriptor = os.open(self._temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            if large:
                os.posix_fallocate(self.descriptor, 0, size)
                self._open_direct()
        except BaseException:
            self.close()
            raise

    def write_direct(self, pages: memoryview, offset: int) -> int:
        """Past the page cache. How many bytes that was: less than all where the file system refuses."""
        done = 0
        try:
            while self.direct and done < len(pages):
                with pages[done:] as left:
                    done += os.pwrite(self._direct, left, offset + done)
        except OSError as error:
            if error.errno not in _REFUSED:
                raise
            self._refused(error)
        return done

    def flush(self) -> None:
        """Starts what ``publish`` waits for."""
        os.posix_fadvise(self.descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

    def publish(self) -> None:
        try:
            os.fsync(self.descriptor)
            if self._size >= ADVISE:
                os.posix_fadvise(self.descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            self.close()
        self._temporary.replace(self.path)

    def close(self) -> None:
        for descriptor in (self.descriptor, self._direct):
            if descriptor >= 0:
                os.close(descriptor)
        self.descriptor = self._direct = -1

    def _open_direct(self) -> None:
        """A descriptor of its own: what is not a whole page cannot be written with it."""
        try:
            self._direct = os.open(self._temporary, os.O_WRONLY | os.O_DIRECT | os.O_CLOEXEC)
            self.direct = True
        except OSError as error:
            if error.errno not in _REFUSED:
                raise
            self._refused(error)

    def _refused(self, error: OSError) -> None:
        """Another range may be using the descriptor, so it stays until the end."""
        self.direct = False
        log.debug("the file goes through the page cache", path=str(self.path), error=str(error))


def write_all(descriptor: int, data: bytes | memoryview, offset: int) -> int:
    """The bytes written at ``offset``: all of them."""
    done = 0
    with memoryview(data) as view:
        while done < len(view):
            done += os.pwrite(descriptor, view[done:], offset + done)
    return done


def write_members(data: bytes | bytearray, members: Iterable[Member]) -> list[Staged]:
    """Small files, cut out of ``data``."""
    files: list[Staged] = []
    view = memoryview(data)
    try:
        for component, path, offset in members:
            files.append(Staged(path, component.size, large=False))
            write_all(files[-1].descriptor, view[offset : offset + component.size], 0)
    except BaseException:
        for file in files:
            file.close()
        raise
    return files


def checksum(name: str, data: bytes | memoryview, previous: int = 0) -> int:
    """As the manifest has it for a component of that name."""
    return crc32(data, previous) if name == DATA else crc32c(data, previous)


class Syncer:
    """Publishes files, beside the transfers. ``done`` is told how many have got their name."""

    def __init__(self, done: Callable[[int], None]) -> None:
        self._done = done
        self._threads = ThreadPoolExecutor(_SYNCERS, thread_name_prefix="restore-sync")
        self._batch: list[Staged] = []
        self._jobs: set[asyncio.Future[int]] = set()
        self._error: BaseException | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """All is published, after an error elsewhere too: what is whole need not be fetched again."""
        self._start()
        try:
            if self._jobs:
                await asyncio.wait(self._jobs)
        finally:
            self._threads.shutdown(wait=False)
        if kind is None and self._error is not None:
            raise self._error

    async def add(self, staged: Iterable[Staged], *, now: bool = False) -> None:
        """They are the syncer's from here. Waits while the disk is far behind."""
        self._batch += staged
        if now or len(self._batch) >= BATCH:
            self._start()
        await self._until(_AHEAD)

    def _start(self) -> None:
        batch, self._batch = self._batch, []
        if batch:
            job = asyncio.get_running_loop().run_in_executor(self._threads, _publish, batch)
            self._jobs.add(job)
            job.add_done_callback(self._ended)

    def _ended(self, job: asyncio.Future[int]) -> None:
        self._jobs.discard(job)
        if (error := job.exception()) is None:
            self._done(job.result())
        else:
            self._error = self._error or error

    async def _until(self, jobs: int) -> None:
        """At most so many are under way."""
        while len(self._jobs) > jobs:
            await asyncio.wait(self._jobs, return_when=asyncio.FIRST_COMPLETED)
        if self._error is not None:
            raise self._error


def _publish(batch: list[Staged]) -> int:
    try:
        for staged in batch:
            staged.flush()
        for staged in batch:
            staged.publish()
    finally:
        for staged in batch:
            staged.close()
    return len(batch)
