"""``agent serve`` and ``agent inspect``: wiring, and an end in order.

SIGTERM: running work is left where its journal stands, those who wait get their answer, requests are finished. Below 10
seconds in all, and the next process takes it up.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import structlog

from agent import coding, configuration, server
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
    from collections.abc import Callable

    from aiohttp import web

    from agent.coding import Codings
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
        codings = coding.from_files(settings.encryption_keys)
        return {
            Kind.PROBE: ProbeHandler(
                open_store,
                pod=settings.pod,
                namespace=settings.namespace,
                tables=self.cassandra.tables,
                codings=codings,
            ),
            Kind.SNAPSHOT: SnapshotHandler(self.snapshots, lambda: self.operations),
            Kind.BACKUP: BackupHandler(
                self.snapshots,
                open_store,
                settings=lambda: configuration.carried_settings(settings.config_dir),
                pod_ip=settings.pod_ip,
                turns=turns,
                codings=codings,
            ),
            Kind.COMMIT: CommitHandler(open_store, ring=self.cassandra.ring),
            Kind.CLEAR_SNAPSHOTS: ClearHandler(self.snapshots, lambda: self.operations),
            **_remote_handlers(settings, open_store, turns, codings, lambda: self.operations),
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


def _remote_handlers(
    settings: Settings, open_store: Opener, turns: Turns, codings: Codings, operations: Callable[[], Operations]
) -> dict[Kind, Handler]:
    """Of what concerns the bucket alone, and needs no Cassandra beside."""
    return {
        Kind.COLLECT: CollectHandler(open_store, turns, holder=settings.pod, least_grace=settings.least_grace),
        Kind.FORGET: ForgetHandler(open_store, operations),
        Kind.VERIFY: VerifyHandler(open_store, settings.data_dirs, settings.state_dir, codings=codings),
    }


async def inspect(settings: Settings, stop: asyncio.Event, *, open_store: Opener | None = None) -> None:
    """The bucket alone, where there is no Cassandra beside: its catalog, and the operations that are done in it."""
    open_store = open_store or Stores().opened
    journal = Journal(settings.state_dir / "operations", settings.owner)
    codings = coding.from_files(settings.encryption_keys)
    handlers = _remote_handlers(settings, open_store, Turns(), codings, lambda: operations)
    operations: Operations = Operations(journal, handlers)
    app = server.application(server.read_token(settings.credentials_dir))
    server.OperationRoutes(operations).add_to(app)
    CatalogRoutes(open_store).add_to(app)

    async def ready(_request: object) -> web.Response:
        return server.reply({"ok": True})

    app.router.add_get("/readyz", ready)
    await operations.load()
    async with server.Server(app, settings.address, settings.port, server.tls(settings.credentials_dir)):
        work = asyncio.create_task(operations.run())
        try:
            await _first(stop, [work])
        finally:
            await operations.stop()
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
