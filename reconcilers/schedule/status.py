"""What a schedule says of its backups: told from what there is, so it does not matter who made them, or when."""

from __future__ import annotations

from typing import TYPE_CHECKING

from controller.clock import rfc3339
from reconcilers.api.backup_status import RECORD_GONE, BackupPhase
from reconcilers.api.common import ObjectReference
from reconcilers.schedule import children, metrics

if TYPE_CHECKING:
    from datetime import datetime

    from reconcilers.api.backup import CassandraBackup
    from reconcilers.api.schedule import ScheduleStatus
    from reconcilers.schedule.turn import Turn


def tell(turn: Turn) -> None:
    """Active, last, failed and retained ones. What is said of backups that are gone stays."""
    status, backups = turn.status, turn.backups
    before = turn.schedule.status
    good = [b for b in backups if b.good]
    failed = [b for b in backups if b.status.phase in children.FAILED]
    status.active = [ObjectReference(name=b.metadata.name) for b in children.active(backups)]
    status.retained = len(children.good(backups))
    slots = [slot for b in backups if (slot := children.slot_of(b)) <= turn.now]
    status.last_schedule_time = max([before.last_schedule_time, *map(rfc3339, slots)])
    lost = children.lost(backups)
    if any(b.metadata.name == before.last_successful_backup for b in lost):
        status.last_successful_time = status.last_successful_backup = ""
    if good and _ended(best := max(good, key=_ended)) > status.last_successful_time:
        status.last_successful_time, status.last_successful_backup = _ended(best), best.metadata.name
    status.last_failed_time = max([before.last_failed_time, *map(_ended, failed)])
    status.consecutive_failures = _failures(before, status, failed)
    _last(turn, good + failed + lost)


def next_times(turn: Turn, following: list[datetime]) -> None:
    """When the next backups start, none where nothing is acted on."""
    turn.status.next_schedule_time = rfc3339(following[0]) if following else ""
    metrics.expect(turn.key, following)


def _failures(before: ScheduleStatus, after: ScheduleStatus, failed: list[CassandraBackup]) -> int:
    """Since the last good one. Failed ones are removed in time, so what was counted is kept."""
    there = sum(_ended(b) > after.last_successful_time for b in failed)
    if after.last_successful_time != before.last_successful_time:
        return there
    new = sum(_ended(b) > before.last_failed_time for b in failed)
    return max(there, before.consecutive_failures + new)


def _last(turn: Turn, ended: list[CassandraBackup]) -> None:
    """The verdict on the last one that came to an end by itself; a cancelled one is none."""
    status = turn.status
    newest = max(ended, key=_ended, default=None)
    if newest is None or _ended(newest) < max(status.last_successful_time, status.last_failed_time):
        if not (status.last_successful_time or status.last_failed_time):
            turn.say("LastBackupSucceeded", "Unknown", "NoBackupYet")
        return
    name, found = newest.metadata.name, newest.status
    if newest.good:
        turn.say("LastBackupSucceeded", "True", "Completed", f"backup {name} completed")
    elif newest.status.phase == BackupPhase.COMPLETED:
        message = f"backup {name} completed, and the bucket does not hold it any more"
        turn.say("LastBackupSucceeded", "False", RECORD_GONE, message)
    else:
        turn.say("LastBackupSucceeded", "False", found.reason or found.phase, f"backup {name}: {found.message}")


def _ended(backup: CassandraBackup) -> str:
    return backup.status.completion_time
