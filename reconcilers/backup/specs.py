"""What the agents are asked for a backup: operation ids and specs. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.protocol import (
    BackupSpec,
    CommitSpec,
    Kind,
    Level,
    MissingNode,
    NodeDigest,
    ProbeSpec,
    SnapshotSpec,
    VerifySpec,
)
from reconcilers import locations
from reconcilers.api.backup import Verify
from reconcilers.api.quantity import parse
from reconcilers.backup import partial, policy
from reconcilers.mounts import Paths

if TYPE_CHECKING:
    from agent.protocol import Location
    from reconcilers.api.backup_status import BackupDatacenter, BackupNode
    from reconcilers.backup.run import Run


def operation_id(run: Run, kind: Kind, attempt: int) -> str:
    return f"{run.uid}.{kind}.{attempt}"


def entities(run: Run) -> list[str]:
    """Keyspaces and tables, whichever way they are spelled; empty for all of them."""
    spec = run.spec
    names = [*spec.keyspaces, *spec.tables, *spec.entities.split(",")]
    return sorted({name.strip() for name in names} - {""})


def probe(run: Run, datacenter: BackupDatacenter) -> ProbeSpec:
    return ProbeSpec(
        location=location(run, datacenter), cluster=datacenter.cluster_name, datacenter=datacenter.datacenter_name,
        tag=run.status.snapshot_tag, backup_id=run.uid, owner=datacenter.uid, entities=entities(run),
    )  # fmt: skip


def snapshot(run: Run) -> SnapshotSpec:
    return SnapshotSpec(tag=run.status.snapshot_tag, entities=entities(run))


def backup(run: Run, node: BackupNode, datacenter: BackupDatacenter) -> BackupSpec:
    return BackupSpec(
        location=location(run, datacenter),
        cluster=datacenter.cluster_name,
        datacenter=datacenter.datacenter_name,
        rack=node.rack,
        node=node.pod,
        tag=run.status.snapshot_tag,
        backup_id=run.uid,
        epoch=policy.epoch(run.created, run.uid),
        full=run.spec.type == "Full",
        concurrent_transfers=run.spec.concurrent_transfers,
        bandwidth=_bandwidth(run),
        finish_within=run.spec.finish_within_seconds,
        entities=entities(run),
    )


def reads_back(run: Run) -> bool:
    return run.spec.verify == Verify.HASH


def verification(run: Run, node: BackupNode, datacenter: BackupDatacenter) -> VerifySpec:
    """Of all bytes, before the record is written. What the node's disk still has is put right."""
    return VerifySpec(
        location=location(run, datacenter), cluster=datacenter.cluster_name, datacenter=datacenter.datacenter_name,
        node=node.pod, tag=run.status.snapshot_tag, digest=node.digest, level=Level.READ, heal=True,
        concurrent_transfers=run.spec.concurrent_transfers, bandwidth=_bandwidth(run),
    )  # fmt: skip


def commit(run: Run, datacenter: BackupDatacenter) -> CommitSpec:
    nodes = [n for n in run.status.nodes if n.datacenter == datacenter.name]
    return CommitSpec(
        location=location(run, datacenter), cluster=datacenter.cluster_name, datacenter=datacenter.datacenter_name,
        tag=run.status.snapshot_tag, backup_id=run.uid, nodes=[_digest(n) for n in partial.going(nodes)],
        missing=[MissingNode(node=n.pod, rack=n.rack, host_id=n.host_id) for n in partial.failed(nodes)],
    )  # fmt: skip


def location(run: Run, datacenter: BackupDatacenter) -> Location:
    storage = run.status.storage
    assert storage is not None, "the selection freezes the storage"
    paths = Paths(datacenter.credentials_path, datacenter.ca_bundle_path)
    return locations.to_agent(storage.backup_type, storage.target, storage.endpoint, run.spec, paths=paths)


def _bandwidth(run: Run) -> int:
    return parse(run.spec.bandwidth) if run.spec.bandwidth is not None else 0


def _digest(node: BackupNode) -> NodeDigest:
    return NodeDigest(
        node=node.pod, rack=node.rack, host_id=node.host_id, digest=node.digest, tokens=node.tokens, files=node.files,
        bytes=node.bytes_total,
    )  # fmt: skip
