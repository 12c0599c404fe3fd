"""Whether the place in the store is ours alone: the condition DestinationShared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from controller.conditions import get_condition

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconcilers.api.backup_status import BackupDatacenter
    from reconcilers.backup.run import Run

_CONDITION = "DestinationShared"


def tell(run: Run, datacenter: BackupDatacenter, probed: Mapping[str, object]) -> None:
    """Said where another one wrote there first. Both may go on: nothing in a store is ever overwritten."""
    if not probed.get("shared"):
        return
    before = get_condition(run.status.conditions, _CONDITION)
    where = f"{run.status.location}, {datacenter.cluster_name}/{datacenter.datacenter_name}"
    message = (
        f"{where} was first written to by another CassandraDataCenter than {datacenter.name}, with UID "
        f"{probed.get('owner')}: if that one is gone this is its successor, else give one of them another target"
    )
    if before is None:
        run.event(_CONDITION, message, "Warning")
    elif message not in before.message:
        message = f"{before.message}; {message}"
    else:
        return
    run.say(_CONDITION, "True", "OtherOwner", message)
