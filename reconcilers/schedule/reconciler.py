"""Says on each CassandraBackupSchedule that nothing will run: a schedule that is silently ignored is a lost backup."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from controller.conditions import Condition, set_condition
from controller.reconcile import Done
from reconcilers.api.schedule import SCHEDULES, CassandraBackupSchedule
from reconcilers.api.unsupported import unsupported
from reconcilers.status_writer import Event, StatusWriter

if TYPE_CHECKING:
    from controller.client import Client
    from controller.clock import Clock
    from controller.reconcile import Outcome
    from controller.recorder import Recorder
    from controller.resource import Key
    from controller.store import Store


class ScheduleReconciler:
    """The only writer of a CassandraBackupSchedule's status."""

    def __init__(
        self, *, client: Client, schedules: Store[CassandraBackupSchedule], recorder: Recorder, clock: Clock
    ) -> None:
        self._clock = clock
        self._status = StatusWriter(
            SCHEDULES, CassandraBackupSchedule, client=client, store=schedules, recorder=recorder, clock=clock
        )

    async def reconcile(self, key: Key) -> Outcome:
        schedule = self._status.current(key)
        if schedule is None or schedule.metadata.deletion_timestamp:
            return Done()
        generation, message = schedule.metadata.generation, "; ".join(unsupported(schedule))
        refused = Condition(
            type="Ready", status="False", reason="NotSupported", message=message, observed_generation=generation
        )
        new = msgspec.structs.replace(
            schedule.status,
            observed_generation=generation,
            conditions=set_condition(schedule.status.conditions, refused, self._clock.now()),
        )
        event: Event = ("Warning", "NotSupported", message)
        return await self._status.save(schedule, schedule.status, new, Done(), urgent=True, events=[event])
