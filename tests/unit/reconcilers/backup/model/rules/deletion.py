"""What is left when an object is gone: nothing that was to go with it, and nobody who works for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reconcilers import labels
from reconcilers.api.backup import CassandraBackup, DeletionPolicy

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.reconcilers.backup.model.invariants import Invariants

    Object = dict[str, Any]
    Gone = Callable[[Invariants, CassandraBackup], str | None]
    Lease = Callable[[Invariants, Object | None, Object | None], str | None]
    Pod = Callable[[Invariants, Object], str | None]


def its_data_is_gone_too(of: Invariants, backup: CassandraBackup) -> str | None:
    """Where that was wished, or it is said that it stays."""
    if backup.spec.deletion_policy != DeletionPolicy.DELETE or not backup.status.start_time:
        return None
    left = [r.tag for r in of.world.agents.bucket.records.values() if r.backup_id == backup.metadata.uid]
    said_so = (backup.metadata.uid, "RemoteDataRetained") in of.world.recorder.told
    return f"the bucket still has {left}" if left and not said_so else None


def a_lease_is_kept_to_the_end(of: Invariants, before: Object | None, now: Object | None) -> str | None:
    holder = before["spec"]["holderIdentity"] if before is not None and now is None else ""
    backup = of.world.backup(holder)
    early = backup is not None and backup.status.start_time and not backup.ended
    return f"given back by {holder}, which has not ended" if early else None


def a_helper_has_somebody_to_help(of: Invariants, pod: Object) -> str | None:
    """An old leader may not have heard of the end that another one made."""
    if labels.INSPECTOR not in pod["metadata"].get("labels", {}) or of.world.overlapped:
        return None
    owner = pod["metadata"]["ownerReferences"][0]["uid"]
    return f"a helper pod is made for {owner}, which is gone" if of.world.backup(owner) is None else None


ON_GONE: list[Gone] = [its_data_is_gone_too]
ON_LEASE: list[Lease] = [a_lease_is_kept_to_the_end]
ON_POD: list[Pod] = [a_helper_has_somebody_to_help]
