from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from agent.protocol import ClearSpec, Kind, SnapshotSpec, State
from controller.clock import parse_rfc3339, rfc3339
from controller.resource import Key
from reconcilers.agents import Address, Agents
from reconcilers.api.backup import BACKUPS
from reconcilers.api.restore import RESTORES
from reconcilers.identity import MasterKey
from reconcilers.operations import Operations, View
from tests.fakes.agents import FakeAgents, Refusal
from tests.fakes.clock import FakeClock, settle

if TYPE_CHECKING:
    from collections.abc import Iterator

OWNER, OTHER = Key("ns", "backup"), Key("ns", "other")
SPEC = SnapshotSpec(tag="t")


class World:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.agents = FakeAgents(self.clock)
        self.agent = self.agents.add("p-0", "10.0.0.1")
        self.woken: list[Key] = []
        self.new_operator()

    def new_operator(self) -> None:
        self.operations = Operations(Agents(self.agents, MasterKey(b"m" * 32)), self.clock)
        self.mine = self.operations.of(BACKUPS, self.woken.append)

    def address(self, ip: str = "10.0.0.1", uid: str = "uid-1") -> Address:
        return Address("ns", "p-0", uid, ip, "dc-uid")

    def want(self, operation: str = "a", *, owner: Key = OWNER, spec: Any = SPEC, **where: str) -> View:
        address = self.address(**where)
        return self.mine.want(owner, address, operation, kind=Kind.SNAPSHOT, spec=spec)

    def cancel(self, operation: str = "a") -> View:
        return self.mine.cancel(OWNER, self.address(), operation, Kind.SNAPSHOT)

    def puts(self) -> int:
        return sum(1 for _, method, _ in self.agents.requests if method == "PUT")

    async def end(self) -> None:
        task = asyncio.create_task(self.operations.run())
        await settle()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def world() -> Iterator[World]:
    made = World()
    yield made
    await made.end()


async def test_wanted_often_it_is_started_once(world: World) -> None:
    for _ in range(3):
        view = world.want()
        await settle()
    assert world.puts() == 1
    assert world.agent.executed == {"a": 1}
    assert view.operation is not None
    assert view.operation.state is State.RUNNING


async def test_it_ends_and_wakes_its_owner(world: World) -> None:
    view = world.want()
    await settle()
    assert world.woken == [OWNER]
    await world.clock.advance(1)
    assert world.woken == [OWNER, OWNER]
    assert view.done
    assert view.operation is not None
    assert view.operation.state is State.SUCCEEDED
    requests = len(world.agents.requests)
    await world.clock.advance(300)
    assert len(world.agents.requests) == requests, "what has ended is asked for no more"
    assert world.want() is view


async def test_counters_wake_nobody_but_are_seen(world: World) -> None:
    world.agent.script(Kind.BACKUP, seconds=60, bytes=6000)
    world.agent.snapshots.add("t")
    view = world.mine.want(OWNER, world.address(), "b", kind=Kind.BACKUP, spec=SPEC)
    await settle()
    assert len(world.woken) == 1
    await world.clock.advance(30)
    assert len(world.woken) == 1
    assert view.operation is not None
    assert view.operation.progress.bytes_done == 3000
    assert view.moved_at == rfc3339(world.clock.now())


async def test_an_idle_operation_is_polled_slowly(world: World) -> None:
    world.agent.script(Kind.SNAPSHOT, stuck=True)
    world.want()
    await world.clock.advance(600)
    assert len(world.agents.requests) <= 1 + 600 / 30 + 1
    assert len(world.woken) == 1


async def test_movement_is_by_the_operators_clock(world: World) -> None:
    world.agent.script(Kind.SNAPSHOT, seconds=10)
    view = world.want()
    await settle()
    started = view.moved_at
    world.agent.journal["a"].operation.last_progress_at = "2000-01-01T00:00:00Z"  # its clock is wrong
    await world.clock.advance(5)
    assert (parse_rfc3339(view.moved_at) - parse_rfc3339(started)).total_seconds() == 5


async def test_what_stood_still_while_nobody_looked_is_known_to(world: World) -> None:
    world.agent.script(Kind.SNAPSHOT, stuck=True)
    world.want()
    await settle()
    await world.end()
    await world.clock.advance(500)
    world.new_operator()
    view = world.want()
    await settle()
    assert view.operation is not None
    assert view.moved_at == view.operation.last_progress_at
    assert (world.clock.now() - parse_rfc3339(view.moved_at)).total_seconds() == 500


