"""Starts everything in order and ends it in reverse.

::

    probes → informers and unconditional tasks → all stores ready → election → controllers and leader's tasks
                                                                        │
    SIGTERM: no new reconcile, those under way end → leader's tasks → Lease released → tasks → informers → probes

Informers run on a process that does not lead, too: it is warm when it takes over. A task that ends, however it does,
ends the process with an error: Kubernetes starts it anew, which is the one recovery that is always tested.
"""

from __future__ import annotations

import asyncio
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from controller.clock import RealClock
from controller.health import Health
from controller.leader import LeaderElector
from controller.objects import HasMetadata
from controller.resource import Key

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    from controller.client import Client
    from controller.clock import Clock
    from controller.config import Config
    from controller.controller import Controller
    from controller.informer import Informer

T = TypeVar("T", bound=HasMetadata)

CLOSING_SECONDS = 2.0  # of the grace period: for tasks, informers and probes

_log = structlog.get_logger("controller.manager")


class ManagerError(Exception):
    """Why the process ends otherwise than by SIGTERM."""


class Manager:
    """Add what it shall run, then ``run`` once. ``stop`` does what SIGTERM does."""

    def __init__(
        self, config: Config, client: Client, *, clock: Clock | None = None, elector: LeaderElector | None = None
    ) -> None:
        self._config = config
        self._client = client
        self._clock = clock or RealClock()
        if elector is None and config.leader_elect:
            elector = LeaderElector(
                client,
                Key(config.lease_namespace, config.lease_name),
                config.identity,
                lease_duration=config.lease_duration,
                renew_deadline=config.renew_deadline,
                retry_period=config.retry_period,
                clock=self._clock,
            )
        self.elector = elector
        self.health = Health(alive=self._alive, ready=self._ready, statistics=self._statistics)
        self._informers: list[Informer[Any]] = []
        self._controllers: list[Controller] = []
        self._tasks: list[tuple[str, Callable[[], Awaitable[None]], bool]] = []
        self._stop = asyncio.Event()
        self._stop_at = 0.0

    def add_informer(self, informer: Informer[T]) -> Informer[T]:
        self._informers.append(informer)
        return informer

    def add_controller(self, controller: Controller) -> Controller:
        self._controllers.append(controller)
        return controller

    def add_task(self, name: str, start: Callable[[], Awaitable[None]], *, leader_only: bool = True) -> None:
        """``start`` runs until it is cancelled; returning is a failure."""
        self._tasks.append((name, start, leader_only))

    def stop(self) -> None:
        if not self._stop.is_set():
            _log.info("stopping", grace_seconds=self._config.grace_seconds)
            self._stop_at = self._clock.monotonic()
            self._stop.set()

    async def run(self) -> None:
        """Returns after ``stop`` or a signal; ManagerError where something ended that should not have."""
        if self._config.health_address:
            await self.health.start(*self._config.health_host_port)
        try:
            with self._signals():
                await self._run()
        finally:
            await self.health.stop()

    async def _run(self) -> None:
        tasks = [self._spawn(name, start) for name, start, leader_only in self._tasks if not leader_only]
        informers = [self._spawn(f"informer {i.name}", i.run) for i in self._informers]
        main: list[asyncio.Task[None]] = []
        try:
            await self._until(self._all_ready(), [*tasks, *informers])
            if not self._stop.is_set():
                _log.info("stores ready", objects={i.name: len(i.store) for i in self._informers})
                main = [asyncio.create_task(self._elect(), name="main")]
                await self._until(self._stop.wait(), [*main, *tasks, *informers])
        finally:
            await self._shut_down(main, tasks, informers)

    async def _until(self, goal: Any, watched: list[asyncio.Task[None]]) -> None:
        """Returns when ``goal`` is reached or ``stop`` was called; raises when one of ``watched`` ends before."""
        waiters = {asyncio.ensure_future(goal), asyncio.create_task(self._stop.wait())}
        try:
            await asyncio.wait({*waiters, *watched}, return_when=asyncio.FIRST_COMPLETED)
            if self._stop.is_set():
                return
            for task in watched:
                if task.done():
                    cause = None if task.cancelled() else task.exception()
                    raise ManagerError(f"{task.get_name()} ended: {_said(cause)}") from cause
        finally:
            for waiter in waiters:
                waiter.cancel()
            await asyncio.wait(waiters)

    async def _all_ready(self) -> None:
        for informer in self._informers:
            await informer.store.wait_ready()

    async def _elect(self) -> None:
        if self.elector is None:
            await self._lead()
            return
        self._client.set_guard(self.elector.check)
        if not await self.elector.run(self._lead):
            raise ManagerError("the Lease was lost")

    async def _lead(self) -> None:
        async with asyncio.TaskGroup() as group:
            for controller in self._controllers:
                group.create_task(self._forever(f"controller {controller.name}", controller.run))
            for name, start, leader_only in self._tasks:
                if leader_only:
                    group.create_task(self._forever(name, start))
            await self._stop.wait()

    def _spawn(self, name: str, start: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        return asyncio.create_task(self._forever(name, start), name=name)

    async def _forever(self, name: str, start: Callable[[], Awaitable[None]]) -> None:
        await start()
        if not self._stop.is_set():
            raise ManagerError(f"{name} returned")

    async def _shut_down(self, *groups: list[asyncio.Task[None]]) -> None:
        """Whatever takes too long is cancelled, and what does not end then is named and left."""
        if not self._stop.is_set():
            self.stop()
            work = 0.0  # something broke: end the rest at once
        else:
            work = self._left() - CLOSING_SECONDS
        main = groups[0]
        if main and work > 0:
            quiet = asyncio.create_task(self._quiesce())
            # where main ends by itself the leadership is over, and nothing is to be waited for
            await self._wait([quiet, *main], work, return_when=asyncio.FIRST_COMPLETED)
            quiet.cancel()
            await asyncio.wait({quiet})
        for group in groups:
            for task in group:
                task.cancel()
            await self._wait(group, self._left())
        left = [task.get_name() for group in groups for task in group if not task.done()]
        for task in (t for group in groups for t in group if t.done() and not t.cancelled()):
            if (e := task.exception()) is not None:
                _log.error("ended with an error", task=task.get_name(), error=_said(e))
        if left:
            raise ManagerError(f"still running after {self._config.grace_seconds:g} s: {', '.join(left)}")
        _log.info("stopped", seconds=round(self._clock.monotonic() - self._stop_at, 3))

    async def _quiesce(self) -> None:
        await asyncio.gather(*(controller.stop() for controller in self._controllers))

    async def _wait(
        self, tasks: Iterable[asyncio.Future[Any]], seconds: float, return_when: str = asyncio.ALL_COMPLETED
    ) -> None:
        pending = [task for task in tasks if not task.done()]
        if pending:
            try:
                async with self._clock.timeout(max(0.0, seconds)):
                    await asyncio.wait(pending, return_when=return_when)
            except TimeoutError:
                pass

    def _left(self) -> float:
        return self._stop_at + self._config.grace_seconds - self._clock.monotonic()

    def _alive(self) -> str:
        return "" if self.elector is None or self.elector.healthy else "leads without a Lease"

    def _ready(self) -> str:
        waiting = sorted(i.name for i in self._informers if not i.store.ready)
        return f"not listed yet: {', '.join(waiting)}" if waiting else ""

    def _statistics(self) -> dict[str, Any]:
        return {
            "stores": {i.name: len(i.store) for i in self._informers},
            "queues": {c.name: c.statistics()._asdict() for c in self._controllers},
            "leader": self.elector.statistics()._asdict() if self.elector else None,
        }

    @contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        names = (signal.SIGTERM, signal.SIGINT)
        for name in names:
            loop.add_signal_handler(name, self.stop)
        try:
            yield
        finally:
            for name in names:
                loop.remove_signal_handler(name)


def _said(e: BaseException | None) -> str:
    """One sentence, also of what a TaskGroup wraps."""
    if e is None:
        return "it returned or was cancelled"
    while isinstance(e, BaseExceptionGroup) and len(e.exceptions) == 1:
        e = e.exceptions[0]
    return str(e) or type(e).__name__
