"""Schedules against the real API server: one backup a slot, whatever dies and whoever else is at it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import pytest

from controller.errors import Conflict
from controller.reconcile import RequeueAfter
from controller.resource import Key
from reconcilers import labels
from reconcilers.api.backup import BACKUPS
from reconcilers.api.schedule import SCHEDULES, ScheduleStatus
from tests.api.backup.conftest import world as backup_world  # noqa: F401  a fixture
from tests.api.crds.conftest import crds  # noqa: F401  a fixture
from tests.api.crds.objects import body
from tests.api.schedule.world import LABELS, NAME, World

if TYPE_CHECKING:
    from controller.client import Client
    from tests.api.backup.world import World as BackupWorld


@pytest.fixture
def world(client: Client, namespace: str, crds: object) -> World:  # noqa: F811
    return World(client, namespace)


@pytest.mark.slow
@pytest.mark.parametrize("when", ["crash_before", "crash_after"])
@pytest.mark.parametrize("write", range(1, 10))
async def test_an_operator_that_dies_at_any_write_loses_and_doubles_nothing(
    world: World, when: str, write: int
) -> None:
    await world.schedule(retention={"keepLast": 1})
    operator = world.operator()
    setattr(operator.spy, when, write)
    await operator.see()
    for minute in (1, 2, 3):
        world.clock.jump(54)
        operator = await world.survive(operator)
        if minute > 1:
            await world.end(world.slot(minute - 1))
            operator = await world.survive(operator)
        world.clock.jump(6)
        operator = await world.survive(operator)
    assert len(world.operators) == 2  # it did die
    assert world.created() == [world.slot(n) for n in (1, 2, 3)]
    assert await world.names() == [world.slot(n) for n in (2, 3)]
    status = await world.status()
    assert status["lastScheduleTime"] == world.time(3)
    assert status["nextScheduleTime"] == world.time(4)
    assert status["active"] == [{"name": world.slot(3)}]
    assert status.get("missedRuns", 0) == 0
    deleted = [m for _, r, m in world.said.events if r == "RetentionDeleted"]
    assert deleted in ([f"backup {world.slot(1)} is deleted with its data"], [])  # an event may die with its operator


async def test_two_operators_at_once(world: World) -> None:
    await world.schedule()
    one, other = world.operator(), world.operator()
    await one.settle()
    await other.settle()
    for minute in range(1, 6):
        world.clock.jump(60)
        outcomes = await asyncio.gather(
            *(o.reconciler.reconcile(world.key) for o in (one, other)), return_exceptions=True
        )
        assert all(isinstance(outcome, (RequeueAfter, Conflict)) for outcome in outcomes)
        await one.settle()
        await other.settle()
        assert await world.names() == [world.slot(n) for n in range(1, minute + 1)]
        await world.end(world.slot(minute))
    status = await world.status()
    assert status.get("missedRuns", 0) == 0
    assert status["lastScheduleTime"] == world.time(5)
    assert not [r for _, r, _ in world.said.events if r == "NameTaken"]


async def test_an_operator_that_was_away_and_sees_nothing_of_what_another_did(world: World) -> None:
    await world.schedule(concurrencyPolicy="Queue")
    one, late = world.operator(), world.operator()
    await one.settle()
    await late.see()
    for _ in range(3):
        world.clock.jump(60)
        await one.settle()
    with pytest.raises(Conflict):  # its schedule is that of three minutes ago
        await late.reconciler.reconcile(world.key)
    assert await world.names() == [world.slot(n) for n in (1, 2, 3)]


async def test_a_name_that_somebody_else_has(world: World) -> None:
    await world.schedule()
    foreign = body(BACKUPS, world.slot(1))
    foreign["metadata"] |= {"namespace": world.namespace, "labels": {labels.SCHEDULE: NAME}}
    await world.client.create(BACKUPS, foreign)
    operator = world.operator()
    await operator.settle()
    for _ in range(2):
        world.clock.jump(60)
        await operator.settle()
    assert await world.names() == [world.slot(1), world.slot(2)]
    assert (await world.status())["missedRuns"] == 1
    assert [(t, r) for t, r, _ in world.said.events if t == "Warning"] == [("Warning", "NameTaken")]
    kept = await world.backup(world.slot(1))
    assert kept["spec"] == foreign["spec"]


async def test_replace_and_retention_are_changes_that_the_server_allows(world: World) -> None:
    await world.schedule(concurrencyPolicy="Replace", retention={"keepLast": 1})
    operator = world.operator()
    await operator.settle()
    world.clock.jump(60)
    await operator.settle()
    await world.end(world.slot(1))
    await world.client.patch(
        BACKUPS, Key(world.namespace, world.slot(1)), {"metadata": {"finalizers": [labels.BACKUP_FINALIZER]}}
    )
    for _ in range(2):
        world.clock.jump(60)
        await operator.settle()
    assert (await world.backup(world.slot(2)))["spec"]["cancel"] is True
    await world.end(world.slot(3))
    await operator.settle()
    gone = await world.backup(world.slot(1))
    assert gone["spec"]["deletionPolicy"] == "Delete"
    assert "deletionTimestamp" in gone["metadata"]
    assert (await world.status())["retained"] == 1


async def test_what_is_made_and_what_is_said(world: World) -> None:
    await world.create(schedule="0 0 29 2 *", immediate=True, template={"type": "Full"}, ownerReference="Schedule")
    operator = world.operator()
    await operator.settle()
    (name,) = await world.names()
    made = await world.backup(name)
    uid = (await world.client.get(SCHEDULES, world.key))["metadata"]["uid"]
    assert made["metadata"]["labels"] == {**LABELS, labels.SCHEDULE: NAME}
    assert made["metadata"]["annotations"][labels.SCHEDULE_UID] == uid
    assert made["metadata"]["ownerReferences"][0]["uid"] == uid
    assert made["spec"] == {"backupType": "AWS_S3", "target": "b", "type": "Full"}
    await world.end(name)
    world.clock.jump(5)
    await operator.settle()
    status = await world.status()
    assert {c["type"]: c["status"] for c in status["conditions"]} == {
        "Ready": "True", "ScheduleValid": "True", "Suspended": "False", "LastBackupSucceeded": "True",
        "RetentionHealthy": "True",
    }  # fmt: skip
    assert status["lastSuccessfulBackup"] == name
    assert status["observedGeneration"] == 1
    assert msgspec.convert(status, ScheduleStatus).handled_until == status["handledUntil"]  # nothing is pruned
    headers = {"Accept": "application/json;as=Table;g=meta.k8s.io;v=v1"}
    table = msgspec.json.decode((await world.client.raw("GET", SCHEDULES.path(world.namespace), headers=headers)).body)
    cells = dict(zip((c["name"] for c in table["columnDefinitions"]), table["rows"][0]["cells"], strict=True))
    assert cells["Schedule"] == "0 0 29 2 *"
    assert cells["Next"] == status["nextScheduleTime"]
    assert cells["Last-Success"] not in ("", None, "<unknown>")


@pytest.mark.slow
async def test_scheduled_backups_run_and_the_older_one_goes_with_its_data(backup_world: BackupWorld) -> None:  # noqa: F811
    await backup_world.datacenter()
    world = World(backup_world.client, backup_world.namespace)
    await world.create(schedule="0 0 29 2 *", immediate=True, retention={"keepLast": 1})
    operator = world.operator()
    await operator.settle()
    (first,) = await world.names()
    await completed(backup_world, first)
    status = backup_world.get(first).status
    assert status.snapshot_tag == first
    assert status.effective_selector == "cassandra-datacenter=foo-cassandra"
    await world.client.patch(SCHEDULES, world.key, {"spec": {"schedule": "* * * * *"}})
    await operator.settle()
    world.clock.jump(60)
    await operator.settle()
    await completed(backup_world, world.slot(1))
    assert len(backup_world.agents.bucket.records) == 2
    await operator.settle()
    backup_world.dirty.add(BACKUPS)
    await backup_world.run(lambda: backup_world.phase(first) == "gone", within=30)
    assert len(backup_world.agents.bucket.records) == 1
    assert await world.names() == [world.slot(1)]
    world.clock.jump(5)
    await operator.settle()
    found = await world.status()
    assert (found["lastSuccessfulBackup"], found["retained"]) == (world.slot(1), 1)


async def completed(world: BackupWorld, name: str) -> None:
    world.dirty.add(BACKUPS)
    await world.run(lambda: world.phase(name) == "Completed")
