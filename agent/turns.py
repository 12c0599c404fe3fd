"""Who may work on a node's path: any number of backups, or one collector."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from agent.catalog import NodePath


class Turns:
    """Of one process. It spares work that would be in vain; that nothing needed is deleted does not rest on it."""

    def __init__(self) -> None:
        self._backups: Counter[NodePath] = Counter()
        self._collecting: set[NodePath] = set()
        self._changed = asyncio.Event()

    @asynccontextmanager
    async def backing_up(self, path: NodePath) -> AsyncIterator[None]:
        await self._until(lambda: path not in self._collecting)
        self._backups[path] += 1
        try:
            yield
        finally:
            self._backups[path] -= 1
            self._tell()

    @asynccontextmanager
    async def collecting(self, path: NodePath) -> AsyncIterator[None]:
        """Waits until no backup runs; one that begins meanwhile goes first."""
        await self._until(lambda: path not in self._collecting and not self._backups[path])
        self._collecting.add(path)
        try:
            yield
        finally:
            self._collecting.discard(path)
            self._tell()

    async def _until(self, free: Callable[[], bool]) -> None:
        while not free():
            await self._changed.wait()

    def _tell(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
