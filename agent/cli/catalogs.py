"""Which one of a bucket's backups a command means, where it does not say all of its names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.discovery import Broken, clusters, find_records
from agent.errors import AgentError, Reason

if TYPE_CHECKING:
    from agent.protocol import ClusterRecord
    from backends.base import ObjectStore


async def one_cluster(store: ObjectStore, named: str | None) -> str:
    """``named``, else the only one there is. BackupNotFound, or InvalidSpec where a choice is to be made."""
    if named is not None:
        return named
    found = await clusters(store)
    if not found:
        raise AgentError(Reason.BACKUP_NOT_FOUND, f"{store.name} has no backup of any cluster")
    if len(found) > 1:
        message = f"{store.name} has backups of several clusters, name one with --cluster: {', '.join(found)}"
        raise AgentError(Reason.INVALID_SPEC, message)
    return found[0]


async def one_record(store: ObjectStore, cluster: str | None, tag: str, datacenter: str | None) -> ClusterRecord:
    """BackupNotFound; InvalidSpec where the backup has several datacenters and none is named."""
    cluster = await one_cluster(store, cluster)
    found: list[ClusterRecord] = []
    async for record in find_records(store, cluster, tag):
        if isinstance(record, Broken):
            raise AgentError(Reason.MANIFEST_INVALID, f"{store.name}/{record.key}: {record.message}")
        if datacenter in {None, record.datacenter}:
            found.append(record)
    if not found:
        place = f"datacenter {datacenter} of the cluster {cluster}" if datacenter else f"the cluster {cluster}"
        raise AgentError(Reason.BACKUP_NOT_FOUND, f"{store.name} has no backup {tag} of {place}")
    if len(found) > 1:
        names = ", ".join(record.datacenter for record in found)
        message = f"the backup {tag} has several datacenters, name one with --datacenter: {names}"
        raise AgentError(Reason.INVALID_SPEC, message)
    return found[0]
