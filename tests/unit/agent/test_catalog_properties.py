"""Whatever happens, and in whatever order, every complete backup is whole: agent.md §7. See interleavings.py.

Each rule also has a scene that loses data when the rule is broken: that this test could fail is tested too. A backup's
last look (``renew`` in agent/reservation.py) heals much of what the other rules prevent: for some it is taken away too.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.candidates import Condemned
from agent.claims import Claim, Needed
from agent.plan import Plan
from agent.reservation import Reservation
from tests.unit.agent.interleavings import Interleaving
from tests.unit.agent.pool import Pool
from tests.unit.agent.scene import HOUR, LostError, Scene

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    Play = Callable[[Scene], Awaitable[None]]
    Patch = Callable[[pytest.MonkeyPatch], None]

EXAMPLES = 5_000


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> Iterator[asyncio.Runner]:
    """Threads would bring an order of their own: what goes to one is done at once. And nobody reads so many logs."""

    async def inline(work: Callable[..., Any], *values: Any, **more: Any) -> Any:
        return work(*values, **more)

    monkeypatch.setattr("asyncio.to_thread", inline)
    monkeypatch.setattr("agent.upload.run", inline)
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    with asyncio.Runner() as runner:
        yield runner
    structlog.configure(**before)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_complete_backup_is_whole_at_every_point(runner: asyncio.Runner, tmp_path: Path) -> None:
    pool = Pool(tmp_path)

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=[*HealthCheck])
    @given(st.binary(min_size=24, max_size=64))
    def holds(tape: bytes) -> None:
        runner.run(Interleaving(pool, tape).run())

    holds()


# --- scenes


async def a_key_is_reused_between_the_decision_and_the_delete(scene: Scene) -> None:
    """It is a candidate of a day ago: rule 1."""
    await scene.past(3)
    scene.disk = {0, 1}
    sweep = scene.spawn("b", scene.collect("b"))
    await scene.until(sweep, "delete", "/data/")
    await back_up_and_commit(scene, sweep)


async def a_key_is_reused_after_the_collector_looked(scene: Scene) -> None:
    """It is no candidate yet: rule 2."""
    await scene.past(2)
    scene.disk = {0, 1}
    sweep = scene.spawn("b", scene.collect("b"))
    await scene.until(sweep, "put", "/_gc/dc/n/2")
    await back_up_and_commit(scene, sweep)


async def a_key_becomes_a_candidate_after_a_slow_backup_began(scene: Scene) -> None:
    """Its record says nothing yet of what it reuses: rule 3."""
    await a_slow_backup_meets_two_cycles(scene, "list", "/data/")


async def a_key_becomes_a_candidate_after_a_slow_backup_chose_it(scene: Scene) -> None:
    """Its record names it: rules 1 and 3."""
    await a_slow_backup_meets_two_cycles(scene, "list", "/data/", count=2)


async def somebody_deletes_what_a_backup_reuses(scene: Scene) -> None:
    """Before its last look: rule 4."""
    await scene.past(1)
    scene.disk = {1, 3}
    backup = scene.new("t1")
    work = scene.spawn("a", scene.back_up("a", backup))
    await scene.until(work, "put", "/data/")
    await scene.destroy(next(key for key in scene.data() if "/nb-1-big/" in key))
    await scene.finish(work)
    await scene.whole("a", scene.commit("a", backup))


async def what_a_failed_try_sent_is_sent_again_while_a_sweep_takes_it(scene: Scene) -> None:
    """Under the same name the new object would fall to the old delete: rule 6."""
    await scene.past(4)
    sweep = scene.spawn("b", scene.collect("b"))
    await scene.until(sweep, "delete", "/data/")
    await back_up_and_commit(scene, sweep, again=True)


async def what_a_run_that_ended_sent_is_reused_by_a_slow_backup(scene: Scene) -> None:
    """There was no backup before, so all of it may go: but for what one that runs has pinned, and sends nothing."""
    await scene.fail_half_way(scene.new("t0"))
    scene.backups[0].abandoned, scene.allow_empty = True, False
    await scene.passes(25 * HOUR, heartbeats=True)
    scene.disk = {2}
    await a_slow_backup(scene, "list", "/data/", count=2)


async def back_up_and_commit(scene: Scene, sweep: asyncio.Task[None], *, again: bool = False) -> None:
    """All of it while the sweep stands still."""
    backup = scene.backups[-1] if again else scene.new("t9")
    await scene.finish(scene.spawn("a", scene.back_up("a", backup)))
    await scene.finish(sweep)
    await scene.whole("a", scene.commit("a", backup))


async def a_slow_backup_meets_two_cycles(scene: Scene, verb: str, part: str, *, count: int = 1) -> None:
    await scene.past(2)
    scene.disk = {0, 1}
    await a_slow_backup(scene, verb, part, count=count)


async def a_slow_backup(scene: Scene, verb: str, part: str, *, count: int = 1) -> None:
    """It stands at a request of its, when the second one has looked and does not yet delete."""
    backup = scene.new("t9")
    work = scene.spawn("a", scene.back_up("a", backup))
    await scene.until(work, verb, part, count=count)
    await scene.finish(scene.spawn("b", scene.collect("b")))
    await scene.passes(25 * HOUR, heartbeats=True)
    sweep = scene.spawn("b", scene.collect("b"))
    await scene.until(sweep, "put", "/_gc/dc/n/2")
    await scene.finish(work)
    await scene.finish(sweep)
    await scene.whole("a", scene.commit("a", backup))


# --- rules, broken


def no_list_of_candidates(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Condemned, "__contains__", lambda _self, _key: False)


def one_cycle(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("agent.collect._on", lambda _listed, _key: True)


def no_last_look(patch: pytest.MonkeyPatch) -> None:
    async def heal(*_values: object) -> None:
        pass

    patch.setattr("agent.backup._heal", heal)
    patch.setattr(Reservation, "fresh", True)


def no_list_is_read_again(patch: pytest.MonkeyPatch) -> None:
    """The last look goes by what is there, and by nothing else."""
    real = Reservation.renew

    async def renew(self: Reservation) -> None:
        if self._unreadable is None:
            await real(self)

    confirm = Plan.confirm

    def seen(self: Plan, _condemned: object, key: str, size: int) -> None:
        confirm(self, (), key, size)

    patch.setattr(Reservation, "renew", renew)
    patch.setattr(Reservation, "fresh", True)
    patch.setattr(Plan, "confirm", seen)


def a_start_marker_does_not_block(patch: pytest.MonkeyPatch) -> None:
    def claim(self: Needed, claims: list[Claim], *_about: object) -> None:
        for one in claims:
            if one.reuse is not None:
                self.live.update(one.reuse)

    patch.setattr(Needed, "claim", claim)
    no_list_is_read_again(patch)


def nothing_is_pinned(patch: pytest.MonkeyPatch) -> None:
    real = Reservation.pin

    async def pin(self: Reservation, _keys: list[str]) -> None:
        await real(self, [])

    patch.setattr(Reservation, "pin", pin)
    no_list_is_read_again(patch)


def every_run_ended(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Claim, "runs", lambda *_about: False)
    no_list_is_read_again(patch)


def the_epoch_stays(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Reservation, "other_epoch", lambda self: self._spec.epoch)
    no_list_is_read_again(patch)


SCENES = [
    (a_key_is_reused_between_the_decision_and_the_delete, no_list_of_candidates),
    (a_key_is_reused_after_the_collector_looked, one_cycle),
    (a_key_becomes_a_candidate_after_a_slow_backup_began, a_start_marker_does_not_block),
    (a_key_becomes_a_candidate_after_a_slow_backup_chose_it, nothing_is_pinned),
    (somebody_deletes_what_a_backup_reuses, no_last_look),
    (what_a_failed_try_sent_is_sent_again_while_a_sweep_takes_it, the_epoch_stays),
    (what_a_run_that_ended_sent_is_reused_by_a_slow_backup, every_run_ended),
]


def play(runner: asyncio.Runner, root: Path, scene: Play) -> None:
    async def whole() -> None:
        found = Scene(Pool(root))
        try:
            await scene(found)
            await found.drain()
        finally:
            await found.end()

    runner.run(whole())


@pytest.mark.parametrize("scene", [scene for scene, _ in SCENES])
def test_a_scene_ends_well(runner: asyncio.Runner, tmp_path: Path, scene: Play) -> None:
    play(runner, tmp_path, scene)


@pytest.mark.parametrize(("scene", "broken"), SCENES)
def test_a_broken_rule_loses_data_and_is_found(
    runner: asyncio.Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scene: Play, broken: Patch
) -> None:
    broken(monkeypatch)
    with pytest.raises(LostError):
        play(runner, tmp_path, scene)
