"""A schedule is refused aloud, once, and nothing more is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from controller.objects import key_of
from controller.reconcile import Done
from controller.store import Store, StoreWriter
from controller.watch import Apply
from reconcilers.api.schedule import SCHEDULES, CassandraBackupSchedule
from reconcilers.schedule.reconciler import ScheduleReconciler
from tests.api.crds.conftest import crds  # noqa: F401  a fixture
from tests.api.crds.objects import body
from tests.fakes.clock import FakeClock

if TYPE_CHECKING:
    from controller.client import Client
    from controller.objects import HasMetadata


class Said:
    """In place of the recorder."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []

    def event(self, _resource: object, _obj: HasMetadata, type_: str, reason: str, _message: str) -> None:
        self.events.append((type_, reason))


@pytest.mark.usefixtures("crds")
async def test_it_says_that_nothing_will_run(client: Client, namespace: str) -> None:
    made = await client.create(SCHEDULES, {**body(SCHEDULES), "metadata": {"name": "daily", "namespace": namespace}})
    store: Store[CassandraBackupSchedule] = Store()
    writer = StoreWriter(store)

    async def look() -> CassandraBackupSchedule:
        found = CassandraBackupSchedule.decode(await raw())
        writer.apply(Apply(found))
        return found

    async def raw() -> bytes:
        return (await client.raw("GET", SCHEDULES.path(namespace, "daily"), timeout=10)).body

    said = Said()
    schedule = await look()
    reconciler = ScheduleReconciler(client=client, schedules=store, recorder=said, clock=FakeClock())  # type: ignore[arg-type]
    assert await reconciler.reconcile(key_of(schedule)) == Done()
    written = await look()
    assert [(c.type, c.status, c.reason) for c in written.status.conditions] == [("Ready", "False", "NotSupported")]
    assert "not acted on yet" in written.status.conditions[0].message
    assert written.metadata.resource_version != made["metadata"]["resourceVersion"]
    assert said.events == [("Warning", "NotSupported")]

    assert await reconciler.reconcile(key_of(schedule)) == Done()
    assert (await look()).metadata.resource_version == written.metadata.resource_version
    assert len(said.events) == 1
