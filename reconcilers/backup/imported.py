"""A record of the bucket as the status of a backup that ended long ago. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from controller.clock import parse_rfc3339, rfc3339
from reconcilers import locations, mounts
from reconcilers.access import access_of
from reconcilers.api.backup_status import BackupDatacenter, BackupNode, BackupPhase, BackupStorage, BackupTotals
from reconcilers.backup import status as said
from reconcilers.mounts import Secrets

if TYPE_CHECKING:
    from agent.protocol import ClusterRecord, MissingNode, RecordedNode
    from reconcilers.api.backup import BackupSpec
    from reconcilers.api.datacenter import CassandraDataCenter
    from reconcilers.backup.run import Run

NODES = 1000  # of which a status tells; the API server takes no object above 1.5 MB
_LONGEST = 253  # characters of a name
_LARGEST = 1 << 63  # what the API server takes for an integer


def odd(record: ClusterRecord) -> str:
    """Why a status cannot be made of it; empty where it can. Whoever writes to the bucket may have written it."""
    names = [record.cluster, record.datacenter, record.tag, record.backup_id]
    names += [record.cassandra_version, record.schema_version, record.created_at]
    numbers = []
    for node in record.nodes:
        names += [node.node, node.rack, node.host_id, node.digest]
        numbers += [node.tokens, node.files, node.bytes]
    if not record.nodes:
        return "it names no node"
    if any(len(name) > _LONGEST for name in names):
        return f"a name in it has more than {_LONGEST} characters"
    if any(number < 0 for number in numbers) or sum(numbers) >= _LARGEST:
        return "a number in it is none of files or bytes"
    return ""


def storage(spec: BackupSpec) -> BackupStorage:
    return BackupStorage(
        backup_type=spec.backup_type.value, target=spec.target, endpoint=spec.endpoint,
        credentials_secret_ref=spec.credentials_secret_ref,
    )  # fmt: skip


def register(run: Run, datacenter: CassandraDataCenter, record: ClusterRecord) -> None:
    """Ends the run. ``datacenter`` is the one whose agents reach the bucket; the backed-up one may be long gone."""
    status, name = run.status, datacenter.metadata.name
    paths = mounts.paths(datacenter, Secrets.of(run.spec))
    status.datacenters = [
        BackupDatacenter(
            name=name,
            cluster_name=record.cluster,
            datacenter_name=record.datacenter,
            nodes=len(record.nodes),
            access=access_of(datacenter),
            credentials_path=paths.credentials,
            ca_bundle_path=paths.ca_bundle,
        )
    ]
    lost = [node for node in record.missing if node.node]
    status.nodes = [_node(name, node) for node in record.nodes[:NODES]]
    status.nodes += [_missing(name, node) for node in lost[: NODES - len(status.nodes)]]
    files, size = sum(node.files for node in record.nodes), sum(node.bytes for node in record.nodes)
    count, total = len(record.nodes), len(record.nodes) + len(lost)
    status.totals = BackupTotals(nodes=total, completed=count, failed=len(lost), files=files, bytes=size)
    status.nodes_completed, status.size = f"{count}/{total}", said.human(size)
    status.progress, status.progress_percent = "100%", 100
    status.snapshot_tag, status.backup_id = record.tag, record.backup_id
    status.layout_version = record.format
    status.cassandra_version, status.schema_version = record.cassandra_version, record.schema_version
    status.location = locations.uri(run.spec.backup_type, run.spec.target)
    status.storage = storage(run.spec)
    run.say("Accepted", "True", "RecordFound", f"backup {record.tag} of {record.cluster}/{record.datacenter}")
    cut = f"; the first {NODES} nodes are listed" if total > NODES else ""
    written = _moment(record.created_at)
    when = f", written {written}" if written else ""
    have = f"{count} of {total}" if lost else str(count)
    message = f"imported: {have} nodes, {status.size}, in {status.location}{when}{cut}"
    run.end(BackupPhase.PARTIALLY_COMPLETED if record.missing else BackupPhase.COMPLETED, "Imported", message)
    status.datacenters[0].phase = status.phase
    if written:
        status.start_time = status.completion_time = written


def _node(datacenter: str, node: RecordedNode) -> BackupNode:
    return BackupNode(
        pod=node.node, datacenter=datacenter, rack=node.rack, host_id=node.host_id, digest=node.digest,
        tokens=node.tokens, files=node.files, bytes_total=node.bytes, bytes_done=node.bytes,
        phase=said.COMPLETED, progress="100%",
    )  # fmt: skip


def _missing(datacenter: str, node: MissingNode) -> BackupNode:
    return BackupNode(
        pod=node.node, datacenter=datacenter, rack=node.rack, host_id=node.host_id, tokens=len(node.tokens),
        phase=said.FAILED, reason="NotInBackup", message="the backup was made without it",
    )  # fmt: skip


def _moment(text: str) -> str:
    """As the API server wants it; empty for what is no time."""
    try:
        return rfc3339(parse_rfc3339(text))
    except ValueError:
        return ""
