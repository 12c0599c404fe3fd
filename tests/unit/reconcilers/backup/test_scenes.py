"""What the model (model/) has found, each as one scene. Its rules watch here, too."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from agent.protocol import Kind
from reconcilers import labels
from reconcilers.api.backup import BACKUPS, CassandraBackup
from tests.fakes.agents import DENIED
from tests.unit.reconcilers.backup.model.cluster import key_of
from tests.unit.reconcilers.backup.model.fates import Fate
from tests.unit.reconcilers.backup.model.invariants import Invariants
from tests.unit.reconcilers.backup.model.steps import delete_datacenter
from tests.unit.reconcilers.backup.model.world import World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

FOO = {labels.SEED_DATACENTER: "foo"}
ALL = {"app": "cassandra"}


@asynccontextmanager
async def scene() -> AsyncIterator[World]:
    """Datacenter foo of two nodes, bar of one, and an operator."""
    world = World()
    rules = Invariants(world)
    world.hurt = True
    try:
        await world.datacenter("foo", 2)
        await world.datacenter("bar", 1)
        world.lead()
        yield world
        rules.at_the_end()
        world.check()
    finally:
        await world.end()


def the(world: World, name: str = "backup") -> CassandraBackup:
    return next(b for b in world.backups() if b.metadata.name == name)


async def until(world: World, phase: str, name: str = "backup") -> CassandraBackup:
    for _ in range(1000):
        if the(world, name).status.phase == phase:
            return the(world, name)
        await world.passes(0.5)
    raise AssertionError(f"{name} is {the(world, name).status.phase}\n" + "\n".join(world.told))


async def cancel(world: World, name: str = "backup") -> None:
    await world.server.patch(BACKUPS, key_of(name), {"spec": {"cancel": True}})


async def test_one_datacenters_success_does_not_hide_why_another_failed() -> None:
    async with scene() as world:
        world.agents["bar-0"].script(Kind.COMMIT, fail=[DENIED], seconds=1.0)
        await world.create_backup("backup", ALL)
        status = (await until(world, "Failed")).status
        assert (status.reason, status.message) == ("AccessDenied", f"bar-0: {DENIED.message}")


async def test_no_commit_begins_before_its_phase_is_written() -> None:
    """Else a cancel would not look for it, and the record of a cancelled backup would come into the bucket later."""
    async with scene() as world:
        world.agents.script(Kind.COMMIT, seconds=60.0)
        await world.create_backup("backup", FOO)
        await until(world, "Uploading")
        for number in range(3):
            world.calls.plan(number, Fate.REFUSED)
        await world.passes(1.2)
        assert the(world).status.phase == "Uploading"
        await cancel(world)
        await until(world, "Cancelled")
        assert not any(agent.of_kind(Kind.COMMIT) for agent in world.agents)


async def test_an_operator_that_was_away_asks_before_it_gives_a_node_up() -> None:
    async with scene() as world:
        world.agents.script(Kind.BACKUP, seconds=400.0)
        await world.create_backup("backup", FOO, nodeProgressDeadlineSeconds=60)
        await until(world, "Uploading")
        world.kill(world.operators[0], pause=300.0)
        await world.passes(302.0)
        assert world.living()
        await until(world, "Completed")


async def test_an_operator_that_was_away_still_clears_what_it_gave_up() -> None:
    async with scene() as world:
        world.pause = 300.0
        world.agents.script(Kind.BACKUP, seconds=400.0)
        await world.create_backup("backup", FOO, nodeProgressDeadlineSeconds=60)
        await until(world, "Uploading")
        world.calls.plan(0, Fate.DIES_AFTER)
        await cancel(world)
        await world.passes(1.0)
        assert the(world).status.reason == "Cancelled"
        assert not world.living()
        status = (await until(world, "Cancelled")).status
        assert status.message == "cancelled by spec.cancel"
        assert not any(agent.snapshots for agent in world.agents)


async def test_no_agent_is_asked_before_the_start_is_written() -> None:
    """Else a cancel would take it for one that never began, and leave its snapshots."""
    async with scene() as world:
        world.agents.script(Kind.PROBE, seconds=0.1)
        world.agents.script(Kind.SNAPSHOT, seconds=30.0)
        await world.create_backup("backup", FOO)
        for number in (4, 7, 10, 13):
            world.calls.plan(number, Fate.REFUSED)
        await world.passes(0.6)
        assert the(world).status.phase == "Queued"
        await cancel(world)
        await until(world, "Cancelled")
        assert not any(agent.executed for agent in world.agents)


async def test_what_the_operator_itself_cancels_is_not_the_reason() -> None:
    """The end was decided and not yet written, when its own cancel came back."""
    async with scene() as world:
        world.agents.script(Kind.BACKUP, seconds=60.0)
        await world.create_backup("backup", FOO, retries=0)
        await until(world, "Uploading")
        for number in range(2):
            world.calls.plan(number, Fate.REFUSED)
        world.agents["foo-0"].restart()
        assert (await until(world, "Failed")).status.reason == "AgentRestarted"


async def test_an_operation_that_somebody_else_cancels_fails_the_backup() -> None:
    async with scene() as world:
        world.agents.script(Kind.BACKUP, seconds=60.0)
        await world.create_backup("backup", FOO)
        status = await until(world, "Uploading")
        world.agents["foo-0"].journal[f"{status.metadata.uid}.backup.1"].cancel()
        assert (await until(world, "Failed")).status.reason == "OperationCancelled"


async def test_a_wish_to_delete_the_data_is_heard_while_the_object_goes() -> None:
    async with scene() as world:
        await world.create_backup("backup", FOO)
        await until(world, "Completed")
        await world.passes(10.0)
        world.calls.plan(0, Fate.HANGS)  # the finalizer's patch
        await world.server.delete(BACKUPS, key_of("backup"))
        await world.passes(1.0)
        await world.server.patch(BACKUPS, key_of("backup"), {"spec": {"deletionPolicy": "Delete"}})
        await world.passes(60.0)
        assert not world.backups()
        assert not world.agents.bucket.records


async def test_a_request_that_comes_after_its_cancellation_begins_nothing() -> None:
    async with scene() as world:
        await world.create_backup("backup", FOO)
        await until(world, "Snapshotting")
        world.starts.plan(0, Fate.DIES_LATE)
        await world.passes(3.5)
        await cancel(world)
        await until(world, "Cancelled")
        await world.passes(20.0)
        assert any("comes to foo-0 at last" in line for line in world.told)
        assert not world.agents["foo-0"].of_kind(Kind.SNAPSHOT)


async def test_a_backup_that_is_shown_once_more_gets_no_helper() -> None:
    """Its finalizer is removed and its helper pod is gone, and the store has heard of the pod alone."""
    async with scene() as world:
        world.lag = 4.0
        world.kill(world.operators[0])
        await world.passes(3.0)
        await world.create_backup("backup", FOO, deletionPolicy="Delete")
        await until(world, "Completed")
        await delete_datacenter(world, 0, 0)
        await world.server.delete(BACKUPS, key_of("backup"))
        await world.passes(60.0)
        assert not world.backups()
        assert sum("helper pod" in line for line in world.told) == 1


async def test_a_write_whose_answer_is_lost_has_its_slot() -> None:
    async with scene() as world:
        world.agents.script(Kind.BACKUP, seconds=60.0)
        await world.create_backup("backup", FOO)
        await until(world, "Uploading")
        await world.passes(7.0)
        world.calls.plan(0, Fate.LOST)
        world.requests.plan(0, Fate.REFUSED)  # which wakes it, with other counters
        await until(world, "Completed")
        assert any("answer is lost" in line for line in world.told)


async def test_no_agent_is_asked_any_more_when_the_end_is_written() -> None:
    """The watch stands still, and does not tell of the end."""
    async with scene() as world:
        for agent in world.agents:
            agent.silent = True
        partial = {"nodeFailurePolicy": "AllowPartial", "minNodes": 1}
        await world.create_backup("backup", FOO, nodeProgressDeadlineSeconds=60, **partial)
        await until(world, "Snapshotting")
        world.operators[0].feeds[BACKUPS].stalled = True
        await until(world, "Failed")
        for agent in world.agents:
            agent.silent = False
        await world.passes(30.0)
        assert not any(agent.executed for agent in world.agents)
        world.operators[0].feeds[BACKUPS].go_on()
        await world.passes(10.0)
