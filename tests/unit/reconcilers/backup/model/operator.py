"""One process of the operator: the real controller of backups with its queue, workers and agents' operations.

Its watches, its requests to the API server and those to the agents go through the world, which may delay or break them.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from controller import builtin
from controller.backoff import Backoff
from controller.errors import ApiError, Conflict, NotLeading, ServerError, Timeout
from controller.store import Store, StoreWriter
from controller.watch import Apply, Delete, Init, InitApply, InitDone
from reconcilers import labels
from reconcilers.agents import Agents, AgentUnreachable
from reconcilers.api.backup import BACKUPS, CassandraBackup
from reconcilers.api.datacenter import DATACENTERS, CassandraDataCenter
from reconcilers.api.restore import RESTORES, CassandraRestore
from reconcilers.backup.wiring import backup_controller
from reconcilers.operations import Operations

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from controller.resource import Key, Resource
    from reconcilers.agents import Address
    from tests.fakes.apiserver import Told
    from tests.unit.reconcilers.backup.model.world import World

T = TypeVar("T")
_READS = frozenset({"get", "list"})
KINDS: dict[Resource, Any] = {
    BACKUPS: CassandraBackup,
    RESTORES: CassandraRestore,
    DATACENTERS: CassandraDataCenter,
    builtin.PODS: None,
}


class Fate(StrEnum):
    """What becomes of one request, to the API server or to an agent."""

    CONFLICT = "conflicts"
    REFUSED = "is refused"
    LOST = "is done, its answer is lost"
    TIMES_OUT = "times out, undone"
    SLOW = "is done, its answer is slow"
    HANGS = "hangs, then is done"
    DIES_BEFORE = "kills the operator before it is done"
    DIES_AFTER = "kills the operator when it is done"


_UNDONE = (Fate.CONFLICT, Fate.REFUSED, Fate.TIMES_OUT)


class Fates:
    """Of the requests to come."""

    def __init__(self) -> None:
        self._planned: list[tuple[int, Fate]] = []

    def plan(self, after: int, fate: Fate) -> None:
        """For the next request but ``after``."""
        self._planned.append((after, fate))

    def next(self) -> Fate | None:
        met = next((one for one in self._planned if one[0] <= 0), None)
        if met is not None:
            self._planned.remove(met)
        self._planned = [(after - 1, fate) for after, fate in self._planned]
        return met[1] if met else None

    def clear(self) -> None:
        self._planned = []


class Feed:
    """One informer: it can stand still, and then catch up."""

    def __init__(self, world: World, resource: Resource, label: str = "") -> None:
        """Of pods that carry ``label``, where it is given."""
        self.resource = resource
        self._label = label
        self.store: Store[Any] = Store()
        self.stalled = False
        self._world = world
        self._writer = StoreWriter(self.store)
        self._handlers: list[Callable[[Any, Any], None]] = []
        self._behind: deque[Told] = deque()

    def subscribe(self, handler: Callable[[Any, Any], None]) -> None:
        self._handlers.append(handler)

    def list(self) -> None:
        everything = self._world.server.objects.items()
        found = [(key, body) for (kind, key), body in everything if kind == self.resource and self._concerns(body)]
        self._apply(
            Init(), *(InitApply(self._world.decoded(self.resource, key, body)) for key, body in found), InitDone()
        )

    def hear(self, told: Told) -> None:
        if told[0] == self.resource and self._concerns(told[3] or told[2]):
            self._behind.append(told)
            if not self.stalled:
                asyncio.get_running_loop().call_soon(self.catch_up)

    def _concerns(self, body: Any) -> bool:
        return not self._label or self._label in body["metadata"].get("labels", {})

    def catch_up(self, count: int = 1000) -> None:
        while self._behind and count > 0:
            count -= 1
            _, key, _, body = self._behind.popleft()
            self._apply(Delete(key) if body is None else Apply(self._world.decoded(self.resource, key, body)))

    def _apply(self, *events: Any) -> None:
        for event in events:
            for old, new in self._writer.apply(event):
                for handler in self._handlers:
                    handler(old, new)


class Operator:
    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.alive = True
        self.deposed = False  # another leads: no write leaves this process any more
        self.written: dict[str, float] = {}  # by UID: when a status was last written
        self.knew: dict[Key, list[CassandraRestore]] = {}  # when the key's reconcile began
        clock: Any = world.clock
        self.feeds = {kind: Feed(world, kind, labels.OPERATOR if kind == builtin.PODS else "") for kind in KINDS}
        self.helpers = Feed(world, builtin.PODS, labels.INSPECTOR)
        agents = Agents(_Line(self), world.master)
        self.operations = Operations(agents, clock)
        self.operations._log = world.log
        feeds: Any = self.feeds
        helpers: Any = self.helpers
        self.controller = backup_controller(
            client=_Wire(self),
            backups=feeds[BACKUPS],
            datacenters=feeds[DATACENTERS],
            restores=feeds[RESTORES],
            pod_informer=feeds[builtin.PODS],
            inspectors=helpers,
            agents=agents,
            master=world.master,
            garbage_grace=86400,
            operations=self.operations,
            recorder=world.recorder,
            clock=clock,
            session=name,
            workers=2,
            backoff=Backoff(clock, rng=random.Random(0)),
        )
        shell: Any = self.controller._shell
        shell._reconciler = _Watched(shell._reconciler, self)
        for feed in (*self.feeds.values(), self.helpers):
            feed.list()
            world.server.heard.append(feed.hear)
        self.tasks = [asyncio.create_task(work) for work in (self.controller.run(), self.operations.run())]

    async def breathe(self) -> None:
        """Others have their turn. One that is gone has none any more."""
        await asyncio.sleep(0)
        if not self.alive:
            await asyncio.get_running_loop().create_future()

    def end(self) -> None:
        """The process is gone, whatever it was about to do."""
        if not self.alive:
            return
        self.alive = False
        for feed in (*self.feeds.values(), self.helpers):
            self.world.server.heard.remove(feed.hear)
        for task in self.tasks:
            task.cancel()


class _Watched:
    """A reconcile may fail for what the API server answers, and for nothing else."""

    def __init__(self, reconciler: Any, operator: Operator) -> None:
        self._reconciler = reconciler
        self._operator = operator

    async def reconcile(self, key: Key) -> Any:
        self._operator.knew[key] = self._operator.feeds[RESTORES].store.all()
        try:
            return await self._reconciler.reconcile(key)
        except (ApiError, TimeoutError):
            raise
        except Exception as error:
            self._operator.world.breaks(f"the reconcile of {key.name} raised {error!r}")
            raise


class _Way:
    """From one operator to where it sends requests; what befalls them is planned in ``fates``."""

    def __init__(self, operator: Operator, fates: Fates, turns: int) -> None:
        self._operator = operator
        self._fates = fates
        self._turns = turns  # that others have before a request arrives

    async def _send(self, what: str, do: Callable[[], Awaitable[T]], errors: Mapping[Fate, Exception]) -> T:
        """``errors`` has what it is to the operator that a request has no effect, or no answer."""
        operator, world = self._operator, self._operator.world
        for _ in range(self._turns):
            await operator.breathe()
        fate = self._fates.next()
        if fate:
            world.say(f"{operator.name}'s {what} {fate}")
        if fate in _UNDONE and fate in errors:
            raise errors[fate]
        if fate is Fate.HANGS:
            await world.clock.sleep(9.0)
        if fate is Fate.DIES_BEFORE:
            await world.dies(operator)
        answer = await do()
        if fate is Fate.LOST:
            raise errors[fate]
        if fate is Fate.SLOW:
            await world.clock.sleep(4.0)
        if fate is Fate.DIES_AFTER:
            await world.dies(operator)
        return answer


class _Wire(_Way):
    """The operator's client. Agents hear of what it does before the API server has written it."""

    def __init__(self, operator: Operator) -> None:
        super().__init__(operator, operator.world.calls, turns=3)

    def __getattr__(self, verb: str) -> Any:
        return partial(self._call, verb)

    async def _call(self, verb: str, resource: Resource, *args: Any, **named: Any) -> Any:
        operator, world = self._operator, self._operator.world
        late = Timeout("no answer in time")
        errors: dict[Fate, Exception] = {
            Fate.REFUSED: ServerError("the API server is overloaded", status=503), Fate.TIMES_OUT: late, Fate.LOST: late
        }  # fmt: skip
        if verb.startswith("patch"):
            errors[Fate.CONFLICT] = Conflict("the object has been modified", status=409)

        def do() -> Awaitable[Any]:
            if operator.deposed and verb not in _READS:
                raise NotLeading("this process does not hold the Lease any more")
            world.author = operator
            answer: Awaitable[Any] = getattr(world.server, verb)(resource, *args, **named)
            return answer

        if len(world.living()) > 1:  # two that disagree correct each other without end, but not in no time
            await world.clock.sleep(0.2)
        return await self._send(f"{verb} of {resource.plural}", do, errors)


class _Line(_Way):
    """The operator's way to the agents."""

    def __init__(self, operator: Operator) -> None:
        super().__init__(operator, operator.world.requests, turns=1)

    async def request(self, address: Address, method: str, path: str, **named: Any) -> tuple[int, bytes]:
        silence = AgentUnreachable("AgentUnreachable", f"the agent of {address.pod} does not answer: reset")
        errors = dict.fromkeys((*_UNDONE, Fate.LOST), silence)
        agents = self._operator.world.agents
        return await self._send(
            f"{method} to {address.pod}", lambda: agents.request(address, method, path, **named), errors
        )