async def test_silence_is_said_once_and_recovery_too(world: World) -> None:
    world.agent.script(Kind.SNAPSHOT, seconds=100)
    view = world.want()
    await settle()
    world.agent.silent = True
    await world.clock.advance(60)
    assert view.silent_since is not None
    assert "p-0 does not answer" in view.silence
    assert world.woken == [OWNER, OWNER]
    assert world.operations.statistics() == {"followed": 1, "silent": 1}
    world.agent.silent = False
    await world.clock.advance(10)
    assert view.silent_since is None
    assert view.silence == ""
    assert world.woken == [OWNER] * 3
    assert world.puts() == 1, "it is still known"
    assert world.operations.statistics() == {"followed": 1, "silent": 0}


async def test_silence_is_asked_into_with_growing_pauses(world: World) -> None:
    world.agent.silent = True
    world.want()
    await world.clock.advance(600)
    assert 50 <= world.puts() <= 70
    assert max(world.clock.slept) == 10


async def test_an_operation_that_the_agent_forgot_is_put_again(world: World) -> None:
    world.agent.script(Kind.SNAPSHOT, seconds=100)
    view = world.want()
    await settle()
    world.agent.lose_volume()
    await world.clock.advance(40)
    assert world.puts() == 2
    assert view.silent_since is None
    assert view.operation is not None
    assert view.operation.state is State.RUNNING


async def test_a_lost_operation_of_others_is_waited_for(world: World) -> None:
    view = world.want(spec=None)
    await world.clock.advance(60)
    assert view.operation is None
    assert world.puts() == 0
    world.agent.begin("a", Kind.SNAPSHOT, {"tag": "t"})
    await world.clock.advance(15)
    assert view.done


async def test_another_process_of_the_agent_is_news(world: World) -> None:
    world.agent.script(Kind.SNAPSHOT, seconds=100)
    view = world.want()
    await settle()
    world.agent.restart()
    await settle()
    assert len(world.woken) == 2
    assert view.operation is not None
    assert view.operation.attempts == 2


async def test_a_new_address_under_the_same_name_goes_on(world: World) -> None:
    world.agent.script(Kind.SNAPSHOT, seconds=100)
    view = world.want()
    await settle()
    world.agents.remove("p-0")
    world.agents.add("p-0", "10.0.0.9").restart()
    after = world.want(ip="10.0.0.9", uid="uid-2")
    await settle()
    assert after is view
    assert world.agent.executed == {"a": 1}
    await world.clock.advance(100)
    assert view.done
    followers = [t for t in asyncio.all_tasks() if t.get_name().startswith("follow")]
    assert followers == []


async def test_a_refusal_is_the_end(world: World) -> None:
    world.agent.begin("a", Kind.CLEAR_SNAPSHOTS, {"tag": "other"})
    view = world.want()
    await settle()
    assert view.done
    assert view.refused is not None
    assert view.refused.reason == "OtherSpec"
    assert world.woken == [OWNER]


@pytest.mark.parametrize("status", [500, 502, 503])
async def test_an_agent_that_starts_or_stops_is_only_silent(world: World, status: int) -> None:
    world.agent.answers["PUT"] = Refusal(status, "the agent stops", "Stopping")
    view = world.want()
    await settle()
    assert not view.done
    assert "the agent stops" in view.silence
    world.agent.answers.clear()
    await world.clock.advance(2)
    assert view.done


async def test_cancel(world: World) -> None:
    world.agent.script(Kind.SNAPSHOT, seconds=100)
    world.want()
    await settle()
    view = world.cancel()
    assert not view.done
    await settle()
    assert view.done
    assert view.operation is not None
    assert view.operation.state is State.CANCELLED
    assert world.cancel() is view
    deletes = [r for r in world.agents.requests if r[1] == "DELETE"]
    assert len(deletes) == 1


async def test_cancel_of_what_never_began_is_done(world: World) -> None:
    view = world.cancel()
    await settle()
    assert view.done
    assert view.refused is not None
    assert view.refused.reason == "UnknownOperation"
    assert world.agent.executed == {}


async def test_a_request_that_comes_after_the_cancellation_begins_nothing(world: World) -> None:
    """Or by an operator that slept, and does not know yet that another one leads."""
    world.cancel()
    await settle()
    await world.end()
    world.agent.restart()
    world.new_operator()
    view = world.want()
    await world.clock.advance(60)
    assert view.done
    assert view.refused is not None
    assert view.refused.reason == "OperationWithdrawn"
    assert world.puts() == 1, "it is the end, and not tried again"
    assert world.agent.executed == {}


