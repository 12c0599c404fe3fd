"""The ``migrate`` operation: every node of a Medusa backup into our catalog, and its record last.

    check all nodes → a node: pending → LIST → SSTables (read the small, copy the large) → LIST → manifest → … → record

Names are content and the epoch is the run's, so a migration that died finds what it did. Medusa's objects are only
read. A large Data.db is not read at all: Cassandra's Digest has its checksum, and a restore compares them.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from agent import catalog, clock, records, reservation
from agent.bandwidth import Direction
from agent.catalog import BUNDLED, DATA, FORMAT, PLAIN_FORMAT, Manifest, NodePath
from agent.cli.medusa.copier import HOST_ID, Copier, Tools
from agent.cli.medusa.source import MedusaNode, Source
from agent.cli.medusa.stores import opened
from agent.errors import AgentError, Reason
from agent.flow import Flow
from agent.protocol import BackupSpec, ClusterRecord, MigrateSpec, RecordedNode
from agent.reservation import Reservation
from agent.settings import VERSION
from backends.base import BytesBody
from backends.streams import closing

if TYPE_CHECKING:
    from agent.cli.medusa.layout import Place
    from agent.cli.medusa.stores import Stores
    from agent.job import Job
    from agent.protocol import State
    from agent.stores import Opener

log = structlog.get_logger(__name__)


class MigrateHandler:
    spec_type = MigrateSpec

    def __init__(self, open_store: Opener) -> None:
        self._open_store = open_store

    def check(self, spec: MigrateSpec) -> None:
        catalog.check_tag(spec.tag)
        catalog.check_epoch(spec.epoch)
        catalog.escape(spec.cluster)
        if not 0 <= spec.concurrent_transfers <= 64 or spec.bandwidth < 0:
            raise AgentError(Reason.INVALID_SPEC, "concurrentTransfers must be 0 to 64, bandwidth 0 or more")

    async def run(self, job: Job, spec: MigrateSpec) -> dict[str, Any]:
        await job.enter("Checking", files=0)
        async with opened(self._open_store, spec.source, spec.location) as stores:
            source = Source(stores.source, spec.backup)
            places = await source.places()
            left = await _left(stores, spec, places)
            total = Total()
            for name in left:
                node = await source.node(name, places[name])
                await source.check(node)
                total.add(node)
            result = {"migrated": sorted(left), "copiedByStore": stores.copies} | total.result()
            if spec.dry_run or not left:
                return result
            await job.enter("Migrating", files=total.files, size=total.bytes)
            nodes = _Nodes(job, spec, stores, source)
            done = [await nodes.migrate(name, places[name]) for name in sorted(left)]
            await job.enter("Committing")
            for datacenter in sorted({node.datacenter for node, _ in done}):
                await _record(stores, spec, [pair for pair in done if pair[0].datacenter == datacenter], nodes.schemas)
            return result

    async def finish(self, job: Job, spec: MigrateSpec, state: State) -> None:
        """What was copied stays, for the next try; nobody else counts on it."""


@dataclass
class Total:
    """``bytes`` are all; ``read`` is what has to come through us even in one bucket."""

    files: int = 0
    bytes: int = 0
    read: int = 0

    def add(self, node: MedusaNode) -> None:
        self.files += node.files
        self.bytes += node.bytes
        self.read += sum(
            entry.size
            for table in node.tables.values()
            for components in table.values()
            for name, entry in components.items()
            if entry.size <= BUNDLED or name != DATA
        )

    def result(self) -> dict[str, int]:
        return {"files": self.files, "bytes": self.bytes, "bytesRead": self.read}


class _Nodes:
    """One after the other. ``schemas`` are those of the datacenters that were seen."""

    def __init__(self, job: Job, spec: MigrateSpec, stores: Stores, source: Source) -> None:
        flow = Flow.of(spec.concurrent_transfers, spec.bandwidth, direction=Direction.RECEIVE)
        self.tools = Tools(job, spec.epoch, stores, source, flow)
        self.spec = spec
        self.schemas: dict[str, bytes] = {}

    async def migrate(self, name: str, place: Place) -> tuple[Manifest, str]:
        """Its manifest and the digest of that: what an earlier try committed, or made now."""
        spec, store = self.spec, self.tools.stores.target
        path = NodePath(spec.cluster, place.datacenter, name)
        node = await self.tools.source.node(name, place)
        self.schemas.setdefault(place.datacenter, node.schema)
        if (found := await records.find_own_manifest(store, path, _as_backup(spec, path, place))) is not None:
            self.tools.job.reused(node.files, node.bytes)
            return found
        claim = Reservation(store, _as_backup(spec, path, place))
        async with claim.held():
            written = await self._copy(node, path, place, claim)
        await reservation.remove(store, _as_backup(spec, path, place))
        return written

    async def _copy(self, node: MedusaNode, path: NodePath, place: Place, claim: Reservation) -> tuple[Manifest, str]:
        """As a backup does, so that no collector takes what it counts on: see agent/reservation.py."""
        spec, store, started = self.spec, self.tools.stores.target, clock.now()
        known = await self._list(path, claim)
        await claim.pin(f"{identity}-{epoch}" for identity, epoch in known.items())
        copier = Copier(self.tools, path, known, claim)
        snapshot = await copier.copy(node)
        await self.tools.source.check(node)  # again: Medusa may have written over a name meanwhile, or purged it
        await claim.renew()
        for identity, epoch in (await self._list(path, claim)).items():
            copier.plan.see(f"{identity}-{epoch}", catalog.size_in(identity))
        missing, _ = await asyncio.to_thread(copier.plan.settle)
        if missing or not claim.fresh:
            message = f"{store.name} does not list {len(missing)} objects that it accepted: is something deleting them?"
            raise AgentError(Reason.OBJECT_MISSING, message, retryable=True)
        tables, objects = await asyncio.to_thread(copier.plan.contents, snapshot)
        manifest = Manifest(
            format=PLAIN_FORMAT, agent_version=VERSION, backup_id=spec.backup_id, tag=spec.tag, cluster=spec.cluster,
            datacenter=place.datacenter, rack=place.rack, node=path.node, host_id=HOST_ID, tokens=place.tokens,
            cassandra_version=node.version, snapshot_at=_time(node.made), started=started, finished=clock.now(),
            tables=tables, objects=objects, totals=await asyncio.to_thread(copier.plan.totals, snapshot),
        )  # fmt: skip
        claim.committing = True
        return await records.write_manifest(store, path, manifest)

    async def _list(self, path: NodePath, claim: Reservation) -> dict[str, str]:
        """Identity -> the epoch to use: ours, else the newest. What a collector may come to take is not there."""
        found: dict[str, str] = {}
        async with closing(self.tools.stores.target.list(path.root + catalog.data_prefix(HOST_ID))) as listing:
            async for meta in listing:
                key = meta.key.removeprefix(path.root)
                identity, epoch = catalog.split_key(key)
                if identity and meta.size == catalog.size_in(identity) and key not in claim.condemned:
                    found[identity] = max(found.get(identity, ""), epoch, key=self._rank)
        return found

    def _rank(self, epoch: str) -> tuple[bool, str]:
        return catalog.owns_epoch(self.spec.epoch, epoch), epoch


async def _left(stores: Stores, spec: MigrateSpec, places: dict[str, Place]) -> set[str]:
    """Nodes of datacenters without a record. Another backup's record is SnapshotTagExists."""
    left = set()
    for datacenter in sorted({place.datacenter for place in places.values()}):
        record = await records.find_record(stores.target, spec.cluster, spec.tag, datacenter)
        if record is None:
            left |= {name for name, place in places.items() if place.datacenter == datacenter}
        else:
            records.check_same(record.backup_id, spec.backup_id, spec.tag, stores.target.name)
    return left


