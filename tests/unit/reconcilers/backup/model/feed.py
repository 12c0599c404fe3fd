"""What an operator hears of the API server."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from controller import builtin
from controller.store import Store, StoreWriter
from controller.watch import Apply, Delete, Init, InitApply, InitDone
from reconcilers.api.backup import BACKUPS, CassandraBackup
from reconcilers.api.datacenter import DATACENTERS, CassandraDataCenter
from reconcilers.api.restore import RESTORES, CassandraRestore

if TYPE_CHECKING:
    from collections.abc import Callable

    from controller.resource import Resource
    from tests.fakes.apiserver import Told
    from tests.unit.reconcilers.backup.model.world import World

KINDS: dict[Resource, Any] = {
    BACKUPS: CassandraBackup,
    RESTORES: CassandraRestore,
    DATACENTERS: CassandraDataCenter,
    builtin.PODS: None,
}


class Feed:
    """One informer: it can stand still, and then catch up; that of backups may lag, by so many seconds."""

    def __init__(self, world: World, resource: Resource, label: str = "") -> None:
        """Of pods that carry ``label``, where it is given."""
        self.resource = resource
        self._label = label
        self.store: Store[Any] = Store()
        self.stalled = False
        self.lag = world.lag if resource == BACKUPS else 0.0
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
            if self.lag:
                self._world.clock.call_later(self.lag, lambda: self.catch_up(0 if self.stalled else 1))
            elif not self.stalled:
                asyncio.get_running_loop().call_soon(self.catch_up)

    def _concerns(self, body: Any) -> bool:
        return not self._label or self._label in body["metadata"].get("labels", {})

    def catch_up(self, count: int = 1000) -> None:
        while self._behind and count > 0:
            count -= 1
            _, key, _, body = self._behind.popleft()
            self._apply(Delete(key) if body is None else Apply(self._world.decoded(self.resource, key, body)))

    def go_on(self) -> None:
        self.stalled, self.lag = False, 0.0
        self.catch_up()

    def _apply(self, *events: Any) -> None:
        for event in events:
            for old, new in self._writer.apply(event):
                for handler in self._handlers:
                    handler(old, new)
