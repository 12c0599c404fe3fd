"""One process of the operator: the real controller of backups with its queue, workers and agents' operations.

Its watches, its requests to the API server and those to the agents go through the world, which may delay or break them.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

from controller import builtin
from controller.backoff import Backoff
from controller.errors import ApiError
from reconcilers import labels
from reconcilers.agents import Agents
from reconcilers.api.backup import BACKUPS
from reconcilers.api.datacenter import DATACENTERS
from reconcilers.api.restore import RESTORES, CassandraRestore
from reconcilers.backup.wiring import backup_controller
from reconcilers.operations import Operations
from tests.unit.reconcilers.backup.model.feed import KINDS, Feed
from tests.unit.reconcilers.backup.model.ways import Line, Wire

if TYPE_CHECKING:
    from controller.resource import Key
    from tests.unit.reconcilers.backup.model.world import World


class Operator:
    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.alive = True
        self.deposed = False  # another leads: no write leaves this process any more
        self.written: dict[str, float] = {}  # by UID: when a status was last written
        self.calm: dict[Key, float] = {}  # since when the key's reconciles have gone well
        self.knew: dict[Key, list[CassandraRestore]] = {}  # when the key's reconcile began
        clock: Any = world.clock
        self.feeds = {kind: Feed(world, kind, labels.OPERATOR if kind == builtin.PODS else "") for kind in KINDS}
        self.helpers = Feed(world, builtin.PODS, labels.INSPECTOR)
        agents = Agents(Line(self), world.master)
        self.operations = Operations(agents, clock)
        self.operations._log = world.log
        feeds: Any = self.feeds
        helpers: Any = self.helpers
        self.controller = backup_controller(
            client=Wire(self),
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
            outcome = await self._reconciler.reconcile(key)
        except (ApiError, TimeoutError):
            self._operator.calm.pop(key, None)
            raise
        except Exception as error:
            self._operator.world.breaks(f"the reconcile of {key.name} raised {error!r}")
            raise
        self._operator.calm.setdefault(key, self._operator.world.clock.monotonic())
        return outcome
