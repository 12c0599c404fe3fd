"""Drives a CassandraBackupSchedule: the backup of the slot that is due, then the removal of old ones.

Nothing is remembered. What is due follows from the status and from the backups that are there, and a slot's backup has
one name, whoever makes it. Before anything is made or removed, the backups are read from the API server itself. The
status moves on only when the backup exists, so a death in between leaves one that is found, never two and never none.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from controller.reconcile import Done, RequeueAfter
from reconcilers.api.schedule import SCHEDULES, CassandraBackupSchedule
from reconcilers.schedule import children, live, metrics, status
from reconcilers.schedule.check import checked
from reconcilers.schedule.create import Refused
from reconcilers.schedule.due import jitter
from reconcilers.schedule.history import Leaving, being_restored, leaving
from reconcilers.schedule.prune import hanging, prune
from reconcilers.schedule.slots import ScheduleError
from reconcilers.schedule.start import start
from reconcilers.schedule.turn import Turn
from reconcilers.status_writer import StatusWriter

if TYPE_CHECKING:
    from controller.client import Client
    from controller.clock import Clock
    from controller.conditions import Truth
    from controller.reconcile import Outcome
    from controller.recorder import Recorder
    from controller.resource import Key
    from controller.store import Store
    from reconcilers.api.backup import CassandraBackup
    from reconcilers.api.restore import CassandraRestore
    from reconcilers.schedule.slots import Slots

INDEX = "schedule"  # of the store of backups, by ``index``
_LOOK_AGAIN = 3600.0  # seconds: age drops a backup, and a clock that was set is noticed
_TRY_AGAIN = 60.0


class ScheduleReconciler:
    """The only writer of a CassandraBackupSchedule's status. ``backups`` has the index ``INDEX``."""

    def __init__(
        self,
        *,
        client: Client,
        schedules: Store[CassandraBackupSchedule],
        backups: Store[CassandraBackup],
        restores: Store[CassandraRestore],
        recorder: Recorder,
        clock: Clock,
    ) -> None:
        self._client = client
        self._backups = backups
        self._restores = restores
        self._clock = clock
        self._status = StatusWriter(
            SCHEDULES, CassandraBackupSchedule, client=client, store=schedules, recorder=recorder, clock=clock
        )

    async def reconcile(self, key: Key) -> Outcome:
        schedule = self._status.current(key)
        if schedule is None:
            self._status.forget(key)
            metrics.forget(key)
            return Done()
        if schedule.metadata.deletion_timestamp:
            return Done()
        known = children.own(schedule, self._backups.by_index(INDEX, str(key)))
        turn = Turn(schedule, self._clock.now(), known)
        return await self._save(turn, await self._advance(turn))

    async def _advance(self, turn: Turn) -> Outcome:
        if turn.spec.suspend:
            turn.say("Suspended", "True", "Suspended", "by spec.suspend: no backup is started and none removed")
        else:
            turn.say("Suspended", "False", "NotSuspended")
        try:
            slots = checked(turn.schedule)
        except ScheduleError as e:
            turn.complain("ScheduleValid", e.reason, str(e))
            return _idle(turn, "False", e.reason, str(e))
        turn.say("ScheduleValid", "True", "Valid")
        if turn.spec.suspend:
            return _idle(turn, "True", "Suspended")
        shift = jitter(turn.schedule.metadata.uid, turn.spec.jitter_seconds)
        started = await start(self._client, turn, slots, shift)
        status.tell(turn)
        waits = [_LOOK_AGAIN]
        if isinstance(started, Refused):
            turn.complain("Ready", started.reason, started.message)
            waits.append(_TRY_AGAIN)
        else:
            turn.say("Ready", "True", "Scheduled")
            # what was started is written first: what goes can wait
            waits += await self._prune(turn, slots) if started is None else [0.0]
        after = max(turn.since, turn.now - shift)
        following = [slot + shift for slot in itertools.islice(slots.following(after), 2)]
        status.next_times(turn, following)
        waits += [(when - turn.now).total_seconds() for when in following]
        return RequeueAfter(max(0.0, min(waits)), "until the next time")

    async def _prune(self, turn: Turn, slots: Slots) -> list[float]:
        """When to look again, where something did not go."""
        problems: list[str] = []
        if any(self._leaving(turn, slots)):
            await live.look(self._client, turn)
            status.tell(turn)
            pruned = await prune(self._client, turn, self._leaving(turn, slots))
            turn.status.retained -= len(pruned.removed & {b.metadata.name for b in children.good(turn.backups)})
            problems = pruned.problems
        if problems:
            turn.complain("RetentionHealthy", "DeleteFailed", problems[0])
            return [_TRY_AGAIN]
        if stuck := hanging(turn.backups, turn.now):
            message = f"{children.names(stuck)} should be gone by now: see the conditions and events there"
            turn.complain("RetentionHealthy", "DeleteHangs", message)
        else:
            turn.say("RetentionHealthy", "True", "Healthy")
        return []

    def _leaving(self, turn: Turn, slots: Slots) -> Leaving:
        in_use = being_restored(self._restores.all(), turn.key.namespace)
        return leaving(turn.backups, turn.spec, in_use=in_use, zone=slots.zone, now=turn.now)

    async def _save(self, turn: Turn, outcome: Outcome) -> Outcome:
        old, new = turn.schedule.status, turn.status
        urgent = bool(turn.events) or (old.handled_until, old.observed_generation) != (
            new.handled_until,
            new.observed_generation,
        )
        saved = await self._status.save(turn.schedule, old, new, outcome, urgent=urgent, events=turn.events)
        if isinstance(saved, RequeueAfter) and isinstance(outcome, RequeueAfter):
            return min(saved, outcome, key=lambda one: one.seconds)
        return saved


def _idle(turn: Turn, truth: Truth, reason: str, message: str = "") -> Outcome:
    """Nothing is started and nothing goes."""
    turn.say("Ready", truth, reason, message)
    status.tell(turn)
    status.next_times(turn, [])
    return Done()
