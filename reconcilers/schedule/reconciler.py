"""Says on each CassandraBackupSchedule that nothing will run: a schedule that is silently ignored is a lost backup."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from controller.conditions import Condition, set_condition
from controller.reconcile import Done
from reconcilers.api.schedule import SCHEDULES
from reconcilers.api.unsupported import unsupported

if TYPE_CHECKING:
    from controller.client import Client
    from controller.clock import Clock
    from controller.reconcile import Outcome
    from controller.recorder import Recorder
    from controller.resource import Key
    from controller.store import Store
    from reconcilers.api.schedule import CassandraBackupSchedule


class ScheduleReconciler:
    """The only writer of a CassandraBackupSchedule's status."""

    def __init__(
        self, *, client: Client, schedules: Store[CassandraBackupSchedule], recorder: Recorder, clock: Clock
    ) -> None:
        self._client = client
        self._schedules = schedules
        self._recorder = recorder
        self._clock = clock

    async def reconcile(self, key: Key) -> Outcome:
        schedule = self._schedules.get(key)
        if schedule is None or schedule.metadata.deletion_timestamp:
            return Done()
        meta, message = schedule.metadata, "; ".join(unsupported(schedule))
        new = msgspec.structs.replace(schedule.status, observed_generation=meta.generation)
        refused = Condition(
            type="Ready", status="False", reason="NotSupported", message=message, observed_generation=meta.generation
        )
        new.conditions = set_condition(new.conditions, refused, self._clock.now())
        if new != schedule.status:
            await self._client.patch_status(
                SCHEDULES, key, msgspec.to_builtins(new), uid=meta.uid, resource_version=meta.resource_version
            )
            self._recorder.event(SCHEDULES, schedule, "Warning", "NotSupported", message)
        return Done()
