"""Fetches objects into files that exist under their name only when they are whole, checked and on disk.

One queue over all files: ranges of the large ones, the largest first, and beside them the small ones, by object. What
lies in one object comes with one request, and is cut up and written in one hop into a thread.
"""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path  # noqa: TC003  msgspec reads the annotations
from typing import TYPE_CHECKING

import msgspec

from agent import catalog, integrity
from agent.catalog import DATA, Component
from agent.errors import AgentError, Reason
from agent.flow import side_by_side
from agent.ranges import Buffers, RangeWriter
from agent.staged import BATCH, Staged, Syncer, checksum, write_members
from backends.streams import closing
from backends.threads import acquire, run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    from agent.contents import Readable
    from agent.flow import Flow
    from agent.integrity import Sums
    from agent.staged import Member

    Work = Callable[[], Awaitable[None]]

RANGE = 16 << 20  # bytes of one request; a file up to twice of that is one request
SMALL = 1 << 20  # bytes; up to here a file is held in memory until it is whole
TOGETHER = 8 << 20  # bytes of small files, and of gaps between them, that one request fetches


class Wanted(msgspec.Struct, array_like=True, frozen=True):
    """A file to be. ``key`` is its object's, relative to the node's root; empty for a file of no bytes."""

    component: Component
    key: str
    path: Path


class Run(msgspec.Struct, array_like=True):
    """Small files of one object, in order, from ``begin`` to ``end`` in it."""

    key: str
    begin: int
    end: int
    files: list[Wanted]


class Downloader:
    """Of one restore. ``count`` is told of bytes as they come, less than none when a try is given up; ``done`` of the
    number of files that are there.
    """

    def __init__(
        self,
        store: Readable,
        root: str,
        flow: Flow,
        *,
        count: Callable[[int], None],
        done: Callable[[int], None],
        part: int = RANGE,
    ) -> None:
        self._store = store
        self._root = root
        self._flow = flow
        self._count = count
        self._done = done
        self._range = part
        self._buffers = Buffers()

    async def fetch(self, large: Iterable[Wanted], small: Iterable[Run]) -> None:
        """Each file is whole or not there; the first error ends the rest. Corrupt, NotFound, OSError of a full disk."""
        opened: set[_Large] = set()
        async with Syncer(self._done) as syncer:
            try:
                ranges = self._ranges(large, opened, syncer)
                await side_by_side(ranges, (partial(self._fetch_run, one, syncer) for one in small), self._flow)
            finally:
                for file in opened:
                    self._count(-file.close())

    def _ranges(self, files: Iterable[Wanted], opened: set[_Large], syncer: Syncer) -> Iterator[Work]:
        for wanted in files:
            size = wanted.component.size
            least = max(self._range, catalog.unit(wanted.key, size))  # a segment is read as a whole
            file = _Large(wanted, size if size <= 2 * least else least, opened)
            for offset in range(0, size, file.range):
                yield partial(self._fetch_range, file, offset, syncer)

    async def _fetch_range(self, file: _Large, offset: int, syncer: Syncer) -> None:
        component = file.wanted.component
        length = min(file.range, component.size - offset)
        async with self._flow.slot(length):
            with self._buffers.lent() as buffer:
                writer = RangeWriter(component.name, await file.open(), offset, length, buffer)
                await self._stream(file.wanted.key, component.offset + offset, length, writer)
        file.sums[offset] = writer.sums
        if (staged := file.release(self._store.name, self._root)) is not None:
            await syncer.add([staged], now=True)

    async def _stream(self, key: str, offset: int, length: int, writer: RangeWriter) -> None:
        counted = 0
        try:
            stream = self._store.pour(self._root + key, writer, offset=offset, length=length)
            async with closing(stream) as counts:
                async for count in counts:
                    await self._flow.bucket.take(count)
                    counted += count
                    self._count(count)
        except BaseException:
            self._count(-counted)
            raise
        if counted != length:
            self._count(-counted)
            raise _corrupt(self._store.name, self._root + key, f"the store gave {counted} bytes of {length}")

    async def _fetch_run(self, one: Run, syncer: Syncer) -> None:
        key, length = self._root + one.key, one.end - one.begin
        async with self._flow.slot(length, whole=True):
            data = await self._read(key, one.begin, length) if length else b""
            members = [(file.component, file.path, file.component.offset - one.begin) for file in one.files]
            if wrong := await run(_wrong, data, members):
                raise _corrupt(self._store.name, key, "; ".join(wrong))
            staged = await acquire(_drop, write_members, data, members)
        self._count(sum(file.component.size for file in one.files))
        await syncer.add(staged)

    async def _read(self, key: str, offset: int, length: int) -> bytes | bytearray:
        found = bytearray()
        async with closing(self._store.get(key, offset=offset, length=length)) as chunks:
            async for chunk in chunks:
                await self._flow.bucket.take(len(chunk))
                if len(chunk) == length:
                    return chunk
                found += chunk
        if len(found) != length:
            raise _corrupt(self._store.name, key, f"the store gave {len(found)} bytes of {length}")
        return found


