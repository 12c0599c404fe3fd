"""Cancelling, deleting, and killing the operator: at every step."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from agent.protocol import Kind
from controller.errors import Conflict
from reconcilers import labels
from reconcilers.agents import AgentUnreachable
from reconcilers.api.backup import BACKUPS
from tests.api.backup.spy import Crash
from tests.fakes.agents import DENIED, FakeAgents, Refusal
from tests.fakes.clock import settle

if TYPE_CHECKING:
    from reconcilers.agents import Address
    from tests.api.backup.world import World

PHASES = ("Queued", "Snapshotting", "Uploading", "Finalizing")


def clean(world: World) -> bool:
    running = [o for a in world.agents for r in a.journal.values() if not (o := r.operation).state.final]
    return not running and not any(a.snapshots for a in world.agents)


def slow(world: World) -> None:
    for kind in (Kind.PROBE, Kind.SNAPSHOT, Kind.BACKUP, Kind.COMMIT):
        world.agents.script(kind, seconds=20)


@pytest.mark.parametrize("phase", ["Pending", *PHASES])
async def test_cancel(world: World, phase: str) -> None:
    await world.datacenter(ready=phase != "Pending")
    slow(world)
    await world.backup()
    await world.run(lambda: world.phase() == phase)
    await world.patch(BACKUPS, "backup", {"spec": {"cancel": True}})
    await world.run(lambda: world.phase() not in ("", phase), within=10)
    status = world.get().status
    assert status.phase == "Cancelled"
    assert (status.reason, status.message) == ("Cancelled", "cancelled by spec.cancel")
    assert {n.phase for n in status.nodes} <= {"Cancelled", "Completed"}
    assert world.condition("Failed")[:2] == ("False", "Cancelled")
    assert world.condition("Complete")[:2] == ("False", "Cancelled")
    assert ("Normal", "Cancelled", "cancelled by spec.cancel") in await world.events()
    assert not any(a.snapshots for a in world.agents)
    assert world.agents.bucket.records == {}
    await world.rest(120)
    assert world.agents.bucket.records == {}, "nothing was left to commit it later"
    assert clean(world)
    assert await world.leases() == {}
    began = any(n.start_time for n in status.nodes)
    assert world.get().metadata.finalizers == ([labels.BACKUP_FINALIZER] if began else [])


async def test_cancel_when_the_phase_could_not_be_written(world: World) -> None:
    """The operator died before it could say that the uploads begin: none has begun."""
    await world.datacenter()
    slow(world)
    await world.backup()
    await world.run(lambda: world.phase() == "Snapshotting")
    await world.run(lambda: any(a.of_kind(Kind.SNAPSHOT) for a in world.agents))
    await world.run(lambda: all(a.snapshots for a in world.agents))
    assert world.phase() == "Snapshotting"
    world.spy.crash_before = len(world.spy.writes) + 1
    with pytest.raises(Crash):
        await world.reconcile(BACKUPS.kind, world.key("backup"))
    await settle()
    assert not any(a.of_kind(Kind.BACKUP) for a in world.agents)
    assert world.phase() == "Snapshotting"
    await world.patch(BACKUPS, "backup", {"spec": {"cancel": True}})
    await world.restart()
    started = world.clock.monotonic()
    await world.run(lambda: world.phase() == "Cancelled")
    assert world.clock.monotonic() - started < 10, "nobody waited for the uploads to end by themselves"
    assert clean(world)


@pytest.mark.parametrize("phase", ["Pending", *PHASES])
async def test_delete(world: World, phase: str) -> None:
    await world.datacenter(ready=phase != "Pending")
    slow(world)
    key = await world.backup()
    await world.run(lambda: world.phase() == phase)
    await world.delete(BACKUPS, "backup")
    await world.run(lambda: world.phase() == "gone", within=10)
    assert await world.leases() == {}
    assert not any(a.snapshots for a in world.agents)
    await world.rest(60)
    assert clean(world)
    assert world.operations.statistics()["followed"] == 0
    assert key.name == "backup"


async def test_a_request_that_lands_after_the_end_begins_nothing(world: World) -> None:
    """The network held it up for longer than the operator waited, and everything else went through."""
    await world.datacenter()
    slow(world)
    deliver, late = world.agents.request, []

    async def hold_up(address: Address, method: str, path: str, *, body: bytes, **named: Any) -> tuple[int, bytes]:
        if method == "PUT" and f".{Kind.BACKUP}." in path and address.pod.endswith("-0"):
            late.append((address.pod, path, body))
            raise AgentUnreachable("AgentUnreachable", "no answer")
        return await deliver(address, method, path, body=body, **named)

    world.agents.request = hold_up  # type: ignore[method-assign]
    await world.backup()
    await world.run(lambda: late)
    await world.patch(BACKUPS, "backup", {"spec": {"cancel": True}})
    await world.run(lambda: world.phase() == "Cancelled")
    for pod, path, body in late:
        with pytest.raises(Refusal, match="cancelled before"):
            await world.agents[pod].handle("PUT", path, body)
    await world.rest(60)
    assert clean(world)


async def test_delete_of_one_that_ended(world: World) -> None:
    await world.datacenter()
    await world.backup()
    await world.run(lambda: world.phase() == "Completed")
    await world.delete(BACKUPS, "backup")
    await world.run(lambda: world.phase() == "gone")
    assert len(world.agents.bucket.records) == 1, "what is in the store is kept"


async def test_delete_while_it_fails_keeps_its_reason(world: World) -> None:
    await world.datacenter()
    world.agents["cassandra-foo-cassandra-0"].script(Kind.BACKUP, fail=[DENIED])
    world.agents["cassandra-foo-cassandra-1"].script(Kind.BACKUP, seconds=100, ignores_cancel=True)
    await world.backup()
    await world.run(lambda: world.condition("Running")[1] == "Aborting")
    await world.delete(BACKUPS, "backup")
    ended: list[str] = []
    world.watched.append(lambda: ended.append(world.phase()))
    await world.run(lambda: world.phase() == "gone")
    assert "Failed" in ended
    assert "Cancelled" not in ended


async def test_the_name_can_be_used_again(world: World) -> None:
    await world.datacenter()
    world.agents.script(Kind.BACKUP, seconds=60)
    await world.backup()
    await world.run(lambda: world.phase() == "Uploading")
    await world.delete(BACKUPS, "backup")
    await world.run(lambda: world.phase() == "gone")
    await world.backup()
    await world.run(lambda: world.phase() == "Completed")


async def once_more(world: World, name: str) -> None:
    """The same world with agents that know nothing yet, and no other backup."""
    for backup in world.stores[BACKUPS].all():
        await world.delete(BACKUPS, backup.metadata.name)
    await world.run(lambda: not world.stores[BACKUPS].all())
    old = world.agents
    await world.stop()
    world.agents = FakeAgents(world.clock)
    world.agents.tokens = old.tokens
    for agent in old:
        world.agents.add(agent.pod, agent.ip, agent.rack)
        world.agents[agent.pod].scripts = agent.scripts
    await world.start()
    await world.backup(name)


def was_done_once(world: World, name: str) -> None:
    assert world.phase(name) == "Completed"
    assert set(world.agents.executed.values()) == {1}
    assert [what for what, _ in world.agents.order] == ["snapshot"] * 3 + ["uploaded"] * 3 + ["commit"]
    assert clean(world)


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_the_operator_dies_at_each_write(world: World, moment: str) -> None:
    await world.datacenter()
    world.agents.script(Kind.BACKUP, seconds=6)
    number, crashes = 0, 0
    while True:
        number += 1
        name, session = f"b{number}", world.session
        await once_more(world, name)
        setattr(world.spy, f"crash_{moment}", len(world.spy.writes) + number)
        await world.run(lambda name=name: world.phase(name) == "Completed")
        await world.rest(1)
        was_done_once(world, name)
        assert await world.leases() == {}
        if world.session == session + 1:
            break
        crashes += 1
    assert crashes >= 8, "there are that many writes in a run"


async def test_the_operator_dies_after_each_reconcile(world: World) -> None:
    await world.datacenter()
    world.agents.script(Kind.BACKUP, seconds=6)
    number, crashes = 0, 0
    while True:
        number += 1
        name, session = f"b{number}", world.session
        await once_more(world, name)
        world.restart_after = world.reconciles + number
        await world.run(lambda name=name: world.phase(name) == "Completed")
        was_done_once(world, name)
        if world.session == session + 1:
            break
        crashes += 1
    assert crashes >= 10


async def test_an_operator_that_dies_all_the_time_comes_to_the_end(world: World) -> None:
    await world.datacenter()
    world.agents.script(Kind.BACKUP, seconds=30)
    await world.backup()
    for _ in range(100):
        await world.rest(3)
        await world.restart()
        if world.phase() == "Completed":
            break
    was_done_once(world, "backup")


async def test_it_dies_while_the_snapshots_are_cleared(world: World) -> None:
    await world.datacenter()
    world.agents.script(Kind.BACKUP, seconds=100)
    await world.backup()
    await world.run(lambda: world.phase() == "Uploading")
    await world.patch(BACKUPS, "backup", {"spec": {"cancel": True}})
    world.spy.crash_after = len(world.spy.writes) + 1
    await world.run(lambda: world.phase() == "Cancelled")
    await world.rest(1)
    assert clean(world)
    assert await world.leases() == {}


async def test_two_operators_at_once_do_no_harm(world: World) -> None:
    """As for a moment around a change of leaders: each write is tested against what its writer has seen."""
    await world.datacenter()
    world.agents.script(Kind.BACKUP, seconds=6)
    await world.backup()
    old = world.reconcilers[BACKUPS.kind]
    tasks, world._tasks = world._tasks, []
    await world.start()
    key = world.key("backup")
    for _ in range(60):
        await world.rest(1)
        stale = world.stores[BACKUPS].get(key)
        assert stale is not None
        with suppress(Conflict):
            await old.reconcile(key)
        world.dirty.add(BACKUPS)
        if world.phase() == "Completed":
            break
    was_done_once(world, "backup")
    world._tasks += tasks