async def _record(
    stores: Stores, spec: MigrateSpec, done: list[tuple[Manifest, str]], schemas: dict[str, bytes]
) -> None:
    """With it the backup exists. It is as old as what it holds, since retention counts by that."""
    first = done[0][0]
    nodes = [_recorded(manifest, digest) for manifest, digest in done]
    record = ClusterRecord(
        format=FORMAT, tag=spec.tag, backup_id=spec.backup_id, cluster=spec.cluster, datacenter=first.datacenter,
        nodes=nodes, cassandra_version=first.cassandra_version,
        created_at=max(manifest.snapshot_at for manifest, _ in done),
    )  # fmt: skip
    schema = BytesBody(schemas.get(first.datacenter, b""))
    await stores.target.put(catalog.schema_key(spec.cluster, spec.tag, first.datacenter), schema)
    key = catalog.record_key(spec.cluster, spec.tag, first.datacenter)
    there = catalog.decode_record(await records.write_once(stores.target, key, msgspec.json.encode(record)))
    records.check_same(there.backup_id, spec.backup_id, spec.tag, stores.target.name)


def _recorded(manifest: Manifest, digest: str) -> RecordedNode:
    totals = manifest.totals
    return RecordedNode(
        node=manifest.node, rack=manifest.rack, host_id=manifest.host_id, digest=digest, tokens=len(manifest.tokens),
        files=totals.files, bytes=totals.bytes,
    )  # fmt: skip


def _as_backup(spec: MigrateSpec, path: NodePath, place: Place) -> BackupSpec:
    """For what asks about one node's backup."""
    return BackupSpec(
        location=spec.location, cluster=path.cluster, datacenter=path.datacenter, rack=place.rack, node=path.node,
        tag=spec.tag, backup_id=spec.backup_id, epoch=spec.epoch,
    )  # fmt: skip


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
