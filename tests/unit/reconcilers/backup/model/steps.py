"""Everything that can happen to a backup: each step is a function of the world and of two small numbers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from agent.protocol import Kind
from controller import builtin
from reconcilers import labels
from reconcilers.api.backup import BACKUPS
from reconcilers.api.datacenter import DATACENTERS
from reconcilers.api.restore import RESTORES
from tests.fakes.agents import DENIED, THROTTLED, FakeAgent
from tests.unit.reconcilers.backup.model.cluster import key_of
from tests.unit.reconcilers.backup.model.fates import TO_AGENT, TO_SERVER, Fate
from tests.unit.reconcilers.backup.model.feed import KINDS

if TYPE_CHECKING:
    from tests.unit.reconcilers.backup.model.world import World

Step = Callable[["World", int, int], Awaitable[None]]
NUMBERS = 8  # both numbers of a step are below it

_MOMENTS = (1.0, 0.4, 2.0, 3.0, 6.0, 13.0, 45.0, 170.0)  # seconds
_KINDS = (
    Kind.BACKUP,
    Kind.SNAPSHOT,
    Kind.COMMIT,
    Kind.PROBE,
    Kind.CLEAR_SNAPSHOTS,
    Kind.BACKUP,
    Kind.SNAPSHOT,
    Kind.VERIFY,
)
_OVERLAP = 20.0  # seconds: longer than a Lease
_DEADLINES = ((600, 1200, 150), (600, 1200, 150), (25, 60, 20), (100, 30, 40))  # to start, in all, without progress
_WISHES: tuple[dict[str, Any], ...] = (
    {}, {"nodeFailurePolicy": "AllowPartial", "minNodes": 1}, {"verify": "Hash"},
    {"nodeFailurePolicy": "AllowPartial", "minNodes": 1, "verify": "Hash"},
    {"ttlSecondsAfterFinished": 30, "deletionPolicy": "Delete"},
    {"nodeFailurePolicy": "AllowPartial", "minNodes": "50%", "verify": "Hash"},
)  # fmt: skip
_MISHAPS = (
    {"fail": [THROTTLED]}, {"fail": [DENIED]}, {"fail": [THROTTLED] * 5}, {"stuck": True}, {"seconds": 12.0},
    {"seconds": 30.0, "ignores_cancel": True}, {"stuck": True, "ignores_cancel": True}, {"seconds": 0.1},
)  # fmt: skip


async def passes(world: World, a: int, _b: int) -> None:
    world.say(f"{_MOMENTS[a]} s pass")
    await world.passes(_MOMENTS[a])


# --- people


async def back_up(world: World, a: int, b: int) -> None:
    """Of one datacenter or of both, under a tag of its own or under one that others have."""
    if len(world.found(BACKUPS)) >= 3:
        return
    start, whole, silence = _DEADLINES[b % 4]
    own = {"app": "cassandra"} if a % 4 == 3 else {labels.SEED_DATACENTER: "foo"}
    spec: dict[str, Any] = {
        "startingDeadlineSeconds": start, "activeDeadlineSeconds": whole, "nodeProgressDeadlineSeconds": silence,
        "retries": b // 3, "parallelism": a // 4, **_WISHES[(3 * a + b) % len(_WISHES)],
    }  # fmt: skip
    if a % 2:
        spec["snapshotTag"] = "tag"
    name = world.name()
    world.say(f"somebody makes backup {name}: {own} {spec}")
    await world.create_backup(name, own, **spec)


async def cancel(world: World, a: int, _b: int) -> None:
    await _edit(world, a, {"cancel": True})


async def edit(world: World, a: int, b: int) -> None:
    await _edit(world, a, ({"deletionPolicy": "Delete"}, {"ttlSecondsAfterFinished": 100_000 + b})[b % 2])


async def delete(world: World, a: int, _b: int) -> None:
    if name := _one([body["metadata"]["name"] for body in world.found(BACKUPS)], a):
        world.say(f"somebody deletes backup {name}")
        await world.server.delete(BACKUPS, key_of(name))


async def clear_up(world: World, a: int, b: int) -> None:
    """A backup goes with its data; before, perhaps, its datacenters."""
    await _edit(world, a, {"deletionPolicy": "Delete"})
    for number in range(b % 3):
        await delete_datacenter(world, number, b)
    await delete(world, a, b)


async def relabel(world: World, a: int, b: int) -> None:
    """A pod, or a backup."""
    resource = (builtin.PODS, BACKUPS)[b % 2]
    if name := _one([body["metadata"]["name"] for body in world.found(resource)], a):
        own = {"app": "other", labels.SEED_DATACENTER: "other" if b % 4 else None}
        world.say(f"somebody labels {name}: {own}")
        await world.server.patch(resource, key_of(name), {"metadata": {"labels": own}})


async def restore(world: World, a: int, b: int) -> None:
    """One comes in the way, or ends."""
    running = [body["metadata"]["name"] for body in world.found(RESTORES) if not body.get("status")]
    if running and a % 2:
        name = _one(running, b)
        world.say(f"restore {name} ends")
        await world.server.patch(RESTORES, key_of(name), {"status": {"phase": "Completed"}}, subresource="status")
    elif len(running) < 2:
        name = world.name("restore")
        world.say(f"somebody makes restore {name}")
        await world.create_restore(name, ("foo", "bar")[b % 2])


async def delete_datacenter(world: World, a: int, _b: int) -> None:
    if name := _one([body["metadata"]["name"] for body in world.found(DATACENTERS)], a):
        world.say(f"somebody deletes datacenter {name}")
        await world.server.delete(DATACENTERS, key_of(name))
        for agent in list(world.agents):
            if agent.pod.startswith(f"{name}-"):
                await world.lose_pod(agent.pod)


# --- nodes


async def mishap(world: World, a: int, b: int) -> None:
    """An agent will fail at some kind of work, or be slow at it."""
    agent, kind, change = _agent(world, a), _KINDS[b], _MISHAPS[a]
    world.say(f"{agent.pod}'s {kind} from now on: {change}")
    agent.script(kind, **change)


async def everywhere(world: World, a: int, b: int) -> None:
    kind, change = _KINDS[b], _MISHAPS[a]
    world.say(f"every {kind} from now on: {change}")
    world.agents.script(kind, **change)


async def silence(world: World, a: int, b: int) -> None:
    agent = _agent(world, a)
    agent.silent = not agent.silent and b % 4 != 3
    world.say(f"{agent.pod} {'falls silent' if agent.silent else 'answers'}")
    world.unreachable[agent.pod] = world.clock.monotonic()


async def restart(world: World, a: int, b: int) -> None:
    agent = _agent(world, a)
    if b % 4 == 3:
        world.say(f"{agent.pod} loses its volume")
        agent.lose_volume()
    elif (builtin.PODS, key_of(agent.pod)) in world.server.objects:
        times = 3 if b % 4 == 2 else 1
        world.say(f"{agent.pod}'s agent is restarted, {times} times")
        for _ in range(times):
            agent.restart()


async def pod(world: World, a: int, b: int) -> None:
    """It goes, or comes back; or both at once."""
    name = _agent(world, a).pod
    there = (builtin.PODS, key_of(name)) in world.server.objects
    if there:
        world.say(f"pod {name} goes")
        await world.lose_pod(name)
    if not there or b % 2:
        world.say(f"pod {name} comes")
        await world.pod(name)


# --- the operator and its ways


async def kill(world: World, a: int, b: int) -> None:
    living = world.living()
    if living:
        world.kill(living[a % len(living)], pause=_MOMENTS[b])


async def depose(world: World, a: int, _b: int) -> None:
    """Its Lease is over; it ends its work, and cannot write any more."""
    if living := world.living():
        world.say("the Lease is lost")
        living[0].deposed = True
        world.kill(living[0], pause=_MOMENTS[a])


async def second(world: World, a: int, _b: int) -> None:
    """Another one begins while the old one goes on for a while; or one of the two ends."""
    living = world.living()
    if len(living) > 1:
        world.kill(living[a % 2])
    elif living:
        world.overlapped = True
        world.lead()
        world.clock.call_later(_OVERLAP, lambda: world.kill(living[0]))


async def call(world: World, a: int, b: int) -> None:
    """A request to the API server, soon; or some in a row, at once."""
    for after in [a] if a < 4 else range(a - 2):
        world.calls.plan(after, TO_SERVER[b])


async def request(world: World, a: int, b: int) -> None:
    """A request to an agent, soon; or some in a row, at once."""
    for after in [a] if a < 6 else range(a - 3):
        world.requests.plan(after, TO_AGENT[b])


async def late(world: World, a: int, b: int) -> None:
    """The next requests that are to begin something come when nobody waits for them any more."""
    for after in range(1 + a % 4):
        world.starts.plan(after, (Fate.LATE, Fate.DIES_LATE)[b % 2])


async def stall(world: World, a: int, b: int) -> None:
    """A watch stands still."""
    if living := world.living():
        feed = living[b % len(living)].feeds[(BACKUPS, *KINDS)[a % 5]]
        feed.stalled = True
        world.say(f"the watch of {feed.resource.plural} stands still")


async def catch_up(world: World, a: int, b: int) -> None:
    """Watches go on, or one brings a little."""
    for operator in world.living():
        for feed in operator.feeds.values():
            if b % 2:
                feed.catch_up(a)
            else:
                feed.go_on()


def _agent(world: World, number: int) -> FakeAgent:
    agents = list(world.agents)
    return agents[number % len(agents)]


def _one(names: list[str], number: int) -> str:
    return names[number % len(names)] if names else ""


async def _edit(world: World, number: int, spec: dict[str, Any]) -> None:
    if name := _one([body["metadata"]["name"] for body in world.found(BACKUPS)], number):
        world.say(f"somebody edits backup {name}: {spec}")
        await world.server.patch(BACKUPS, key_of(name), {"spec": spec})


WEIGHTS = {
    passes: 22, call: 7, request: 5, kill: 2, back_up: 4, mishap: 4, everywhere: 2, stall: 2, catch_up: 2, silence: 3,
    restart: 3, pod: 2, cancel: 2, delete: 1, clear_up: 2, late: 3, edit: 1, second: 2, depose: 1, relabel: 1,
    restore: 1, delete_datacenter: 1,
}  # fmt: skip
STEPS: dict[str, Step] = {step.__name__: step for step in WEIGHTS}
DRAWN = [step.__name__ for step, weight in WEIGHTS.items() for _ in range(weight)]
HARMLESS = frozenset({passes, call, request, kill, back_up, stall, catch_up, second, depose, restore, late})
