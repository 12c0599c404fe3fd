"""Whether a datacenter's agents have mounted what reaches a store. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from reconcilers.api import volumes
from reconcilers.api.common import BackupType

if TYPE_CHECKING:
    from reconcilers.api.common import ObjectReference
    from reconcilers.api.datacenter import CassandraDataCenter
    from reconcilers.api.volumes import BackupVolume


class Lacking(NamedTuple):
    reason: str
    message: str


def lacking(
    datacenter: CassandraDataCenter, backup_type: str, target: str, secret: ObjectReference | None = None
) -> Lacking | None:
    """None where nothing is missing. ``secret`` holds the store's credentials."""
    name = datacenter.metadata.name
    if backup_type == BackupType.FILE and not volumes.mounted(_volumes(datacenter), target):
        return Lacking(
            "TargetNotMounted",
            f"target {target} is on none of the volumes that the agents of datacenter {name} have "
            "(its spec.backup.volumes): what is written there goes with the pod",
        )
    return lacking_secret(datacenter, secret) if secret is not None else None


def lacking_secret(datacenter: CassandraDataCenter, secret: ObjectReference) -> Lacking | None:
    if credentials(datacenter, secret):
        return None
    return Lacking(
        "SecretNotMounted",
        f"the agents of datacenter {datacenter.metadata.name} have not mounted Secret {secret.name}: add a volume with "
        f"secret.secretName {secret.name} to its spec.backup.volumes",
    )


def credentials(datacenter: CassandraDataCenter, secret: ObjectReference | None) -> str:
    """The directory in which the agents find the Secret's files; empty for none."""
    if secret is None:
        return ""
    return next((v.mount_path for v in _volumes(datacenter) if v.secret.get("secretName") == secret.name), "")


def _volumes(datacenter: CassandraDataCenter) -> list[BackupVolume]:
    return datacenter.spec.backup.volumes if datacenter.spec.backup else []
