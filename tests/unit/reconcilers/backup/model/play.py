"""One life: backups, everything that happens to them, and then peace, in which all of them must come to an end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconcilers.api.restore import RESTORES
from tests.unit.reconcilers.backup.model.cluster import key_of
from tests.unit.reconcilers.backup.model.invariants import Invariants
from tests.unit.reconcilers.backup.model.steps import HARMLESS, STEPS, back_up
from tests.unit.reconcilers.backup.model.world import World

if TYPE_CHECKING:
    from collections.abc import Sequence

_LOOK = 5.0
_LAGS = (0.0, 0.0, 0.3, 4.0)  # seconds
_SLACK = 400.0  # seconds: what is left of a backoff, of a request that hangs, of a clear
_LAST = 20.0  # seconds in which an ended backup gives back what it holds
_PATIENCE = 600.0  # of a deletion that nobody can do


async def play(first: tuple[int, int, int], steps: Sequence[tuple[str, int, int]]) -> World:
    """``first``: what the first backup is like, and what the world is. Raises BrokenRuleError."""
    world = World()
    *kind, way = first
    world.schedulable, world.lag = way % 3 > 0, _LAGS[way // 2 % 4]
    rules = Invariants(world)
    try:
        await world.datacenter("foo", 2)
        await world.datacenter("bar", 1)
        world.lead()
        await back_up(world, *kind)
        for name, a, b in steps:
            world.hurt = world.hurt or STEPS[name] not in HARMLESS
            await STEPS[name](world, a, b)
            await world.passes(0.0)
            world.check()
        await _peace(world, silence=way % 2 == 0)
        await _wait(world, rules)
        rules.at_the_end()
        world.check()
    finally:
        await world.end()
    return world


async def _peace(world: World, *, silence: bool) -> None:
    """Nothing new happens, and what was broken works. Pods and volumes that are gone stay gone; so may an agent."""
    world.say("peace")
    world.calls.clear()
    world.requests.clear()
    world.starts.clear()
    world.lag = 0.0
    for operator in world.living()[:-1]:
        operator.end()
    if not world.living():
        world.lead()
    for feed in world.living()[0].feeds.values():
        feed.go_on()
    for agent in world.agents:
        agent.silent = agent.silent and silence
    for body in world.found(RESTORES):
        await world.server.patch(
            RESTORES, key_of(body["metadata"]["name"]), {"status": {"phase": "Failed"}}, subresource="status"
        )
    await world.passes(0.0)


async def _wait(world: World, rules: Invariants) -> None:
    """Each backup ends within its own deadlines; what was deleted goes."""
    peace = world.clock.monotonic()
    while open_ := [b for b in world.backups() if not b.ended or b.metadata.deletion_timestamp]:
        now = world.clock.monotonic()
        for backup in open_:
            if not backup.ended:
                rules.in_peace(backup, peace)
            spec, status = backup.spec, backup.status
            if status.start_time:
                limit = world.since(status.start_time) + spec.active_deadline_seconds
            else:
                limit = world.since(backup.metadata.creation_timestamp) + spec.starting_deadline_seconds
            limit = max(peace, limit) + spec.node_progress_deadline_seconds + _SLACK
            limit += _PATIENCE if backup.metadata.deletion_timestamp else 0
            if now > limit:
                world.breaks(
                    f"backup {backup.metadata.name} does not end: {status.phase}, {status.reason}: {status.message}"
                )
        world.check()
        await world.passes(_LOOK)
    await world.passes(_LAST)
