"""One reconcile of one restore: what is known, what will be written, and the ways in which it ends."""

from __future__ import annotations

import datetime as dt  # noqa: TC003  dataclasses resolve it
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
from msgspec import structs

from controller.clock import rfc3339
from controller.conditions import Condition, set_condition
from controller.objects import key_of
from reconcilers.api.restore import FINAL_PHASES, RestorePhase, RestoreStatus, RestoreTotals
from reconcilers.backup.status import percent
from reconcilers.status_writer import Event, Severity  # noqa: TC001  dataclasses resolve it

if TYPE_CHECKING:
    from controller.conditions import Truth
    from controller.resource import Key
    from reconcilers.api.restore import CassandraRestore, RestoreSpec

WAITING, DOWNLOADING, RESTORED, FAILED = "Waiting", "Downloading", "Restored", "Failed"  # of a node


@dataclass(slots=True)
class Run:
    """``status`` is a copy to change; ``events`` are told once it is written."""

    restore: CassandraRestore
    now: dt.datetime
    status: RestoreStatus = field(init=False)
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.status = msgspec.convert(msgspec.to_builtins(self.restore.status), RestoreStatus)
        self.status.observed_generation = self.restore.metadata.generation
        if not self.status.phase:
            self.status.phase = RestorePhase.PENDING

    @property
    def key(self) -> Key:
        return key_of(self.restore)

    @property
    def spec(self) -> RestoreSpec:
        return self.restore.spec

    @property
    def ended(self) -> bool:
        return self.status.phase in FINAL_PHASES

    def say(self, type_: str, truth: Truth, reason: str, message: str) -> None:
        new = Condition(
            type=type_, status=truth, reason=reason, message=message,
            observed_generation=self.restore.metadata.generation,
        )  # fmt: skip
        self.status.conditions = set_condition(self.status.conditions, new, self.now)

    def event(self, reason: str, message: str, type_: Severity = "Normal") -> None:
        self.events.append((type_, reason, message))

    def hold(self, reason: str, message: str) -> None:
        """Not validated yet; it may still come."""
        if self.status.reason != reason:
            self.event(reason, message)
        self.status.reason, self.status.message = reason, message
        self.say("Validated", "Unknown", reason, message)

    def refuse(self, reason: str, message: str) -> None:
        """Nothing was touched."""
        self.say("Validated", "False", reason, message)
        self.event("RestoreRefused", message, "Warning")
        self._end(RestorePhase.FAILED, reason, message)

    def fail(self, reason: str, message: str) -> None:
        self.event("RestoreFailed", message, "Warning")
        self._end(RestorePhase.FAILED, reason, message)

    def cancel(self) -> None:
        message = "cancelled; delete the datacenter and its volumes before another try"
        self.event("Cancelled", message)
        self._end(RestorePhase.CANCELLED, "Cancelled", message)

    def complete(self, message: str) -> None:
        self.event("RestoreCompleted", message)
        self._end(RestorePhase.COMPLETED, "Completed", message)

    def summarize(self) -> None:
        status, nodes = self.status, self.status.nodes
        if not nodes:
            return
        total, done = sum(n.bytes_total for n in nodes), sum(n.bytes_done for n in nodes)
        restored = sum(1 for n in nodes if n.phase == RESTORED)
        files = status.totals.files if status.totals else 0
        status.totals = RestoreTotals(nodes=len(nodes), completed=restored, files=files, bytes=total, bytes_done=done)
        status.nodes_completed = f"{restored}/{len(nodes)}"
        share = 100 if restored == len(nodes) else min(99, percent(done, total))
        status.progress = f"{share}%"

    def _end(self, phase: RestorePhase, reason: str, message: str) -> None:
        status = self.status
        status.phase, status.reason, status.message = phase, reason, message
        status.completion_time = rfc3339(self.now)
        complete = phase is RestorePhase.COMPLETED
        self.say("Complete", "True" if complete else "False", reason, message)
        self.say("Failed", "True" if phase is RestorePhase.FAILED else "False", reason, message)


def urgent(old: RestoreStatus, new: RestoreStatus) -> bool:
    """Whether the change is worth a write at once: counters never are."""
    return _without_counters(old) != _without_counters(new)


def _without_counters(status: RestoreStatus) -> RestoreStatus:
    nodes = [structs.replace(n, bytes_total=0, bytes_done=0, last_progress_time="") for n in status.nodes]
    return structs.replace(status, nodes=nodes, totals=None, progress="")
