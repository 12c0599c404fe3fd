"""One kind, watched: a store that follows the API server, and handlers that hear of every change."""

from __future__ import annotations

from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

import structlog

from controller import metrics
from controller.clock import RealClock
from controller.objects import HasMetadata, key_of
from controller.store import Change, Store, StoreWriter
from controller.watch import WATCH_SECONDS, watch

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping

    from controller.client import Client
    from controller.clock import Clock
    from controller.resource import Resource
    from controller.store import Index

T = TypeVar("T", bound=HasMetadata)

_log = structlog.get_logger("controller.informer")


class Informer(Generic[T]):
    """``decode`` gets an object's JSON. A handler gets ``(old, new)`` once the store has the new state.

    An object that was recreated between two looks comes as one change with another uid in ``new``.
    """

    def __init__(
        self,
        client: Client,
        resource: Resource,
        decode: Callable[[bytes], T],
        *,
        namespace: str = "",
        label_selector: str = "",
        indexes: Mapping[str, Index[T]] | None = None,
        clock: Clock | None = None,
        rng: random.Random | None = None,
        watch_seconds: tuple[float, float] = WATCH_SECONDS,
    ) -> None:
        self.resource = resource
        self.name = f"{resource}[{label_selector}]" if label_selector else str(resource)
        self.store: Store[T] = Store(indexes)
        self._writer = StoreWriter(self.store)
        self._handlers: list[Callable[[T | None, T | None], None]] = []
        self._watch = partial(
            watch,
            client,
            resource,
            decode,
            clock=clock or RealClock(),
            namespace=namespace,
            label_selector=label_selector,
            rng=rng,
            watch_seconds=watch_seconds,
        )
        metrics.init_resource(str(resource))
        self._size = metrics.STORE_OBJECTS.labels(self.name)

    def subscribe(self, handler: Callable[[T | None, T | None], None]) -> None:
        """Hears of what is in the store already, too. A handler is quick and synchronous; what it raises is logged."""
        self._handlers.append(handler)
        for obj in self.store.all():
            self._tell(handler, Change(None, obj))

    async def run(self) -> None:
        """Until cancelled."""
        async with aclosing(self._watch()) as events:
            async for event in events:
                for change in self._writer.apply(event):
                    for handler in self._handlers:
                        self._tell(handler, change)
                self._size.set(len(self.store))

    def _tell(self, handler: Callable[[T | None, T | None], None], change: Change[T]) -> None:
        try:
            handler(change.old, change.new)
        except Exception:  # noqa: BLE001  one bad object must not end the watch of all
            obj = change.new if change.new is not None else change.old
            assert obj is not None
            _log.exception("handler failed", resource=str(self.resource), key=str(key_of(obj)))
