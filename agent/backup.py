"""The ``backup`` operation: sends a snapshot that stands, and commits it with the node's manifest, written last.

    adopt (a manifest of ours is there: done) → reserve → scan and checksums → LIST → plan → send → LIST again → commit

Every step can be repeated: names are content, the epoch is the backup's, so a restarted agent finds what it sent.
The snapshot is cleared on every way out, and kept when only the process ends or another try may succeed.
"""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from agent import catalog, clock, deltas, integrity, parts, records, reservation, scope, upload
from agent.catalog import Manifest, NodePath
from agent.coding import Coding
from agent.errors import AgentError, Reason
from agent.flow import Flow, each
from agent.plan import Plan
from agent.protocol import BackupSpec, NodeDigest, State
from agent.reservation import Reservation
from agent.settings import VERSION
from agent.turns import Turns
from agent.uploads import Owner, UploadJournal
from backends.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from agent.cache import Cache
    from agent.coding import Codings
    from agent.job import Job
    from agent.plan import Planned, Reused, Sendable
    from agent.snapshots import Snapshots, Taken
    from agent.sstables import FoundSSTable, FoundTable, Snapshot
    from agent.stores import Opener
    from backends.base import ObjectStore

_READERS = 2  # threads that checksum
_BATCH = 64  # SSTables that one of them takes at once
_ROUNDS = 3  # of LIST and re-upload before the commit
_TIDY_TIMEOUT = 30.0
_NOT_AS_PLANNED = frozenset({Reason.SNAPSHOT_GONE, Reason.CORRUPT})  # then what is remembered may be what is wrong

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Run:
    """What every step of one run needs."""

    job: Job
    spec: BackupSpec
    store: ObjectStore
    path: NodePath
    taken: Taken
    uploads: UploadJournal
    claim: Reservation
    coding: Coding

    @property
    def host_id(self) -> str:
        return self.taken.facts.host_id


