"""One reconcile of one backup: what is known, what will be written, and the ways in which it ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from controller.clock import parse_rfc3339, rfc3339
from controller.conditions import get_condition
from controller.objects import key_of
from reconcilers.api.backup_status import FINAL_PHASES, RESTORABLE, BackupPhase, BackupStatus
from reconcilers.backup import status as said
from reconcilers.status_writer import Event, Severity  # noqa: TC001  dataclasses resolve it

if TYPE_CHECKING:
    import datetime as dt

    from controller.conditions import Truth
    from controller.resource import Key
    from reconcilers.api.backup import BackupSpec, CassandraBackup
    from reconcilers.api.backup_status import BackupNode


_ENDED_EVENT: dict[str, tuple[Severity, str]] = {
    BackupPhase.COMPLETED: ("Normal", "BackupCompleted"),
    BackupPhase.PARTIALLY_COMPLETED: ("Warning", "BackupPartial"),
    BackupPhase.CANCELLED: ("Normal", "Cancelled"),
}


@dataclass(slots=True)
class Run:
    """``status`` is a copy to change; ``events`` are told once it is written."""

    backup: CassandraBackup
    now: dt.datetime
    status: BackupStatus = field(init=False)
    events: list[Event] = field(default_factory=list)
    decided: bool = field(init=False)  # that it is to end is written
    outdated: bool = False  # the object itself was changed meanwhile: the next reconcile sees it as it is now

    def __post_init__(self) -> None:
        self.status = msgspec.convert(msgspec.to_builtins(self.backup.status), BackupStatus)
        self.status.observed_generation = self.backup.metadata.generation
        if not self.status.phase:
            self.status.phase = BackupPhase.PENDING
        self.decided = self.aborting

    @property
    def key(self) -> Key:
        return key_of(self.backup)

    @property
    def spec(self) -> BackupSpec:
        return self.backup.spec

    @property
    def uid(self) -> str:
        return self.backup.metadata.uid

    @property
    def created(self) -> dt.datetime:
        return parse_rfc3339(self.backup.metadata.creation_timestamp)

    @property
    def ended(self) -> bool:
        return self.status.phase in FINAL_PHASES

    @property
    def aborting(self) -> bool:
        return self.aborting_since is not None

    @property
    def aborting_since(self) -> dt.datetime | None:
        running = get_condition(self.status.conditions, "Running")
        if running is None or running.reason != said.ABORTING:
            return None
        return parse_rfc3339(running.last_transition_time)

    def say(self, type_: str, truth: Truth, reason: str, message: str) -> None:
        said.condition(
            self.status, type_, truth, reason, message, now=self.now, generation=self.backup.metadata.generation
        )

    def event(self, reason: str, message: str, type_: Severity = "Normal") -> None:
        self.events.append((type_, reason, message))

    def fail(self, node: BackupNode, reason: str, message: str) -> None:
        """For good."""
        node.phase, node.reason, node.message = said.FAILED, reason, message
        node.completion_time = rfc3339(self.now)
        self.event("NodeBackupFailed", f"{node.pod}: {message}", "Warning")

    def hold(self, reason: str, message: str, *, warn: bool = False) -> None:
        """Not started yet, and why: what waits can still begin by itself."""
        if self.status.reason != reason and (warn or reason == "Queued"):
            self.event(reason, message, "Warning" if warn else "Normal")
        self.status.reason, self.status.message = reason, message
        self.say("Running", "False", reason, message)

    def refuse(self, reason: str, message: str) -> None:
        """What is asked for cannot be done, and nothing was touched."""
        self.say("Accepted", "False", reason, message)
        self.end(BackupPhase.FAILED_VALIDATION, reason, message)

    def abort(self, reason: str, message: str) -> None:
        """Decide on the end. It comes when every node's snapshot is cleared."""
        self.status.reason, self.status.message = reason, message
        self.say("Running", "False", said.ABORTING, message)

    def end(self, phase: BackupPhase, reason: str, message: str) -> None:
        """The last write to this status."""
        status = self.status
        status.phase, status.reason, status.message = phase, reason, message
        status.completion_time = rfc3339(self.now)
        status.duration = said.duration(status.start_time, self.now)
        status.queue_position = 0
        complete = phase is BackupPhase.COMPLETED
        for node in status.nodes:
            if node.phase not in (said.COMPLETED, said.FAILED):
                node.phase, node.reason, node.message = said.CANCELLED, "", ""
        self.say("Running", "False", reason, message)
        self.say("Complete", "True" if complete else "False", reason, message)
        self.say("Failed", "False" if phase in _ENDED_EVENT else "True", reason, message)
        self.say(RESTORABLE, "True" if complete else "False", reason, message)
        type_, event = _ENDED_EVENT.get(phase, ("Warning", "BackupFailed"))
        self.event(event if reason not in _OWN_EVENT else reason, message, type_)


_OWN_EVENT = frozenset({"DeadlineExceeded", "SnapshotTagExists", "CredentialsMissing", "StorageUnreachable"})
