"""The small operations: ``probe``, ``snapshot``, ``clear-snapshots`` and ``commit``."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

import msgspec

from agent import catalog, clock, records, scope
from agent.catalog import FORMAT, NodePath, Owner
from agent.coding import Coding
from agent.errors import AgentError, Reason
from agent.flow import each
from agent.missing import with_tokens
from agent.protocol import (
    ClearSpec,
    ClusterRecord,
    CommitSpec,
    Kind,
    MissingNode,
    NodeDigest,
    ProbeSpec,
    RecordedNode,
    SnapshotSpec,
    State,
)
from backends.base import BytesBody
from backends.errors import Kind as StoreKind
from backends.errors import StoreError
from backends.streams import closing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping

    from agent.catalog import Manifest
    from agent.coding import Codings
    from agent.job import Job
    from agent.missing import Member
    from agent.operations import Operations
    from agent.snapshots import Snapshots
    from agent.stores import Opener
    from backends.base import ObjectStore

_READERS = 4  # manifests that are read at once


class ProbeHandler:
    """The wanted tables are there; the bucket can be read, written, listed and deleted from. So a backup does not fail
    after an hour for what one request could tell.

    ``result`` has ``owner`` and ``shared``: who wrote here first, and whether that is another; and ``canDelete``, as a
    bucket that keeps everything is a fair wish; and ``encryptionKey``, the id of the key that backups are written with.
    """

    spec_type = ProbeSpec

    def __init__(
        self,
        open_store: Opener,
        *,
        pod: str = "",
        namespace: str = "",
        tables: Callable[[], Awaitable[Mapping[str, Collection[str]]]],
        codings: Codings = Coding,
    ) -> None:
        self._open_store = open_store
        self._codings = codings
        self._pod = pod
        self._namespace = namespace
        self._tables = tables

    def check(self, spec: ProbeSpec) -> None:
        catalog.record_key(spec.cluster, spec.tag, spec.datacenter)
        scope.checked(spec.entities)

    async def run(self, job: Job, spec: ProbeSpec) -> dict[str, Any]:
        await job.enter("Probing")
        if spec.entities:
            scope.check_there(spec.entities, await self._tables())
        coding = await asyncio.to_thread(self._codings)  # a key that cannot be used is told before a snapshot is taken
        path = NodePath(spec.cluster, spec.datacenter, self._pod or "probe")
        async with self._open_store(spec.location) as store:
            record = await records.find_record(store, spec.cluster, spec.tag, spec.datacenter)
            if record is not None:
                records.check_same(record.backup_id, spec.backup_id, spec.tag, store.name)
            key = f"{path.root}_probe-{uuid.uuid4().hex}"
            await store.put(key, BytesBody(b"probe\n"))
            async with closing(store.list(key)) as listing:
                listed = [meta.key async for meta in listing]
            if key not in listed:
                message = f"{store.name} does not list what was just written to it"
                raise AgentError(Reason.STORAGE_INVALID, message)
            result: dict[str, Any] = {"store": store.name, "canDelete": await _deleted(store, key)}
            if coding.key_ids:
                result["encryptionKey"] = coding.key_ids[0]
            if spec.owner:
                owner = Owner(owner=spec.owner, namespace=self._namespace, created_at=clock.now())
                first = await records.claim(store, path, owner)
                result |= {"owner": first.owner, "shared": first.owner != spec.owner}
            return result

    async def finish(self, _job: Job, spec: ProbeSpec, state: State) -> None:
        pass


class SnapshotHandler:
    """``result``: when it was taken, and what the node said of itself."""

    spec_type = SnapshotSpec

    def __init__(self, snapshots: Snapshots, operations: Callable[[], Operations]) -> None:
        self._snapshots = snapshots
        self._operations = operations

    def check(self, spec: SnapshotSpec) -> None:
        catalog.check_tag(spec.tag)
        scope.checked(spec.entities)

    async def run(self, job: Job, spec: SnapshotSpec) -> dict[str, Any]:
        await job.enter("Snapshotting")
        await self._operations().settled(lambda other: uses(other, spec.tag, Kind.BACKUP))
        taken = await self._snapshots.take(job.id, spec.tag, scope.checked(spec.entities))
        facts = taken.facts
        return {
            "takenAt": taken.at, "hostId": facts.host_id, "cassandraVersion": facts.release_version,
            "schemaVersion": facts.schema_version,
        }  # fmt: skip

    async def finish(self, _job: Job, spec: SnapshotSpec, state: State) -> None:
        if state is not State.SUCCEEDED:
            await self._snapshots.clear(spec.tag)


class ClearHandler:
    """Waits for whoever still uses the snapshot: the operator cancels them first."""

    spec_type = ClearSpec

    def __init__(self, snapshots: Snapshots, operations: Callable[[], Operations]) -> None:
        self._snapshots = snapshots
        self._operations = operations

    def check(self, spec: ClearSpec) -> None:
        catalog.check_tag(spec.tag)

    async def run(self, job: Job, spec: ClearSpec) -> dict[str, Any]:
        await job.enter("Clearing")
        await self._operations().settled(lambda other: uses(other, spec.tag, Kind.SNAPSHOT, Kind.BACKUP))
        await self._snapshots.clear(spec.tag)
        return {}

    async def finish(self, _job: Job, spec: ClearSpec, state: State) -> None:
        pass


def uses(job: Job, tag: str, *kinds: Kind) -> bool:
    """Whether the job is of these kinds and about the snapshot ``tag``."""
    request = job.entry.request
    return request.kind in kinds and request.spec.get("tag") == tag


async def _deleted(store: ObjectStore, key: str) -> bool:
    try:
        await store.delete([key])
    except StoreError as error:
        if error.kind is not StoreKind.FORBIDDEN:
            raise
        return False
    return True


class CommitHandler:
    """Reads every node's manifest and compares its digest before it writes the record: a backup is whole or is none."""

    spec_type = CommitSpec

    def __init__(self, open_store: Opener, *, ring: Callable[[], Awaitable[list[Member]]] | None = None) -> None:
        """``ring`` knows the tokens of nodes that are missing; without it they are not recorded."""
        self._open_store = open_store
        self._ring = ring

    def check(self, spec: CommitSpec) -> None:
        catalog.record_key(spec.cluster, spec.tag, spec.datacenter)
        names = [node.node for node in spec.nodes] + [node.node for node in spec.missing]
        if not spec.nodes or len(set(names)) < len(names):
            raise AgentError(Reason.INVALID_SPEC, "a commit needs nodes, each once")

    async def run(self, job: Job, spec: CommitSpec) -> dict[str, Any]:
        await job.enter("Checking", files=len(spec.nodes))
        async with self._open_store(spec.location) as store:
            there = await records.find_record(store, spec.cluster, spec.tag, spec.datacenter)
            if there is None:
                first = await self._check_nodes(job, store, spec)
                await job.enter("Committing")
                there = await self._write(store, spec, first)
        _same(there, spec, store.name)
        return dict(msgspec.to_builtins(there))

    async def finish(self, _job: Job, spec: CommitSpec, state: State) -> None:
        pass

    async def _check_nodes(self, job: Job, store: ObjectStore, spec: CommitSpec) -> Manifest:
        """Every node's manifest is there with its digest. The first one's is decoded: it tells versions and schema."""
        first = spec.nodes[0].node
        found: list[Manifest] = []

        async def check(node: NodeDigest) -> None:
            path = NodePath(spec.cluster, spec.datacenter, node.node)
            data = await records.read_committed(store, path, spec.tag, node.digest)
            if node.node == first:
                found.append(await asyncio.to_thread(catalog.decode_manifest, data))
            job.file_done()

        await each(spec.nodes, _READERS, check)
        records.check_same(found[0].backup_id, spec.backup_id, spec.tag, store.name)
        return found[0]

    async def _write(self, store: ObjectStore, spec: CommitSpec, first: Manifest) -> ClusterRecord:
        nodes = [
            RecordedNode(node=node.node, rack=node.rack, host_id=node.host_id, digest=node.digest, tokens=node.tokens,
                         files=node.files, bytes=node.bytes)
            for node in spec.nodes
        ]  # fmt: skip
        record = ClusterRecord(
            format=FORMAT, tag=spec.tag, backup_id=spec.backup_id, cluster=spec.cluster, datacenter=spec.datacenter,
            nodes=nodes, cassandra_version=first.cassandra_version, schema_version=first.schema_version,
            partitioner=first.partitioner, created_at=clock.now(), entities=first.entities,
            missing=await self._missing(spec),
        )  # fmt: skip
        schema = await asyncio.to_thread(_schema, first)
        await store.put(catalog.schema_key(spec.cluster, spec.tag, spec.datacenter), BytesBody(schema))
        key = catalog.record_key(spec.cluster, spec.tag, spec.datacenter)
        return catalog.decode_record(await records.write_once(store, key, msgspec.json.encode(record)))

    async def _missing(self, spec: CommitSpec) -> list[MissingNode]:
        if not spec.missing or self._ring is None:
            return spec.missing
        return with_tokens(spec.missing, await self._ring(), spec.datacenter, {node.host_id for node in spec.nodes})


def _same(record: ClusterRecord, spec: CommitSpec, store: str) -> None:
    """A record that was there must be this very backup's."""
    records.check_same(record.backup_id, spec.backup_id, spec.tag, store)
    if {node.node: node.digest for node in record.nodes} != {node.node: node.digest for node in spec.nodes}:
        message = f"{store} holds this backup committed with other nodes: it cannot be committed twice"
        raise AgentError(Reason.SNAPSHOT_TAG_EXISTS, message)


def _schema(manifest: Manifest) -> bytes:
    """What Cassandra wrote beside each table's snapshot; CREATE KEYSPACE is not among it."""
    texts = [f"-- {table.keyspace}.{table.name}\n{table.schema.strip()}\n" for table in manifest.tables if table.schema]
    return "\n".join(texts).encode()
