"""Files of a restore on their way to the disk: written under ``.part``, synced, and only then under their name.

A sync waits for the disk, so it waits beside the transfers, and many small files wait together: on ext4 a thousand of
them cost a few commits of the journal instead of a thousand. Blocks where it is not ``async``.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Self

from isal.isal_zlib import crc32

from agent.catalog import DATA, Component
from agent.integrity import Sums
from backends.checksums import crc32c

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Member = tuple[Component, Path, int]  # and where it begins in what was read

BATCH = 64  # small files that are synced together; each has its descriptor open until then
_ADVISE = 4 << 20  # bytes between two calls; what is smaller than that may stay in the page cache
_SYNCERS = 4  # syncs that wait at once share a commit
_AHEAD = 8  # syncs under way; beyond, the transfers wait for the disk


class Staged:
    """A file under ``.part``. ``size`` bytes are reserved, so that a full disk is told before they are fetched."""

    def __init__(self, path: Path, size: int, *, reserve: bool) -> None:
        self.path = path
        self._size = size
        self._temporary = path.with_name(path.name + ".part")
        self.descriptor = os.open(self._temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            if reserve:
                os.posix_fallocate(self.descriptor, 0, size)
        except BaseException:
            self.close()
            raise

    def flush(self) -> None:
        """Starts what ``publish`` waits for."""
        os.posix_fadvise(self.descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

    def publish(self) -> None:
        try:
            os.fsync(self.descriptor)
            if self._size >= _ADVISE:
                os.posix_fadvise(self.descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            self.close()
        self._temporary.replace(self.path)

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


class RangeWriter:
    """One range of one component, checksummed in the thread that writes it."""

    def __init__(self, name: str, descriptor: int, offset: int) -> None:
        self._name = name
        self._descriptor = descriptor
        self._start = self._position = offset
        self._advised = offset
        self._crc = 0

    def write(self, data: bytes | memoryview) -> None:
        self._crc = checksum(self._name, data, self._crc)
        self._position += write_all(self._descriptor, data, self._position)
        if self._position - self._advised >= _ADVISE:
            # Starts what is dirty on its way to the disk, and drops what has got there.
            os.posix_fadvise(self._descriptor, self._start, self._position - self._start, os.POSIX_FADV_DONTNEED)
            self._advised = self._position

    @property
    def sums(self) -> Sums:
        size = self._position - self._start
        return Sums(size, 0, self._crc) if self._name == DATA else Sums(size, self._crc)


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
            files.append(Staged(path, component.size, reserve=False))
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
