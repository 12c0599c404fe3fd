"""Any order of time, deaths, lagging watches and ends: each slot has one backup, and each is accounted for."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from controller.clock import parse_rfc3339
from controller.errors import Conflict, ServerError
from controller.reconcile import RequeueAfter
from controller.resource import Key
from reconcilers.api.backup import BACKUPS
from reconcilers.api.schedule import SCHEDULES
from tests.unit.reconcilers.schedule.objects import NAME, START
from tests.unit.reconcilers.schedule.world import KEY, World

if TYPE_CHECKING:
    from controller.resource import Resource


class Dead(BaseException):
    pass


seconds = st.integers(1, 400)
ends = st.sampled_from(["Completed", "Failed", "Cancelled", "PartiallyCompleted"])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("pass"), seconds),
        st.tuples(st.just("end"), ends),
        st.tuples(st.just("lag"), seconds),
        st.tuples(st.just("die"), st.tuples(st.integers(1, 6), st.sampled_from(["intercept", "after"]))),
        st.tuples(st.just("fail"), st.tuples(st.integers(1, 6), st.sampled_from(["intercept", "after"]))),
    ),
    min_size=1,
    max_size=25,
)
specs = st.fixed_dictionaries(
    {"concurrencyPolicy": st.sampled_from(["Queue", "Replace"]), "immediate": st.booleans()},
    optional={"retention": st.fixed_dictionaries({"keepLast": st.integers(1, 3)}), "jitterSeconds": st.integers(0, 90)},
)


class Play:
    def __init__(self) -> None:
        self.world = World()
        self.created: list[str] = []
        self.troubles = 0
        self.trouble: tuple[str, int, BaseException] | None = None
        self.world.api.intercept = lambda *call: self._request("intercept", *call)
        self.world.api.after = lambda *call: self._request("after", *call)

    async def _request(self, when: str, verb: str, resource: Resource, key: Key) -> None:
        if (when, verb, resource) == ("after", "create", BACKUPS):
            self.created.append(key.name)
        if self.trouble and self.trouble[0] == when:
            _, left, error = self.trouble
            self.trouble = (when, left - 1, error) if left > 1 else None
            if left == 1:
                self.troubles += 1
                raise error

    async def look(self) -> None:
        """As the queue would: until nothing is to be done now."""
        for _ in range(20):
            try:
                outcome = await self.world.turn()
            except (Conflict, ServerError):
                continue
            except Dead:
                self.world.restart()
                continue
            assert isinstance(outcome, RequeueAfter)
            if outcome.seconds > 0:
                return
        raise AssertionError("it does not come to rest")

    async def step(self, what: str, value: Any) -> None:
        world = self.world
        match what:
            case "pass":
                world.clock.jump(value)
            case "end":
                running = [name for name in world.names() if not world.phase(name)]
                if running:
                    world.end(running[0], value)
                world.clock.jump(6)  # a status is written every five seconds
            case "lag":  # the watch of the backups brings nothing yet
                world.clock.jump(value)
                world.refresh(SCHEDULES)
                with contextlib.suppress(Conflict, ServerError, Dead):
                    await world.reconciler.reconcile(KEY)
            case "die" | "fail":
                error = Dead() if what == "die" else ServerError("no", status=500)
                self.trouble = (value[1], value[0], error)
                world.clock.jump(60)
        await self.look()
        self.check()

    def check(self) -> None:
        world, status = self.world, self.world.status
        assert len(self.created) == len(set(self.created))
        scheduled = [name for name in self.created if name != f"{NAME}-202601010000"]
        passed = int(_handled(status) // 60)
        assert len(scheduled) + status.get("missedRuns", 0) <= passed
        if not self.troubles:  # a count may die with its operator; a backup may not
            assert len(scheduled) + status.get("missedRuns", 0) == passed
        if status.get("lastScheduleTime"):
            assert self.created[-1] == _name(status["lastScheduleTime"])
        good = [name for name in world.names() if world.phase(name) == "Completed"]
        assert good or not any(name == status.get("lastSuccessfulBackup") for name in self.created)
        assert [one["name"] for one in status.get("active", [])] == [n for n in world.names() if not world.phase(n)]


def _handled(status: dict[str, Any]) -> float:
    until = status.get("handledUntil")
    return (parse_rfc3339(until) - START).total_seconds() if until else 0


def _name(time: str) -> str:
    return f"{NAME}-{time[:16].replace('-', '').replace('T', '').replace(':', '')}"


@given(steps, specs)
@settings(max_examples=30, deadline=None, database=None)
def test_each_slot_has_one_backup_and_each_is_accounted_for(moves: list[tuple[str, Any]], spec: dict[str, Any]) -> None:
    async def play() -> None:
        one = Play()
        await one.world.schedule(**spec)
        await one.look()
        for move in moves:
            await one.step(*move)
        one.trouble = None
        one.world.clock.jump(160)  # past a slot and the longest jitter
        await one.look()
        assert Key("ns", one.created[-1]) in {key for kind, key in one.world.api.objects if kind == BACKUPS}

    asyncio.run(play())
