"""One reconcile of one schedule: what is known, and what will be written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from controller.clock import parse_rfc3339, rfc3339
from controller.conditions import Condition, get_condition, is_true, set_condition
from controller.objects import key_of
from reconcilers.api.schedule import ScheduleStatus
from reconcilers.schedule import children
from reconcilers.status_writer import Event, Severity  # noqa: TC001  dataclasses resolve it

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from controller.conditions import Truth
    from controller.resource import Key
    from reconcilers.api.backup import CassandraBackup
    from reconcilers.api.schedule import CassandraBackupSchedule, ScheduleSpec


@dataclass(slots=True)
class Turn:
    """``status`` is a copy to change; ``events`` are told once it is written."""

    schedule: CassandraBackupSchedule
    now: datetime
    backups: list[CassandraBackup]  # its own, oldest first
    status: ScheduleStatus = field(init=False)
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.status = msgspec.convert(msgspec.to_builtins(self.schedule.status), ScheduleStatus)
        self.status.observed_generation = self.schedule.metadata.generation
        if self._changed:  # times of the new one that are past were never asked for
            self.status.handled_until = rfc3339(self.now)
        self.status.observed_schedule = self._written

    @property
    def key(self) -> Key:
        return key_of(self.schedule)

    @property
    def spec(self) -> ScheduleSpec:
        return self.schedule.spec

    @property
    def created(self) -> datetime:
        return parse_rfc3339(self.schedule.metadata.creation_timestamp)

    @property
    def resuming(self) -> bool:
        """It was suspended when it was last written: what passed meanwhile is nobody's fault."""
        return is_true(self.schedule.status.conditions, "Suspended")

    @property
    def since(self) -> datetime:
        """Up to here all is dealt with: by the status, or by a backup whose maker died before the status said so."""
        status = self.status.handled_until
        known = [parse_rfc3339(status) if status else self.created]
        return max(known + [slot for b in self.backups if (slot := children.slot_of(b)) <= self.now])

    def handled(self, until: datetime) -> None:
        self.status.handled_until = rfc3339(max(until, self.since))

    def see(self, backups: Iterable[CassandraBackup]) -> None:
        """What there is, in place of what was known."""
        self.backups = children.own(self.schedule, backups)

    def say(self, type_: str, truth: Truth, reason: str, message: str = "") -> None:
        new = Condition(
            type=type_,
            status=truth,
            reason=reason,
            message=message,
            observed_generation=self.schedule.metadata.generation,
        )
        self.status.conditions = set_condition(self.status.conditions, new, self.now)

    def event(self, reason: str, message: str, type_: Severity = "Normal") -> None:
        self.events.append((type_, reason, message))

    def complain(self, type_: str, reason: str, message: str) -> None:
        """A condition that is False, and an event where it was not, or not for this reason."""
        before = get_condition(self.status.conditions, type_)
        if before is None or (before.status, before.reason, before.message) != ("False", reason, message):
            self.event(reason, message, "Warning")
        self.say(type_, "False", reason, message)

    @property
    def _written(self) -> str:
        return f"{self.spec.schedule} {self.spec.time_zone}"

    @property
    def _changed(self) -> bool:
        return self.schedule.status.observed_schedule not in ("", self._written)
