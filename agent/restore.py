"""The ``restore`` operation: a node's tables from the bucket into an empty volume, exactly once.

    marker? done → empty? → manifest → stage (download, checksums, Digest) → placing → renames → restore.json → marker

Retries are inside, with backoff: a crash loop would hide the reason and hammer the store.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import structlog

from agent import catalog, clock, files, integrity, records
from agent.bandwidth import Direction
from agent.catalog import Manifest, NodePath, Table, file_name
from agent.coding import Coding
from agent.contents import Contents
from agent.download import Downloader, Run, Wanted, divide
from agent.errors import AgentError, Reason, failure
from agent.flow import Flow
from agent.formats import has_uuid_id, needs_cassandra_5
from agent.protocol import RestorePlan, State
from agent.sstables import DIGEST, FoundFile, FoundSSTable
from agent.volume import Restored, Volume, spread

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping
    from pathlib import Path

    from agent.catalog import SSTable, TablePath
    from agent.coding import Codings
    from agent.job import Job
    from agent.stores import Opener
    from backends.base import ObjectStore

# A new node writes these itself: another cluster's peers, host id and repair history would only mislead it.
NEVER = frozenset({"system", "system_distributed", "system_traces", "system_views", "system_virtual_schema"})
AUTH = "system_auth"
TRIES = 8  # in a row without a byte of progress
DAMAGED_TRIES = 3  # a bad line is worth another try; a damaged object stays damaged
_FIRST_WAIT, _LONGEST_WAIT = 2.0, 60.0
_RESTORE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
_PATIENCE_IS_VAIN = frozenset({Reason.DISK_FULL, Reason.VOLUME_NOT_EMPTY})

log = structlog.get_logger(__name__)


class RestoreHandler:
    spec_type = RestorePlan

    def __init__(
        self,
        open_store: Opener,
        data_dirs: tuple[Path, ...],
        state_dir: Path,
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        codings: Codings = Coding,
    ) -> None:
        self._open_store = open_store
        self._data_dirs = data_dirs
        self._state_dir = state_dir
        self._sleep = sleep
        self._codings = codings

    def check(self, spec: RestorePlan) -> None:
        NodePath(spec.cluster, spec.datacenter, spec.node).manifest(spec.tag)
        if not _RESTORE_ID.match(spec.restore_id):
            raise AgentError(Reason.INVALID_SPEC, f"the restore id {spec.restore_id!r} cannot be a file's name")
        if not 0 <= spec.concurrent_transfers <= 64 or spec.bandwidth < 0:
            raise AgentError(Reason.INVALID_SPEC, "concurrentTransfers must be 0 to 64, bandwidth 0 or more")

    async def run(self, job: Job, spec: RestorePlan) -> dict[str, Any]:
        volume = Volume(self._data_dirs, self._state_dir, spec.restore_id)
        if volume.done:
            return {"restored": False}
        failed, damaged, before = 0, 0, -1
        while True:
            try:
                await self._restore(job, spec, volume)
            except Exception as error:
                found = failure(error)
                failed = 1 if job.received > before else failed + 1
                damaged += found.reason == Reason.CORRUPT
                before = job.received
                hopeless = not found.retryable or found.reason in _PATIENCE_IS_VAIN
                if hopeless or failed >= TRIES or damaged >= DAMAGED_TRIES:
                    raise
                await job.trouble(found)
                log.warning("the restore is tried again", operation=job.id, reason=found.reason, message=found.message)
                await self._sleep(min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** (failed - 1)))
            else:
                return {"restored": True}

    async def finish(self, job: Job, spec: RestorePlan, state: State) -> None:
        """Staged files stay: they are checked, and the next try keeps them."""

    async def _restore(self, job: Job, spec: RestorePlan, volume: Volume) -> None:
        await job.enter("Preparing", files=0)
        if not volume.placing:
            await asyncio.to_thread(volume.check_empty)
        path = NodePath(spec.cluster, spec.datacenter, spec.node)
        async with self._open_store(spec.location) as store:
            manifest = await records.read_manifest(store, path, spec.tag, spec.digest)
            coding = await asyncio.to_thread(self._codings)
            await asyncio.to_thread(coding.check, manifest.objects)
            await asyncio.to_thread(coding.reveal, manifest)
            if not manifest.tokens:
                raise catalog.invalid("it has no tokens: a node without them would take others' data")
            tables = wanted(manifest, include_auth=spec.include_auth)
            where = await asyncio.to_thread(_spread, tables, volume.data_dirs)
            if not volume.placing:
                await self._stage(job, spec, volume, _Source(store, path, manifest, tables, where, coding))
        await job.enter("Placing")
        await asyncio.to_thread(volume.begin_placing)
        await asyncio.to_thread(volume.place, _not_empty(tables, where))
        names = [sstable.name for table in tables for sstable in table.sstables]
        restored = Restored(
            restore_id=spec.restore_id, tag=spec.tag, tokens=manifest.tokens, settings=manifest.settings,
            uuid_ids=any(map(has_uuid_id, names)), newer_files=any(map(needs_cassandra_5, names)),
            restored_at=clock.now(),
        )  # fmt: skip
        await asyncio.to_thread(volume.finish, restored)

    async def _stage(self, job: Job, spec: RestorePlan, volume: Volume, source: _Source) -> None:
        await asyncio.to_thread(volume.prepare)
        todo = await asyncio.to_thread(_compare, volume, source)
        await asyncio.to_thread(_check_space, volume.data_dirs, todo.left)
        await job.enter("Downloading", files=todo.files, size=todo.size)
        job.reused(todo.files - todo.files_left, todo.size - todo.left)
        flow = Flow.of(spec.concurrent_transfers, spec.bandwidth, direction=Direction.RECEIVE)
        root = source.path.root
        contents = Contents(source.store, root, source.coding)
        downloader = Downloader(contents, root, flow, count=job.receive, done=job.file_done)
        await downloader.fetch(todo.large, todo.small)
        await job.enter("Verifying")
        await asyncio.to_thread(_verify, volume, source)


@dataclass(frozen=True, slots=True)
class _Source:
    store: ObjectStore
    path: NodePath
    manifest: Manifest
    tables: list[Table]
    where: Mapping[TablePath, Path]
    coding: Coding

    def directory(self, volume: Volume, table: Table) -> Path:
        return volume.staged(self.where[replace(table.path, index="")], table.path)


def wanted(manifest: Manifest, *, include_auth: bool) -> list[Table]:
    """User keyspaces and the schema they need to be seen; roles where asked for; nothing of the old node's own."""
    return [
        table for table in manifest.tables if table.keyspace not in NEVER and (include_auth or table.keyspace != AUTH)
    ]


