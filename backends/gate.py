"""How much may be under way at once: so many entries, and so many bytes that they hold."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Gate:
    """First come, first in: who waits for many bytes is not overtaken by who wants few, so nobody starves.

    ``entries`` may change at any time; who is inside stays. What holds more than ``size`` bytes counts as ``size``: it
    waits until it is alone.
    """

    def __init__(self, entries: int, size: int) -> None:
        self._entries = entries
        self._size = size
        self.inside = 0
        self.held = 0  # bytes
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()

    @property
    def entries(self) -> int:
        return self._entries

    @entries.setter
    def entries(self, entries: int) -> None:
        self._entries = entries
        self._admit()

    @property
    def wanted(self) -> bool:
        """Somebody waits."""
        return bool(self._waiting)

    @asynccontextmanager
    async def entered(self, size: int = 0) -> AsyncIterator[None]:
        """One entry that holds ``size`` bytes."""
        size = min(size, self._size)
        await self._enter(size)
        try:
            yield
        finally:
            self._leave(size)

    async def _enter(self, size: int) -> None:
        if not self._waiting and self._fits(size):
            self._take(size)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((turn, size))
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # let in and cancelled at once
                self._leave(size)
            self._admit()  # the next may fit where this one did not
            raise

    def _leave(self, size: int) -> None:
        self.inside -= 1
        self.held -= size
        self._admit()

    def _admit(self) -> None:
        """The one who lets in counts, so that nobody slips in between."""
        while self._waiting:
            turn, size = self._waiting[0]
            if not turn.cancelled():
                if not self._fits(size):
                    return
                self._take(size)
                turn.set_result(None)
            self._waiting.popleft()

    def _fits(self, size: int) -> bool:
        return self.inside < self._entries and self.held + size <= self._size

    def _take(self, size: int) -> None:
        self.inside += 1
        self.held += size
