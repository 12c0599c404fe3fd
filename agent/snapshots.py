"""Snapshots of ours: taken, known to be whole, cleared. A snapshot pins disk space, so none may be forgotten.

``<state dir>/snapshots/<tag>.json`` is written when a snapshot is whole, and says who owns it. One on disk without that
file is a leftover of a crash: the janitor clears it, unless an unfinished operation is about to take it again.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Protocol

import msgspec
import structlog

from agent import catalog, clock, files, scope, sstables
from agent.cache import Cache
from agent.cassandra import PREFIX, Facts
from agent.errors import AgentError, Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

KEEP = 24 * 3600.0  # seconds that a snapshot waits for its backup; longer than any backup waits for its nodes
_TRIES = 3

log = structlog.get_logger(__name__)


class Taken(msgspec.Struct, kw_only=True):
    """A whole snapshot, and what the node was when it was taken."""

    tag: str
    operation: str
    at: str
    facts: Facts
    entities: list[str] = []


class Taker(Protocol):
    """A node that can be snapshotted: Cassandra, or a disk whose Cassandra is stopped (agent/cli/offline.py)."""

    async def take_snapshot(self, name: str, entities: Sequence[str] = (), /) -> None: ...
    async def clear_snapshot(self, name: str, /) -> None: ...
    async def facts(self) -> Facts: ...
    async def tables(self) -> dict[str, set[str]]: ...


class Snapshots:
    """All of one node's. Takes and clears of one tag take turns."""

    def __init__(self, cassandra: Taker, data_dirs: Sequence[Path], state_dir: Path) -> None:
        self._cassandra = cassandra
        self._data_dirs = tuple(data_dirs)
        self._directory = state_dir / "snapshots"
        self.checksums = Cache(state_dir)
        self.uploads = state_dir / "uploads"  # journals of what is half sent of them
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def name(self, tag: str) -> str:
        """What Cassandra and the disk call it."""
        return PREFIX + catalog.check_tag(tag)

    async def take(self, operation: str, tag: str, entities: Sequence[str] = ()) -> Taken:
        """Once for one operation: what it took before a restart is kept, what was half taken is taken again.

        Of ``entities`` (see scope.checked) and nothing else: KeyspaceNotFound or TableNotFound where one is not there.
        """
        async with self._turns[tag]:
            return await self._take(operation, tag, list(entities))

    async def _take(self, operation: str, tag: str, entities: list[str]) -> Taken:
        taken = await self.taken(tag)
        if taken is not None and taken.operation == operation:
            return taken
        await self._clear(tag)
        for attempt in range(1, _TRIES + 1):
            at = clock.now()
            wanted = await self._wanted(entities)
            await self._cassandra.take_snapshot(self.name(tag), entities)
            try:
                scope.check_snapshot(entities, _held(await self.scan(tag)), wanted)
                break
            except AgentError as error:
                if attempt == _TRIES or not error.retryable:
                    raise AgentError(Reason.SNAPSHOT_FAILED, error.message, retryable=error.retryable) from error
                log.warning("the snapshot is not whole and is taken again", tag=tag, error=error.message)
                await self._clear(tag)
        facts = await self._cassandra.facts()
        if not facts.host_id or not facts.tokens:
            message = f"the node has no host id and tokens yet: it is {facts.mode or 'starting'}"
            raise AgentError(Reason.CASSANDRA_UNAVAILABLE, message, retryable=True)
        taken = Taken(tag=tag, operation=operation, at=at, facts=facts, entities=entities)
        await asyncio.to_thread(files.write_atomic, self._file(tag), msgspec.json.encode(taken))
        return taken

    async def _wanted(self, entities: Sequence[str]) -> set[str]:
        """Tables that the snapshot must hold; of all tables Cassandra's own lists in it must do."""
        if not entities:
            return set()
        there = await self._cassandra.tables()
        scope.check_there(entities, there)
        return scope.expand(entities, there)

    async def taken(self, tag: str) -> Taken | None:
        """None when there is no whole snapshot of ours."""
        return await asyncio.to_thread(self._read, tag)

    async def scan(self, tag: str) -> sstables.Snapshot:
        return await asyncio.to_thread(sstables.scan, self._data_dirs, self.name(tag))

    async def clear(self, tag: str) -> None:
        """Cleared afterwards, or an error. Cassandra does it; where it is down we unlink the links ourselves."""
        async with self._turns[tag]:
            await self._clear(tag)

    async def _clear(self, tag: str) -> None:
        name = self.name(tag)
        await asyncio.to_thread(files.remove, self._file(tag))
        left = await self._on_disk(name)
        if not left:
            return
        try:
            await self._cassandra.clear_snapshot(name)
        except AgentError as error:
            log.warning("Cassandra does not clear the snapshot, the agent does", snapshot=name, error=error.message)
        for directory in await self._on_disk(name):
            await asyncio.to_thread(files.remove_tree, directory)

    async def sweep(self, busy: Iterable[str]) -> list[str]:
        """Clears what nobody waits for: leftovers of a crash, and what waited too long. ``busy``: tags in work."""
        keep = set(busy)
        found = await asyncio.to_thread(sstables.snapshots, self._data_dirs, PREFIX)
        swept = []
        for name in sorted(found):
            tag = name.removeprefix(PREFIX)
            if tag in keep:
                continue
            taken = await self.taken(tag)
            if taken is not None and clock.seconds_since(taken.at) < KEEP:
                continue
            log.info("an abandoned snapshot is cleared", snapshot=name)
            await self.clear(tag)
            swept.append(tag)
        await asyncio.to_thread(self._forget_gone, found)
        return swept

    def _forget_gone(self, found: Iterable[str]) -> None:
        """Words about snapshots that somebody else cleared, or that a lost volume had."""
        there = {name.removeprefix(PREFIX) for name in found}
        for path in self._directory.glob("*.json") if self._directory.is_dir() else ():
            if path.stem not in there and (taken := self._read(path.stem)) and clock.seconds_since(taken.at) >= KEEP:
                files.remove(path)

    async def _on_disk(self, name: str) -> list[Path]:
        found = await asyncio.to_thread(sstables.snapshots, self._data_dirs, name)
        return found.get(name, [])

    def _read(self, tag: str) -> Taken | None:
        try:
            return msgspec.json.decode(self._file(tag).read_bytes(), type=Taken)
        except (FileNotFoundError, msgspec.MsgspecError, UnicodeDecodeError):
            return None

    def _file(self, tag: str) -> Path:
        return self._directory / f"{catalog.check_tag(tag)}.json"


def _held(snapshot: sstables.Snapshot) -> set[tuple[str, str]]:
    return {(table.path.keyspace, table.path.name) for table in snapshot.tables}