@dataclass(frozen=True, slots=True)
class _Todo:
    """What a restore has (``files``, ``size`` bytes), and what of it is not staged yet."""

    files: int
    size: int
    files_left: int
    left: int
    large: list[Wanted]
    small: list[Run]


def _compare(volume: Volume, source: _Source) -> _Todo:
    """Makes the directories too: a file less to look at for each of thousands."""
    everything = list(_files(volume, source))
    for directory in {file.path.parent for file in everything}:
        directory.mkdir(parents=True, exist_ok=True)
    missing = [file for file in everything if not _whole(file)]
    large, small = divide(missing)
    return _Todo(
        len(everything), sum(file.component.size for file in everything),
        len(missing), sum(file.component.size for file in missing), large, small,
    )  # fmt: skip


def _files(volume: Volume, source: _Source) -> Iterator[Wanted]:
    objects = source.manifest.objects
    for table in source.tables:
        directory = source.directory(volume, table)
        for sstable in table.sstables:
            for component in sstable.components:
                key = objects[component.object].key if component.size else ""
                yield Wanted(component, key, directory / file_name(sstable.name, component.name))


def _whole(file: Wanted) -> bool:
    """A staged file got its name after it was checked and synced."""
    try:
        return file.path.stat().st_size == file.component.size
    except FileNotFoundError:
        return False


def _check_space(data_dirs: tuple[Path, ...], needed: int) -> None:
    """By file system: two data directories of one disk share its space."""
    free = sum({data_dir.stat().st_dev: files.free_bytes(data_dir)[0] for data_dir in data_dirs}.values())
    if needed > free:
        message = f"{needed} bytes are to be restored and the volume has {free} free: enlarge it"
        raise AgentError(Reason.DISK_FULL, message, retryable=True)


def _verify(volume: Volume, source: _Source) -> None:
    """Every SSTable is whole by its own TOC, and its Digest is the one that its Data.db was checked against."""
    for table in source.tables:
        directory = source.directory(volume, table)
        for sstable in table.sstables:
            _verify_sstable(directory, sstable)
        if table.sstables:
            files.sync_directory(directory)


def _verify_sstable(directory: Path, sstable: SSTable) -> None:
    found = FoundSSTable(sstable.name)
    for component in sstable.components:
        path = directory / file_name(sstable.name, component.name)
        found.files[component.name] = FoundFile(component.name, path, path.stat().st_size)
    if missing := found.missing():
        message = f"{sstable.name} of {directory.name} has no {', '.join(missing)} in the backup"
        raise AgentError(Reason.CORRUPT, message)
    data = next(component for component in sstable.components if component.name == catalog.DATA)
    if DIGEST in found.files and (digest := integrity.read_digest(found.files[DIGEST].path)) not in {None, data.crc}:
        raise integrity.corrupt_data(found.files[catalog.DATA].path, data.crc, digest or 0)


def _spread(tables: list[Table], data_dirs: tuple[Path, ...]) -> dict[TablePath, Path]:
    sizes = {
        table.path: sum(component.size for sstable in table.sstables for component in sstable.components)
        for table in tables
    }
    return spread(sizes, data_dirs)


def _not_empty(tables: list[Table], where: Mapping[TablePath, Path]) -> dict[TablePath, Path]:
    """Tables with a directory to rename: Cassandra makes the others itself."""
    bases = sorted({replace(table.path, index="") for table in tables if table.sstables})
    return {base: where[base] for base in bases}
