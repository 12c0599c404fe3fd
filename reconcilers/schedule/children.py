"""The backups of a schedule: how one is made, which are its own, and what each counts as. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from controller.clock import parse_rfc3339
from reconcilers import labels
from reconcilers.api.backup_status import BackupPhase
from reconcilers.api.schedule import SCHEDULES, OwnerReferencePolicy
from reconcilers.words import some

if TYPE_CHECKING:
    from collections.abc import Iterable

    from controller.objects import ObjectMeta
    from reconcilers.api.backup import CassandraBackup
    from reconcilers.api.schedule import CassandraBackupSchedule

FAILED = frozenset({BackupPhase.FAILED, BackupPhase.FAILED_VALIDATION, BackupPhase.PARTIALLY_COMPLETED})
_MARGIN = 60.0  # seconds beyond every deadline after which nobody seems to see to a backup


def name(schedule: str, slot: datetime) -> str:
    """The same whoever makes it, and whenever: it is what keeps a slot from having two backups."""
    return f"{schedule}-{slot:%Y%m%d%H%M}"


def body(schedule: CassandraBackupSchedule, slot: datetime) -> dict[str, Any]:
    """The backup of a slot, without what equals its default."""
    meta, template = schedule.metadata, schedule.spec.backup_template
    given = template.metadata
    metadata: dict[str, Any] = {
        "name": name(meta.name, slot),
        "namespace": meta.namespace,
        "labels": {**(given.labels if given else {}), labels.SCHEDULE: meta.name},
        "annotations": {**(given.annotations if given else {}), labels.SCHEDULE_UID: meta.uid},
    }
    if schedule.spec.owner_reference is OwnerReferencePolicy.SCHEDULE:
        owner = {"apiVersion": SCHEDULES.api_version, "kind": SCHEDULES.kind, "name": meta.name, "uid": meta.uid}
        metadata["ownerReferences"] = [{**owner, "controller": True}]
    return {"metadata": metadata, "spec": msgspec.to_builtins(template.spec)}


def selector(schedule: str) -> str:
    """In the API server's own syntax; ``own`` says which of those it finds are meant."""
    return f"{labels.SCHEDULE}={schedule}"


def is_own(schedule: CassandraBackupSchedule, metadata: ObjectMeta) -> bool:
    """Made by this very schedule: not by an earlier one of its name, and nobody took the label off."""
    return (
        metadata.namespace == schedule.metadata.namespace
        and metadata.labels.get(labels.SCHEDULE) == schedule.metadata.name
        and metadata.annotations.get(labels.SCHEDULE_UID) == schedule.metadata.uid
    )


def own(schedule: CassandraBackupSchedule, backups: Iterable[CassandraBackup]) -> list[CassandraBackup]:
    """Oldest first."""
    return sorted((b for b in backups if is_own(schedule, b.metadata)), key=order)


def order(backup: CassandraBackup) -> tuple[datetime, str]:
    return slot_of(backup), backup.metadata.name


def slot_of(backup: CassandraBackup) -> datetime:
    """The time it was made for, which its name says; of one that was given to the schedule by hand, its creation's."""
    meta = backup.metadata
    stamp = meta.name.removeprefix(f"{meta.labels.get(labels.SCHEDULE, '')}-")
    try:
        return datetime.fromisoformat(f"{stamp[:8]}T{stamp[8:]}").replace(tzinfo=UTC)
    except ValueError:
        return parse_rfc3339(meta.creation_timestamp)


def good(backups: Iterable[CassandraBackup]) -> list[CassandraBackup]:
    """Completed, in the bucket as far as is known, and not about to go."""
    return [b for b in completed(backups) if b.good]


def completed(backups: Iterable[CassandraBackup]) -> list[CassandraBackup]:
    """Whether or not the bucket still has them; not those about to go."""
    return [b for b in backups if b.status.phase == BackupPhase.COMPLETED and not b.metadata.deletion_timestamp]


def lost(backups: Iterable[CassandraBackup]) -> list[CassandraBackup]:
    """Completed, and the bucket does not hold them any more."""
    return [b for b in backups if b.status.phase == BackupPhase.COMPLETED and not b.good]


def active(backups: Iterable[CassandraBackup]) -> list[CassandraBackup]:
    return [b for b in backups if not b.ended]


def blocking(backups: Iterable[CassandraBackup], now: datetime) -> list[CassandraBackup]:
    """Those under way that another one has to respect: not past all of its own deadlines."""
    return [b for b in active(backups) if now <= _ends_by(b)]


def _ends_by(backup: CassandraBackup) -> datetime:
    spec, started = backup.spec, backup.status.start_time
    since = parse_rfc3339(started or backup.metadata.creation_timestamp)
    deadline = spec.active_deadline_seconds if started else spec.starting_deadline_seconds
    # after its deadline, snapshots are cleared for as long as a node may be silent
    return later(since, deadline + spec.node_progress_deadline_seconds + _MARGIN)


def later(moment: datetime, seconds: float) -> datetime:
    """``moment`` and so many seconds, or the end of time."""
    try:
        return moment + timedelta(seconds=seconds)
    except OverflowError:
        return datetime.max.replace(tzinfo=moment.tzinfo)


def names(backups: Iterable[CassandraBackup]) -> str:
    """For a message."""
    return some([b.metadata.name for b in backups])
