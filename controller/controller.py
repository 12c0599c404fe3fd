"""One kind's loop: sources put keys on a queue, workers take them off and reconcile."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

import structlog

from controller.objects import HasMetadata
from controller.queue import QueueClosed, Statistics, WorkQueue
from controller.reconcile import Reconciler, Shell

if TYPE_CHECKING:
    from typing import Self

    from controller.backoff import Backoff
    from controller.clock import Clock
    from controller.informer import Informer
    from controller.store import Store
    from controller.triggers import Trigger

T = TypeVar("T", bound=HasMetadata)

_log = structlog.get_logger("controller")


class Controller:
    """``queue`` is open for other sources, too: agents that report, timers.

    No worker starts before every store named by ``watches`` and ``reads`` is ready.
    """

    def __init__(
        self,
        name: str,
        reconciler: Reconciler,
        *,
        clock: Clock,
        workers: int = 4,
        timeout: float = 60.0,
        backoff: Backoff | None = None,
    ) -> None:
        self.name = name
        self.queue = WorkQueue(clock, backoff, name=name)
        self._shell = Shell(name, reconciler, self.queue, clock, timeout)
        self._workers = workers
        self._stores: list[Store[object]] = []  # type: ignore[type-var]  # stores of any kind

    def watches(self, informer: Informer[T], trigger: Trigger[T]) -> Self:
        """Every change that ``informer`` sees adds the keys that ``trigger`` names."""
        kind = informer.resource.kind

        def handler(old: T | None, new: T | None) -> None:
            what = "added" if old is None else "deleted" if new is None else "changed"
            for key in trigger(old, new):
                self.queue.add(key, reason=f"{kind} {what}")

        informer.subscribe(handler)
        return self.reads(informer)

    def reads(self, informer: Informer[T]) -> Self:
        """The reconciler reads that store: wait for it before the first reconcile."""
        self._stores.append(informer.store)  # type: ignore[arg-type]
        return self

    async def run(self) -> None:
        """Until ``stop``; or until cancelled, which cancels the reconciles and leaves their keys dirty."""
        for store in self._stores:
            await store.wait_ready()
        _log.info("controller started", controller=self.name, workers=self._workers)
        async with asyncio.TaskGroup() as group:
            for number in range(self._workers):
                group.create_task(self._work(), name=f"{self.name}-{number}")

    async def stop(self) -> None:
        """Starts no more reconciles and returns when those under way have ended; then ``run`` ends, too."""
        await self.queue.shutdown()

    def statistics(self) -> Statistics:
        return self.queue.statistics()

    async def _work(self) -> None:
        while True:
            try:
                key = await self.queue.get()
            except QueueClosed:
                return
            await self._shell.run(key)