class BackupHandler:
    spec_type = BackupSpec

    def __init__(
        self,
        snapshots: Snapshots,
        open_store: Opener,
        *,
        settings: Callable[[], Mapping[str, str | int | bool | None]] = dict,
        pod_ip: str = "",
        turns: Turns | None = None,
        reserve: Callable[[ObjectStore, BackupSpec], Reservation] = Reservation,
        codings: Codings = Coding,
    ) -> None:
        self._snapshots = snapshots
        self._open_store = open_store
        self._settings = settings
        self._pod_ip = pod_ip
        self._turns = turns or Turns()
        self._reserve = reserve
        self._codings = codings
        self._claims: dict[str, Reservation] = {}  # by operation

    def check(self, spec: BackupSpec) -> None:
        catalog.check_tag(spec.tag)
        catalog.check_epoch(spec.epoch)
        scope.checked(spec.entities)
        for name in (spec.cluster, spec.datacenter, spec.node):
            catalog.escape(name)
        if not 0 <= spec.concurrent_transfers <= 64 or spec.bandwidth < 0 or spec.finish_within < 0:
            message = "concurrentTransfers must be 0 to 64, bandwidth and finishWithin 0 or more"
            raise AgentError(Reason.INVALID_SPEC, message)

    async def run(self, job: Job, spec: BackupSpec) -> dict[str, Any]:
        await job.enter("Preparing")
        coding = await asyncio.to_thread(self._codings)
        path = NodePath(spec.cluster, spec.datacenter, spec.node)
        async with self._open_store(spec.location) as store:
            if (found := await records.find_own_manifest(store, path, spec)) is not None:
                await reservation.remove(store, spec)
                return _result(*found)
            taken = await self._snapshots.taken(spec.tag)
            if taken is None:
                message = f"there is no snapshot {spec.tag}: it was cleared, or the volume is new; back up again"
                raise AgentError(Reason.SNAPSHOT_GONE, message)
            if taken.entities != scope.checked(spec.entities):
                message = f"the snapshot {spec.tag} is of other tables than this backup: take it again"
                raise AgentError(Reason.SNAPSHOT_FAILED, message)
            async with self._turns.backing_up(path):
                claim = self._claims[job.id] = self._reserve(store, spec)
                uploads = await self._journal(spec)
                try:
                    async with claim.held():
                        run = _Run(job, spec, store, path, taken, uploads, claim, coding)
                        written = await self._back_up(run)
                finally:
                    uploads.close()
            await reservation.remove(store, spec)
            return _result(*written)

    async def finish(self, job: Job, spec: BackupSpec, state: State) -> None:
        """What may pass keeps its snapshot and its half-sent objects: the next try sends the same cut. The operator
        clears what it gives up.
        """
        error = job.operation.error
        claim = self._claims.pop(job.id, None)
        uploads = None
        if state is not State.FAILED or error is None or not error.retryable:
            await self._snapshots.clear(spec.tag)
            uploads = await self._journal(spec)
        try:
            await self._tidy(spec, state, claim, uploads)
        except (StoreError, TimeoutError) as error:
            log.info("what the backup left in the store stays", operation=job.id, error=str(error))
        finally:
            if uploads is not None:
                await asyncio.to_thread(uploads.remove)

    async def _tidy(
        self, spec: BackupSpec, state: State, claim: Reservation | None, uploads: UploadJournal | None
    ) -> None:
        """Half-sent objects that nobody goes on with, and the pending record where no manifest can come any more."""
        done = state is State.SUCCEEDED
        unfinished = uploads is not None and (not done or uploads.uploads)
        pending = claim is not None and not done and not claim.committing
        if not unfinished and not pending:
            return
        async with asyncio.timeout(_TIDY_TIMEOUT), self._open_store(spec.location) as store:
            if unfinished and uploads is not None:
                await parts.tidy(store, NodePath(spec.cluster, spec.datacenter, spec.node).root, spec.epoch, uploads)
            if pending and claim is not None:
                await reservation.remove(store, spec, claim.key)

    async def _journal(self, spec: BackupSpec) -> UploadJournal:
        owner = Owner(spec.backup_id, spec.epoch, NodePath(spec.cluster, spec.datacenter, spec.node).root)
        return await asyncio.to_thread(UploadJournal(self._snapshots.uploads, spec.tag, owner).open)

    async def _back_up(self, run: _Run) -> tuple[Manifest, str]:
        try:
            return await self._send(run)
        except AgentError as error:
            if error.reason in _NOT_AS_PLANNED:
                await asyncio.to_thread(self._snapshots.checksums.forget)
            raise

    async def _send(self, run: _Run) -> tuple[Manifest, str]:
        started = clock.now()
        snapshot = await self._snapshots.scan(run.spec.tag)
        scope.check_snapshot(run.taken.entities, {(one.path.keyspace, one.path.name) for one in snapshot.tables}, ())
        found = await _plan(run, snapshot, self._snapshots.checksums)
        await _list(run, found.see)
        await deltas.learn(run.store, run.path, run.host_id, found)
        send, reuse = await asyncio.to_thread(found.settle)
        await _take_up(run, send)
        await run.claim.pin(reuse.keys())
        sender = await _begin(run, send, reuse)
        del reuse
        await sender.send(send)
        del send
        while True:
            await _heal(run, found, sender)
            await run.job.enter("Committing")
            manifest = await self._manifest(run, snapshot, found, started)
            if run.claim.fresh:
                run.claim.committing = True
                return await records.write_manifest(run.store, run.path, manifest)

    async def _manifest(self, run: _Run, snapshot: Snapshot, found: Plan, started: str) -> Manifest:
        """Its tables and objects are made when they are asked for: while it is written."""
        spec, facts = run.spec, run.taken.facts
        settings = await asyncio.to_thread(self._settings)
        tables, objects = found.stream(snapshot)
        return Manifest(
            format=run.coding.format, key_ids=run.coding.key_ids, agent_version=VERSION, backup_id=spec.backup_id,
            tag=spec.tag, cluster=spec.cluster, datacenter=spec.datacenter, rack=spec.rack, node=spec.node,
            host_id=run.host_id, ip=self._pod_ip,
            tokens=facts.tokens, partitioner=facts.partitioner, cassandra_version=facts.release_version,
            schema_version=facts.schema_version, snapshot_at=run.taken.at, settings=dict(settings),
            started=started, finished=clock.now(), tables=tables, objects=objects,
            totals=await asyncio.to_thread(found.totals, snapshot), entities=run.taken.entities,
        )  # fmt: skip


