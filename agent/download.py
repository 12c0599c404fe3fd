"""Fetches objects into files that exist under their name only when they are whole, checked and on disk."""

from __future__ import annotations

import os
import zlib
from typing import TYPE_CHECKING

from agent import integrity
from agent.catalog import DATA
from agent.errors import AgentError, Reason
from agent.flow import Flow, each
from agent.integrity import Sums
from backends.checksums import crc32c
from backends.streams import closing
from backends.threads import run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.catalog import Component
    from backends.base import ObjectStore

RANGE = 16 << 20  # bytes of one request; a file up to twice of that is one request
_WRITE = 1 << 20  # bytes that are worth a hop into a thread


class Downloader:
    """Of one restore. ``count`` is told of bytes as they come, less than none when a try is given up."""

    def __init__(
        self, store: ObjectStore, root: str, flow: Flow, *, count: Callable[[int], None], part: int = RANGE
    ) -> None:
        self._store = store
        self._root = root
        self._flow = flow
        self._count = count
        self._range = part

    async def fetch(self, component: Component, key: str, path: Path) -> None:
        """``path`` is the component, or is not there. Corrupt; or NotFound, or the OSError of a full disk."""
        if component.size == 0:
            await run(lambda: _finish(_create(path, 0), path))
            return
        descriptor = await run(_create, path, component.size)
        try:
            sums = await self._fill(component, key, descriptor)
            self._check(component, key, sums)
        except BaseException:
            os.close(descriptor)
            raise
        await run(_finish, descriptor, path)

    async def _fill(self, component: Component, key: str, descriptor: int) -> Sums:
        size = component.size if component.size <= 2 * self._range else self._range
        found: dict[int, Sums] = {}

        async def fill(offset: int) -> None:
            length = min(size, component.size - offset)
            async with self._flow.slot(length):
                found[offset] = await self._range_into(component, key, descriptor, offset, length)

        await each(range(0, component.size, size), self._flow.slots, fill)
        return integrity.combine([found[offset] for offset in sorted(found)])

    async def _range_into(self, component: Component, key: str, descriptor: int, offset: int, length: int) -> Sums:
        writer = _Writer(descriptor, offset, digest=component.name == DATA)
        counted = 0
        try:
            stream = self._store.get(self._root + key, offset=component.offset + offset, length=length)
            async with closing(stream) as chunks:
                async for chunk in chunks:
                    await self._flow.bucket.take(len(chunk))
                    await writer.write(chunk)
                    counted += len(chunk)
                    self._count(len(chunk))
            sums = await writer.flush()
        except BaseException:
            self._count(-counted)
            raise
        if sums.size != length:
            self._count(-counted)
            raise _corrupt(self._store.name, self._root + key, f"the store gave {sums.size} bytes of {length}")
        return sums

    def _check(self, component: Component, key: str, sums: Sums) -> None:
        crc = sums.crc32 if component.name == DATA else sums.crc32c
        if crc != component.crc:
            self._count(-component.size)
            what = f"its checksum is {crc or 0:08x}, the manifest says {component.crc:08x}"
            raise _corrupt(self._store.name, self._root + key, what)


class _Writer:
    """One range of one file, checksummed in the thread that writes it."""

    def __init__(self, descriptor: int, offset: int, *, digest: bool) -> None:
        self._descriptor = descriptor
        self._start = self._position = offset
        self._digest = digest
        self._held: list[bytes] = []
        self._size = 0
        self._castagnoli = self._plain = 0

    async def write(self, chunk: bytes) -> None:
        self._held.append(chunk)
        self._size += len(chunk)
        if self._size >= _WRITE:
            await self._drain()

    async def flush(self) -> Sums:
        if self._held:
            await self._drain()
        return Sums(self._position - self._start, self._castagnoli, self._plain if self._digest else None)

    async def _drain(self) -> None:
        held, self._held, self._size = self._held, [], 0
        await run(self._write, held)  # waits even when cancelled: the descriptor is closed after it, never under it

    def _write(self, held: list[bytes]) -> None:
        for chunk in held:
            self._castagnoli = crc32c(chunk, self._castagnoli)
            if self._digest:
                self._plain = zlib.crc32(chunk, self._plain)
            view = memoryview(chunk)
            while view:
                written = os.pwrite(self._descriptor, view, self._position)
                self._position += written
                view = view[written:]


def _temporary(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def _create(path: Path, size: int) -> int:
    """Reserves the space, so that a full disk is told before bytes are fetched."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(_temporary(path), os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        if size:
            os.posix_fallocate(descriptor, 0, size)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _finish(descriptor: int, path: Path) -> None:
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
    _temporary(path).replace(path)


def _corrupt(store: str, key: str, what: str) -> AgentError:
    message = f"{store}/{key} is damaged: {what}; restore another backup if it stays so"
    return AgentError(Reason.CORRUPT, message, retryable=True)
