"""Clocks that stand still until a test moves them, or somebody sleeps."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

_AT_ONCE = 10_000  # timers of one moment
START = datetime(2026, 1, 1, tzinfo=UTC)


async def settle() -> None:
    """Lets every task run until all wait for something that is not the loop: a clock, a future, a socket."""
    loop = asyncio.get_running_loop()
    for _ in range(10_000):
        await asyncio.sleep(0)
        if not loop._ready:  # type: ignore[attr-defined]  # the one way to see that nothing is left to run
            return
    raise AssertionError("the loop does not come to rest")


class _Timer:
    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self.callback = None


class FakeClock:
    """``controller.clock.Clock``; time passes only in ``advance``."""

    def __init__(self, start: datetime = START) -> None:
        self._start = start
        self._elapsed = 0.0
        self._timers: list[tuple[float, int, _Timer]] = []
        self._ids = itertools.count()
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self._elapsed

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._elapsed)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> _Timer:
        timer = _Timer(callback)
        heapq.heappush(self._timers, (self._elapsed + max(0.0, seconds), next(self._ids), timer))
        return timer

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not woken.done():
                woken.set_result(None)

        timer = self.call_later(seconds, wake)
        try:
            await woken
        finally:
            timer.cancel()

    @asynccontextmanager
    async def timeout(self, seconds: float) -> AsyncIterator[asyncio.Timeout]:
        def expire() -> None:
            if not deadline.expired():
                deadline.reschedule(asyncio.get_running_loop().time())

        async with asyncio.timeout(0 if seconds <= 0 else None) as deadline:
            timer = self.call_later(seconds, expire)
            try:
                yield deadline
            finally:
                timer.cancel()

    async def advance(self, seconds: float) -> None:
        """Passes ``seconds``, running each timer at its time and letting the tasks settle after each."""
        await settle()
        end, at_once = self._elapsed + seconds, 0
        while self._timers and self._timers[0][0] <= end + 1e-9:
            due, _, timer = heapq.heappop(self._timers)
            at_once = at_once + 1 if due <= self._elapsed else 0
            if at_once > _AT_ONCE:
                raise AssertionError("time does not pass: each timer begins another one")
            self._elapsed = max(self._elapsed, due)
            if timer.callback is not None:
                timer.callback()
                await asyncio.sleep(0)  # a rescheduled timeout fires in the next turn of the loop
                await settle()
        self._elapsed = end
        await settle()

    def jump(self, seconds: float) -> None:
        """Passes ``seconds`` with no timer run: what a stopped process or a blocked loop sees afterwards."""
        self._elapsed += seconds

    def next_timer(self) -> float | None:
        """Seconds until the next timer, None without one."""
        due = [at for at, _, timer in self._timers if timer.callback is not None]
        return min(due) - self._elapsed if due else None


class Time:
    """A clock in seconds that passes where somebody sleeps; ``longest`` is the longest of those sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.longest = 0.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.longest = max(self.longest, seconds)
        await asyncio.sleep(0)
