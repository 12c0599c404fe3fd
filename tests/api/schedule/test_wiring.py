"""The controller as the process runs it, with informers, a queue and real time: what wakes it is right."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from controller.backoff import Backoff
from controller.clock import RealClock
from controller.informer import Informer
from controller.recorder import Recorder
from controller.resource import Key
from reconcilers.api.backup import BACKUPS, CassandraBackup
from reconcilers.api.restore import RESTORES, CassandraRestore
from reconcilers.api.schedule import SCHEDULES, CassandraBackupSchedule
from reconcilers.schedule import wiring
from tests.api.crds.conftest import crds  # noqa: F401  a fixture
from tests.api.schedule.world import NAME, World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from controller.client import Client
    from controller.resource import Resource


@asynccontextmanager
async def operator(client: Client, namespace: str) -> AsyncIterator[None]:
    clock = RealClock()

    def informer(resource: Resource, decode: Any, indexes: Any = None) -> Informer[Any]:
        return Informer(client, resource, decode, namespace=namespace, indexes=indexes)

    schedules = informer(SCHEDULES, CassandraBackupSchedule.decode)
    backups = informer(BACKUPS, CassandraBackup.decode, {wiring.INDEX: wiring.index})
    restores = informer(RESTORES, CassandraRestore.decode)
    recorder = Recorder(client, "cassandra-operator", clock)
    controller = wiring.schedule_controller(
        client=client, schedules=schedules, backups=backups, restores=restores, recorder=recorder, clock=clock,
        backoff=Backoff(clock, base=0.02, cap=0.1),
    )  # fmt: skip
    tasks = [asyncio.create_task(part.run()) for part in (schedules, backups, restores, recorder, controller)]
    try:
        yield
    finally:
        for task in reversed(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(found: Callable[[], Awaitable[object]]) -> None:
    """Within less time than any wait of the reconciler takes: a watch must have woken it."""
    async with asyncio.timeout(4.5):
        while not await found():  # noqa: ASYNC110  another task's work
            await asyncio.sleep(0.03)


@pytest.mark.slow
async def test_a_backup_that_ends_wakes_its_schedule_though_that_does_not_own_it(
    client: Client,
    namespace: str,
    crds: object,  # noqa: F811
) -> None:
    world = World(client, namespace)
    async with operator(client, namespace):
        await world.create(schedule="0 0 29 2 *", immediate=True, failedHistoryLimit=0)
        await until(world.names)
        (name,) = await world.names()
        assert "ownerReferences" not in (await world.backup(name))["metadata"]
        await world.end(name, "Failed")
        await until(lambda: _gone(world))  # by the history limit
        # a change of the spec wakes it, too
        await client.patch(SCHEDULES, Key(namespace, NAME), {"spec": {"timeZone": "Mars/Phobos"}})
        await until(lambda: _refused(world))


async def _gone(world: World) -> bool:
    return await world.names() == []


async def _refused(world: World) -> bool:
    conditions = (await world.status())["conditions"]
    return ("Ready", "InvalidTimeZone") in {(c["type"], c["reason"]) for c in conditions}
