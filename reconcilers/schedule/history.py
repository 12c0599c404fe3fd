"""Which of a schedule's backups go, and which of them with their data. Pure.

Retention removes good backups, data and all. The history limits remove objects: that never costs data, so they leave
alone what its own ``deletionPolicy`` would take from the store. With retention the successful limit has no say, for an
object that is gone is one whose data nobody removes any more. What somebody restores from stays until that has ended.

A backup that the bucket has lost keeps no good one from staying. It goes when it would have gone anyway: it may come
back, and what is left of its data is removed with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from reconcilers.api.backup import DeletionPolicy
from reconcilers.api.backup_status import BackupPhase
from reconcilers.api.restore import FINAL_PHASES
from reconcilers.schedule import children, retention

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from reconcilers.api.backup import CassandraBackup
    from reconcilers.api.restore import CassandraRestore
    from reconcilers.api.schedule import ScheduleSpec

_WITH_DATA = frozenset({BackupPhase.COMPLETED, BackupPhase.PARTIALLY_COMPLETED})


class Leaving(NamedTuple):
    """Oldest first."""

    with_data: list[CassandraBackup]
    objects: list[CassandraBackup]


def leaving(
    backups: Sequence[CassandraBackup], spec: ScheduleSpec, *, in_use: Collection[str], zone: ZoneInfo, now: datetime
) -> Leaving:
    """``backups`` are the schedule's own, oldest first; ``in_use`` has the names of those that a restore reads."""
    good, completed = children.good(backups), children.completed(backups)
    bad = [b for b in backups if b.ended and b.status.phase != BackupPhase.COMPLETED and not _going(b)]
    objects = _surplus(bad, spec.failed_history_limit)
    with_data: list[CassandraBackup] = []
    if spec.retention is None:
        limit = max(1, spec.successful_history_limit)  # the last good one stays
        objects += _surplus(good, limit) + children.lost(_surplus(completed, limit))
    else:
        with_data, all_dropped = (
            retention.dropped(which, spec.retention, time=children.slot_of, zone=zone, now=now)
            for which in (good, completed)
        )
        with_data += children.lost(all_dropped)
    return Leaving(
        [b for b in with_data if b.metadata.name not in in_use],
        [b for b in objects if b.metadata.name not in in_use and not _takes_data(b)],
    )


def being_restored(restores: Iterable[CassandraRestore], namespace: str) -> set[str]:
    """Names of backups, by object, or by the tag in the store: for a schedule's backups both are the same."""
    names: set[str] = set()
    for restore in restores:
        if restore.metadata.namespace == namespace and restore.status.phase not in FINAL_PHASES:
            names |= {restore.spec.backup.name} if restore.spec.backup else set()
            names |= {restore.spec.source.snapshot_tag} if restore.spec.source else set()
    return names


def _surplus(oldest_first: list[CassandraBackup], limit: int) -> list[CassandraBackup]:
    return oldest_first[: max(0, len(oldest_first) - limit)]


def _going(backup: CassandraBackup) -> bool:
    return bool(backup.metadata.deletion_timestamp)


def _takes_data(backup: CassandraBackup) -> bool:
    return backup.spec.deletion_policy is DeletionPolicy.DELETE and backup.status.phase in _WITH_DATA
