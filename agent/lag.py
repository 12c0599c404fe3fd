"""How long the event loop keeps its tasks waiting: what blocks it blocks the API, every transfer and every timer."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

EVERY = 0.05  # seconds; twenty timers a second cost about a thousandth of a core


class Lag:
    """Sleeps, and looks how late it wakes. ``observe`` is told each stall, in seconds."""

    def __init__(
        self,
        observe: Callable[[float], None] = lambda _: None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.longest = 0.0
        self._observe = observe
        self._clock = clock
        self._sleep = sleep
        self._stalls: Counter[int] = Counter()  # by milliseconds, rounded up

    async def run(self) -> None:
        """For ever."""
        while True:
            due = self._clock() + EVERY
            await self._sleep(EVERY)
            stall = max(0.0, self._clock() - due)
            self.longest = max(self.longest, stall)
            self._stalls[math.ceil(stall * 1000)] += 1
            self._observe(stall)

    def below(self, share: float) -> float:
        """Seconds that ``share`` (0 to 1) of all stalls stay within; 0 before the first."""
        wanted, seen = share * self._stalls.total(), 0
        for milliseconds, count in sorted(self._stalls.items()):
            seen += count
            if seen >= wanted:
                return milliseconds / 1000
        return 0.0
