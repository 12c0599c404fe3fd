"""What wakes the reconciler of schedules, and what it reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from controller.controller import Controller
from controller.resource import Key
from controller.triggers import only_when, to_mapped, to_self
from reconcilers import labels
from reconcilers.schedule.reconciler import INDEX, ScheduleReconciler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from controller.client import Client
    from controller.clock import Clock
    from controller.informer import Informer
    from controller.objects import HasMetadata
    from controller.recorder import Recorder
    from controller.triggers import Trigger
    from reconcilers.api.backup import CassandraBackup
    from reconcilers.api.restore import CassandraRestore
    from reconcilers.api.schedule import CassandraBackupSchedule

__all__ = ["INDEX", "index", "schedule_controller"]

NAME = "schedule"


def schedule_controller(
    *,
    client: Client,
    schedules: Informer[CassandraBackupSchedule],
    backups: Informer[CassandraBackup],
    restores: Informer[CassandraRestore],
    recorder: Recorder,
    clock: Clock,
    **options: Any,
) -> Controller:
    """``backups`` needs the index ``{INDEX: index}``. ``options`` are Controller's own: workers, timeout, backoff."""
    reconciler = ScheduleReconciler(
        client=client,
        schedules=schedules.store,
        backups=backups.store,
        restores=restores.store,
        recorder=recorder,
        clock=clock,
    )
    controller = Controller(NAME, reconciler, clock=clock, **options)
    controller.watches(schedules, to_self())
    relevant: Callable[[Trigger[CassandraBackup]], Trigger[CassandraBackup]] = only_when(_matters)
    controller.watches(backups, relevant(to_mapped(_by_label)))
    return controller.reads(restores)


def index(backup: CassandraBackup) -> Iterable[str]:
    return map(str, _by_label(backup))


def _by_label(obj: HasMetadata) -> Iterable[Key]:
    """Not by owner: as a rule a backup outlives its schedule, and has none."""
    name = obj.metadata.labels.get(labels.SCHEDULE)
    return [Key(obj.metadata.namespace, name)] if name else []


def _matters(old: CassandraBackup | None, new: CassandraBackup | None) -> bool:
    """Progress of a backup is its own affair."""
    return old is None or new is None or _seen(old) != _seen(new)


def _seen(backup: CassandraBackup) -> tuple[object, ...]:
    meta = backup.metadata
    return backup.status.phase, backup.good, meta.deletion_timestamp, meta.labels, meta.annotations
