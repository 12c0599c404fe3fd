"""Whether a datacenter's agents have mounted what reaches a store. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from reconcilers.api import volumes
from reconcilers.api.common import BackupType

if TYPE_CHECKING:
    from reconcilers.api.datacenter import CassandraDataCenter
    from reconcilers.api.volumes import BackupVolume


class Lacking(NamedTuple):
    reason: str
    message: str


def lacking(datacenter: CassandraDataCenter, backup_type: str, target: str) -> Lacking | None:
    """None where nothing is missing."""
    if backup_type == BackupType.FILE and not volumes.mounted(_volumes(datacenter), target):
        return Lacking(
            "TargetNotMounted",
            f"target {target} is on none of the volumes that the agents of datacenter {datacenter.metadata.name} have "
            "(its spec.backup.volumes): what is written there goes with the pod",
        )
    return None


def _volumes(datacenter: CassandraDataCenter) -> list[BackupVolume]:
    return datacenter.spec.backup.volumes if datacenter.spec.backup else []
