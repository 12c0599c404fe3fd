"""Whether the place in the store is ours alone: the condition DestinationShared.

The store says whose it is by UID, and a datacenter that was deleted and made anew has another one. Its earlier backups
tell: their objects have the UID that the name had before, and two of one name never live at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from controller.conditions import get_condition

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from reconcilers.api.backup import CassandraBackup
    from reconcilers.api.backup_status import BackupDatacenter
    from reconcilers.backup.run import Run

_CONDITION = "DestinationShared"


def tell(
    run: Run, datacenter: BackupDatacenter, probed: Mapping[str, object], backups: Iterable[CassandraBackup]
) -> None:
    """Said where another one wrote there first. Both may go on: nothing in a store is ever overwritten."""
    if not probed.get("shared"):
        return
    owner = str(probed.get("owner", ""))
    if _was(owner, datacenter.name, (b for b in backups if b.metadata.namespace == run.key.namespace)):
        datacenter.succeeds = owner
        return
    before = get_condition(run.status.conditions, _CONDITION)
    where = f"{run.status.location}, {datacenter.cluster_name}/{datacenter.datacenter_name}"
    message = (
        f"{where} was first written to by another CassandraDataCenter than {datacenter.name}, with UID "
        f"{owner}: if that one is gone this is its successor, else give one of them another target"
    )
    if before is None:
        run.event(_CONDITION, message, "Warning")
    elif message not in before.message:
        message = f"{before.message}; {message}"
    else:
        return
    run.say(_CONDITION, "True", "OtherOwner", message)


def _was(uid: str, name: str, backups: Iterable[CassandraBackup]) -> bool:
    """Whether it was the datacenter ``name``. Each backup of its successor remembers it, when its own are deleted."""
    known = (d for backup in backups for d in backup.status.datacenters if d.name == name)
    return bool(uid) and any(uid in (d.uid, d.succeeds) for d in known)
