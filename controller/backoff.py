"""When to try again: per key exponential with jitter, and one bucket over all keys of a controller.

The bucket bounds what a thousand failing objects together ask of the API server.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

    from controller.clock import Clock


def exponential(failures: int, base: float, cap: float) -> float:
    """``base`` doubled for every failure after the first, at most ``cap``; 0 without a failure."""
    if failures <= 0:
        return 0.0
    return min(cap, base * 2.0 ** min(failures - 1, 60))


class Bucket:
    """``rate`` tokens a second, ``burst`` at once. Taking is never refused: it tells how long to wait."""

    def __init__(self, clock: Clock, rate: float = 10.0, burst: int = 100) -> None:
        self._clock = clock
        self._rate = rate
        self._burst = burst
        self._tokens = float(burst)
        self._at = clock.monotonic()

    def take(self) -> float:
        now = self._clock.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate) - 1.0
        self._at = now
        return max(0.0, -self._tokens / self._rate)


class Backoff:
    """0.5 s, 1 s, 2 s … 300 s, each shortened by up to a half at random. A key's count ends with ``forget`` only."""

    def __init__(
        self,
        clock: Clock,
        *,
        base: float = 0.5,
        cap: float = 300.0,
        bucket: Bucket | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._base = base
        self._cap = cap
        self._bucket = bucket or Bucket(clock)
        self._rng = rng or random.Random()  # noqa: S311  jitter
        self._failures: dict[Hashable, int] = {}

    def next(self, key: Hashable) -> float:
        """Counts a failure of ``key``; seconds to wait before it is tried again."""
        self._failures[key] = self._failures.get(key, 0) + 1
        delay = exponential(self._failures[key], self._base, self._cap)
        return max(delay * self._rng.uniform(0.5, 1.0), self._bucket.take())

    def failures(self, key: Hashable) -> int:
        return self._failures.get(key, 0)

    def forget(self, key: Hashable) -> None:
        self._failures.pop(key, None)

    def failing(self) -> int:
        """How many keys failed last time."""
        return len(self._failures)