async def _plan(run: _Run, snapshot: Snapshot, checksums: Cache) -> Plan:
    """Checksums of all but Data.db, which Cassandra has in its Digest: of the rest only what is new is read."""
    if not any(table.sstables for table in snapshot.tables):
        message = "the snapshot has no SSTable at all: this is no running node's data"
        raise AgentError(Reason.NOTHING_TO_BACK_UP, message)
    claim = run.claim
    found = Plan(
        run.host_id, run.spec.epoch, full=run.spec.full, condemned=claim.condemned, other=claim.other_epoch(),
        coding=run.coding,
    )  # fmt: skip
    await run.job.enter("Planning", files=await asyncio.to_thread(_survey, snapshot))
    known = await asyncio.to_thread(checksums.load)

    def read(batch: list[tuple[FoundTable, FoundSSTable]]) -> int:
        files = 0
        for table, sstable in batch:
            crcs = integrity.identities(sstable, known)
            found.add(table, sstable, crcs)
            files += len(crcs)
        return files

    async def step(batch: list[tuple[FoundTable, FoundSSTable]]) -> None:
        run.job.file_done(await asyncio.to_thread(read, batch))

    await each(_batches(snapshot), _READERS, step)
    await asyncio.to_thread(checksums.keep, known)
    return found


async def _begin(run: _Run, send: list[Planned], reuse: Reused) -> upload.Uploader:
    """Tells what there is to do, and how fast."""
    files, size = await asyncio.to_thread(lambda: (sum(one.count for one in send), sum(one.size for one in send)))
    await run.job.enter("Uploading", files=files + reuse.files, size=size + reuse.size)
    run.job.reused(reuse.files, reuse.size)
    spec = run.spec
    flow = Flow.of(spec.concurrent_transfers, spec.bandwidth, finish_within=spec.finish_within, total=size)

    def done(item: Sendable) -> None:
        run.job.file_done(len(item.members))

    return upload.Uploader(
        run.store, run.path.root, flow, count=run.job.count, done=done, journal=run.uploads, coding=run.coding
    )


async def _take_up(run: _Run, send: list[Planned]) -> None:
    """What an earlier try left half sent is gone on with, where it still fits; the rest is aborted."""
    root, least = run.path.root, catalog.BUNDLED
    wanted = await asyncio.to_thread(lambda: {root + one.key for one in send if one.size > least and not one.bundle})
    await parts.tidy(run.store, run.path.root, run.spec.epoch, run.uploads, wanted)


async def _heal(run: _Run, found: Plan, sender: upload.Uploader) -> None:
    """Nothing is committed that the store does not list, or that a collector may come to take. It is sent again: the
    snapshot stands.
    """
    for _ in range(_ROUNDS):
        await run.claim.renew()
        await _list(run, partial(found.confirm, run.claim.condemned))
        missing = await asyncio.to_thread(found.missing)
        if not missing:
            return
        log.warning("objects are missing and are sent again", operation=run.job.id, count=len(missing))
        await sender.send(await asyncio.to_thread(found.resend, missing, run.claim.other_epoch()))
    message = f"{run.store.name} does not list {len(missing)} objects that it accepted: is something deleting them?"
    raise AgentError(Reason.OBJECT_MISSING, message, retryable=True)


def _survey(snapshot: Snapshot) -> int:
    """The count of components with bytes."""
    sstables = (sstable for table in snapshot.tables for sstable in table.sstables.values())
    return sum(1 for sstable in sstables for _, size in sstable.files.sizes() if size)


def _batches(snapshot: Snapshot) -> Iterator[list[tuple[FoundTable, FoundSSTable]]]:
    work = ((table, sstable) for table in snapshot.tables for sstable in table.sstables.values())
    while batch := list(itertools.islice(work, _BATCH)):
        yield batch


async def _list(run: _Run, see: Callable[[str, int], None]) -> None:
    """The node's data, once: the store's word is what counts, not an older manifest's."""
    root = run.path.root
    async for meta in run.store.list(root + catalog.data_prefix(run.host_id)):
        see(meta.key.removeprefix(root), meta.size)


def _result(manifest: Manifest, digest: str) -> dict[str, Any]:
    node = NodeDigest(
        node=manifest.node, rack=manifest.rack, host_id=manifest.host_id, digest=digest, tokens=len(manifest.tokens),
        files=manifest.totals.files, bytes=manifest.totals.bytes,
    )  # fmt: skip
    return dict(msgspec.to_builtins(node))