class _Large:
    """A file that comes in ranges, in any order. ``close`` is its end, if nobody took it over by ``release``."""

    def __init__(self, wanted: Wanted, size: int, opened: set[_Large]) -> None:
        self.wanted = wanted
        self.range = size
        self.sums: dict[int, Sums] = {}
        self._opened = opened
        self._opening = asyncio.Lock()
        self._staged: Staged | None = None

    async def open(self) -> Staged:
        async with self._opening:
            if self._staged is None:
                component = self.wanted.component
                self._staged = await acquire(Staged.close, Staged, self.wanted.path, component.size, large=True)
                self._opened.add(self)
        return self._staged

    def release(self, store: str, root: str) -> Staged | None:
        """When the last range came: the file, or Corrupt."""
        component = self.wanted.component
        if len(self.sums) * self.range < component.size:
            return None
        sums = integrity.combine([self.sums[offset] for offset in sorted(self.sums)])
        crc = sums.crc32 if component.name == DATA else sums.crc32c
        if crc != component.crc:
            what = f"the checksum of {self.wanted.path.name} is {crc or 0:08x}, the manifest says {component.crc:08x}"
            raise _corrupt(store, root + self.wanted.key, what)
        staged, self._staged = self._staged, None
        self._opened.discard(self)
        return staged

    def close(self) -> int:
        """Bytes that were fetched in vain."""
        if self._staged is not None:
            self._staged.close()
        return sum(sums.size for sums in self.sums.values())


def divide(files: Iterable[Wanted]) -> tuple[list[Wanted], list[Run]]:
    """(large files, the largest first; small ones, by object)."""
    large: list[Wanted] = []
    small: dict[str, list[Wanted]] = {}
    for file in files:
        if file.component.size > SMALL:
            large.append(file)
        else:
            small.setdefault(file.key, []).append(file)
    large.sort(key=lambda file: (-file.component.size, file.key))
    runs: list[Run] = []
    for key, members in sorted(small.items()):
        members.sort(key=lambda file: file.component.offset)
        runs += _runs(key, members)
    return large, runs


def _runs(key: str, members: Iterable[Wanted]) -> Iterator[Run]:
    one: Run | None = None
    for file in members:
        begin, end = file.component.offset, file.component.offset + file.component.size
        if one is None or end - one.begin > TOGETHER or len(one.files) == BATCH:
            if one is not None:
                yield one
            one = Run(key, begin, end, [])
        one.files.append(file)
        one.end = max(one.end, end)
    if one is not None:
        yield one


def _wrong(data: bytes | bytearray, members: Iterable[Member]) -> list[str]:
    found = []
    view = memoryview(data)
    for component, path, offset in members:
        crc = checksum(component.name, view[offset : offset + component.size])
        if component.size and crc != component.crc:
            found.append(f"the checksum of {path.name} is {crc:08x}, the manifest says {component.crc:08x}")
    return found


def _drop(staged: Iterable[Staged]) -> None:
    for file in staged:
        file.close()


def _corrupt(store: str, key: str, what: str) -> AgentError:
    message = f"{store}/{key} is damaged: {what}; restore another backup if it stays so"
    return AgentError(Reason.CORRUPT, message, retryable=True)
