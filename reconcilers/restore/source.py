"""What a restore restores: a CassandraBackup of this namespace, or a place in a store."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from controller.resource import Key
from reconcilers import locations, mounts
from reconcilers.api.backup_status import FINAL_PHASES, BackupPhase
from reconcilers.mounts import NO_SECRETS, Secrets
from reconcilers.words import some

if TYPE_CHECKING:
    from agent.protocol import ClusterRecord, Location
    from controller.store import Store
    from reconcilers.api.backup import CassandraBackup
    from reconcilers.api.datacenter import CassandraDataCenter
    from reconcilers.api.restore import CassandraRestore


@dataclass(frozen=True, slots=True)
class Source:
    """One datacenter's backup, by its place."""

    location: Location
    uri: str
    cluster: str
    datacenter: str
    tag: str
    secrets: Secrets = NO_SECRETS  # which the datacenter that is filled has to mount, too


@dataclass(frozen=True, slots=True)
class NotYet:
    """It may come: the backup is not there, or still runs."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Never:
    """It cannot be restored as it is asked for."""

    reason: str
    message: str


_WHOLE = "a datacenter is restored from whole backups only: choose one that is Completed"


def check_whole(record: ClusterRecord) -> Never | None:
    """Of the record in the bucket: it may be partial."""
    if not record.missing:
        return None
    names = [node.node or f"the node with host id {node.host_id}" for node in record.missing]
    return Never("BackupPartial", f"backup {record.tag} is without {some(names)}, and {_WHOLE}")


def reached(source: Source, datacenter: CassandraDataCenter) -> Source | Never:
    """With the Secrets as the datacenter's agents have them."""
    lacks = mounts.lacking_secrets(datacenter, source.secrets)
    if lacks is not None:
        return Never(lacks.reason, lacks.message)
    return replace(source, location=locations.moved(source.location, mounts.paths(datacenter, source.secrets)))


def resolve(restore: CassandraRestore, backups: Store[CassandraBackup]) -> Source | NotYet | Never:
    spec = restore.spec
    if spec.source is not None:
        given = spec.source
        return Source(
            location=locations.to_agent(given.backup_type, given.target, given.endpoint),
            uri=locations.uri(given.backup_type, given.target),
            cluster=given.cluster_name,
            datacenter=given.datacenter_name,
            tag=given.snapshot_tag,
            secrets=Secrets.of(given),
        )
    assert spec.backup is not None, "the schema asks for backup or source"
    backup = backups.get(Key(restore.metadata.namespace, spec.backup.name))
    if backup is None:
        return NotYet(
            "BackupNotFound",
            f"there is no CassandraBackup {spec.backup.name} in this namespace; if only its data exist, use source",
        )
    return _of_backup(restore, backup)


def _of_backup(restore: CassandraRestore, backup: CassandraBackup) -> Source | NotYet | Never:
    name, status = backup.metadata.name, backup.status
    if status.phase == BackupPhase.PARTIALLY_COMPLETED:
        lost = [node.pod for node in status.nodes if node.phase == "Failed"]
        return Never("BackupPartial", f"backup {name} is without {some(lost)}, and {_WHOLE}")
    if status.phase != BackupPhase.COMPLETED:
        message = f"backup {name} is {status.phase or 'Pending'}, and only a Completed one can be restored"
        if status.phase in FINAL_PHASES:
            return Never("BackupNotComplete", message)
        return NotYet("BackupNotComplete", message)
    wanted = restore.spec.source_datacenter
    names = sorted(d.datacenter_name for d in status.datacenters)
    found = [d for d in status.datacenters if wanted in ("", d.datacenter_name)]
    if len(found) != 1:
        have = f"backup {name} holds the datacenters {', '.join(names)}"
        return Never("SourceDatacenter", f"{have}: name one of them in sourceDatacenter")
    assert status.storage is not None, "a completed backup has its storage in its status"
    return Source(
        location=locations.to_agent(status.storage.backup_type, status.storage.target, status.storage.endpoint),
        uri=status.location,
        cluster=found[0].cluster_name,
        datacenter=found[0].datacenter_name,
        tag=status.snapshot_tag,
        secrets=Secrets.of(status.storage),
    )