async def test_cancel_waits_for_an_agent_that_takes_its_time(world: World) -> None:
    script = world.agent.script(Kind.SNAPSHOT, seconds=40, ignores_cancel=True)
    world.want()
    await settle()
    view = world.cancel()
    await world.clock.advance(20)
    assert not view.done
    assert view.silent_since is None
    await world.clock.advance(20)
    assert view.done
    assert script.ignores_cancel


async def test_a_failure_is_dismissed_and_its_next_try_watched(world: World) -> None:
    running = world.agent.begin("a", Kind.RESTORE, {})
    view = world.want(spec=None)
    await settle()
    running.cancel()
    await settle()
    assert view.done
    address = world.address()
    for _ in range(5):  # every reconcile says it again
        world.mine.again(OWNER, address, "a")
        world.want(spec=None)
        await settle()
    before = len(world.agents.requests)
    await world.clock.advance(120)
    assert sum(1 for r in world.agents.requests if r[1] == "DELETE") == 1, "a later one would end the next try"
    assert len(world.agents.requests) - before < 10, "nothing spins"
    woken = len(world.woken)
    running.begin(again=True)
    await settle()
    assert len(world.woken) == woken + 1
    assert view.operation is not None
    assert view.operation.state is State.RUNNING
    await world.clock.advance(2)
    assert view.operation.state is State.SUCCEEDED


async def test_the_next_try_is_found_at_another_address(world: World) -> None:
    running = world.agent.begin("a", Kind.RESTORE, {})
    running.cancel()
    view = world.want(spec=None)
    await settle()
    world.mine.again(OWNER, world.address(), "a")
    await settle()
    world.agents.remove("p-0")
    world.agents.add("p-0", "10.0.0.2")
    assert world.want(spec=None, ip="10.0.0.2") is view
    await settle()
    running.begin(again=True)
    await world.clock.advance(5)
    assert view.operation is not None
    assert view.operation.state is State.SUCCEEDED


async def test_forget_ends_the_owners_tasks_alone(world: World) -> None:
    world.agent.script(Kind.SNAPSHOT, stuck=True)
    world.want("a")
    world.want("b", owner=OTHER)
    await settle()
    world.mine.forget(OWNER)
    await settle()
    names = {t.get_name() for t in asyncio.all_tasks()}
    assert "follow a at p-0" not in names
    assert "follow b at p-0" in names
    assert world.operations.statistics()["followed"] == 1


async def test_a_restore_of_the_same_name_is_another_owner(world: World) -> None:
    """It wants other things of the same agent, is told of its own, and forgets nothing of the backup's."""
    restored: list[Key] = []
    restores = world.operations.of(RESTORES, restored.append)
    world.agent.script(Kind.SNAPSHOT, seconds=60)
    view = world.want("a")
    other = restores.want(OWNER, world.address(), "b", kind=Kind.CLEAR_SNAPSHOTS, spec=ClearSpec(tag="t"))
    await settle()
    assert restores.known(OWNER, world.address(), "a") is None
    assert restores.known(OWNER, world.address(), "b") is other
    assert (len(world.woken), len(restored)) == (1, 1)
    restores.forget(OWNER)
    await world.clock.advance(60)
    assert view.done
    assert len(world.woken) == 2
    assert world.operations.statistics()["followed"] == 1


async def test_after_forgetting_it_is_read_back(world: World) -> None:
    world.want()
    await world.clock.advance(1)
    world.mine.forget(OWNER)
    view = world.want()
    await settle()
    assert view.done
    assert world.agent.executed == {"a": 1}


async def test_one_operation_for_two_owners(world: World) -> None:
    world.want()
    world.want(owner=OTHER)
    await world.clock.advance(1)
    assert set(world.woken) == {OWNER, OTHER}
    assert world.agent.executed == {"a": 1}


async def test_a_defect_is_logged_and_tried_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = FakeAgents.request, []

    async def broken(*args: Any, **named: Any) -> tuple[int, bytes]:
        calls.append(1)
        return (200, b"{no json") if len(calls) == 1 else await real(*args, **named)

    monkeypatch.setattr(FakeAgents, "request", broken)
    view = world.want()
    await world.clock.advance(5)
    assert view.done
    assert view.operation is not None


async def test_specs_travel_whole(world: World) -> None:
    world.mine.want(OWNER, world.address(), "c", kind=Kind.CLEAR_SNAPSHOTS, spec=ClearSpec(tag="x"))
    await settle()
    assert world.agent.journal["c"].spec == {"tag": "x"}
