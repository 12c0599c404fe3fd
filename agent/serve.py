"""``agent serve`` and ``agent inspect``: wiring, and an end in order.

SIGTERM: running work is left where its journal stands, those who wait get their answer, requests are finished. Below 10
seconds in all, and the next process takes it up.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import structlog

from agent import configuration, server
from agent.backup import BackupHandler
from agent.cassandra import Cassandra
from agent.collector import CollectHandler
from agent.forget import ForgetHandler
from agent.journal import Journal
from agent.lag import Lag
from agent.metrics import Metrics
from agent.operations import Handler, Operations
from agent.protocol import Kind
from agent.routes import CatalogRoutes, MetricsRoute, NodeRoutes
from agent.snapshots import Snapshots
from agent.stores import Stores
from agent.tasks import ClearHandler, CommitHandler, ProbeHandler, SnapshotHandler
from agent.turns import Turns
from agent.verify_run import VerifyHandler

if TYPE_CHECKING:
    from aiohttp import web

    from agent.settings import Settings
    from agent.stores import Opener

_SWEEP_EVERY = 3600.0

log = structlog.get_logger(__name__)


class Agent:
    """All parts of ``serve``, not yet started."""

    def __init__(self, settings: Settings, *, open_store: Opener | None = None) -> None:
        self.settings = settings
        self.cassandra = Cassandra(settings.jolokia_url)
        self.snapshots = Snapshots(self.cassandra, settings.data_dirs, settings.state_dir)
        self.metrics = Metrics([*Kind])
        stores = Stores()
        open_store = open_store or stores.opened
        self.operations: Operations = Operations(
            Journal(settings.state_dir / "operations", settings.owner),
            self._handlers(open_store),
            ended=self.metrics.ended,
        )
        self.metrics.watch(lambda: [job.operation for job in self.operations.unfinished()])
        self.metrics.watch_stores(stores)
        self.metrics.watch_verifications(self.operations.all)
        self._open_store = open_store

    def _handlers(self, open_store: Opener) -> dict[Kind, Handler]:
        settings = self.settings
        turns = Turns()
        return {
            Kind.PROBE: ProbeHandler(
                open_store, pod=settings.pod, namespace=settings.namespace, tables=self.cassandra.tables
            ),
            Kind.SNAPSHOT: SnapshotHandler(self.snapshots, lambda: self.operations),
            Kind.BACKUP: BackupHandler(
                self.snapshots,
                open_store,
                settings=lambda: configuration.carried_settings(settings.config_dir),
                pod_ip=settings.pod_ip,
                turns=turns,
            ),
            Kind.COMMIT: CommitHandler(open_store, ring=self.cassandra.ring),
            Kind.CLEAR_SNAPSHOTS: ClearHandler(self.snapshots, lambda: self.operations),
            Kind.COLLECT: CollectHandler(open_store, turns, holder=settings.pod),
            Kind.FORGET: ForgetHandler(open_store, lambda: self.operations),
            Kind.VERIFY: VerifyHandler(open_store, settings.data_dirs, settings.state_dir),
        }

    async def run(self, stop: asyncio.Event, *, started: asyncio.Event | None = None) -> None:
        """Until ``stop`` is set."""
        app = server.application(server.read_token(self.settings.credentials_dir))
        server.OperationRoutes(self.operations).add_to(app)
        NodeRoutes(self.cassandra, self.settings, self.operations.session).add_to(app)
        CatalogRoutes(self._open_store).add_to(app)
        MetricsRoute(self.metrics.registry).add_to(app)
        context = server.tls(self.settings.credentials_dir)
        await self.operations.load()
        try:
            async with server.Server(app, self.settings.address, self.settings.port, context) as listening:
                work = (self.operations.run(), self._sweep(), Lag(self.metrics.stalled).run())
                background = [asyncio.create_task(one) for one in work]
                self.port = listening.port
                if started is not None:
                    started.set()
                try:
                    await _first(stop, background)
                finally:
                    await self.operations.stop()
                    for task in background:
                        task.cancel()
                    await asyncio.gather(*background, return_exceptions=True)
        finally:
            await self.cassandra.close()

    async def _sweep(self) -> None:
        """The janitor: at start, and each hour for what came to be forgotten since."""
        while True:
            busy = [str(job.entry.request.spec.get("tag", "")) for job in self.operations.unfinished()]
            try:
                await self.snapshots.sweep(busy)
            except Exception:
                log.exception("the janitor failed, and comes again")
            await asyncio.sleep(_SWEEP_EVERY)


async def _first(stop: asyncio.Event, background: list[asyncio.Task[None]]) -> None:
    """Until ``stop``, or until a background task died: then the process ends with its error."""
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait([stopped, *background], return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await stopped
    for task in background:
        if task.done():
            task.result()


async def inspect(settings: Settings, stop: asyncio.Event, *, open_store: Opener | None = None) -> None:
    """The catalog alone, where there is no Cassandra beside."""
    app = server.application(server.read_token(settings.credentials_dir))
    CatalogRoutes(open_store or Stores().opened).add_to(app)

    async def ready(_request: object) -> web.Response:
        return server.reply({"ok": True})

    app.router.add_get("/readyz", ready)
    async with server.Server(app, settings.address, settings.port, server.tls(settings.credentials_dir)):
        await stop.wait()
