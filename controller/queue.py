"""The keys that want a reconcile.

Fair: keys come out in the order in which they became due. Stingy: a key is never with two workers at once, and however
often it is added while it waits or is worked on, it comes out once more. No locks: everything but ``get`` and
``shutdown`` is synchronous and belongs to one event loop.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import deque
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from controller import metrics
from controller.backoff import Backoff

if TYPE_CHECKING:
    from controller.clock import Clock, Timer
    from controller.resource import Key


class QueueClosed(Exception):  # noqa: N818  the end of work, not a failure
    """``get`` after ``shutdown``."""


class Statistics(NamedTuple):
    ready: int
    delayed: int
    processing: int
    failing: int
    added: int


@dataclass(slots=True)
class _Entry:
    due: float
    number: int
    reason: str


class WorkQueue:
    """``get`` gives a key, ``done`` must follow; ``retry`` and ``forget`` keep the key's count of failures."""

    def __init__(self, clock: Clock, backoff: Backoff | None = None, *, name: str = "") -> None:
        self._clock = clock
        self._backoff = backoff or Backoff(clock)
        self._name = name
        self._dirty: dict[Key, _Entry] = {}
        self._processing: dict[Key, str] = {}
        # (due, number, key): stands for a dirty key that is not in processing, or for nothing any more
        self._heap: list[tuple[float, int, Key]] = []
        self._getters: deque[asyncio.Future[Key]] = deque()
        self._numbers = itertools.count()
        self._timer: Timer | None = None
        self._timer_due = inf
        self._closed = False
        self._drain = False
        self._idle: asyncio.Future[None] | None = None
        self._added = 0
        self._depth = metrics.QUEUE_DEPTH.labels(name)
        self._waited = metrics.QUEUE_WAIT_SECONDS.labels(name)

    def add(self, key: Key, *, after: float = 0.0, reason: str = "") -> None:
        """The earlier of two delays wins; after ``shutdown`` it does nothing, but for a key that is in work."""
        if self._closed and key not in self._processing:
            return
        self._added += 1
        due = self._clock.monotonic() + max(0.0, after)
        entry = self._dirty.get(key)
        if entry is not None and entry.due <= due:
            return
        self._dirty[key] = entry = _Entry(due, next(self._numbers), reason)
        if key not in self._processing:
            self._push(key, entry)
            self._dispatch()

    def retry(self, key: Key) -> float:
        """Adds a key that failed, after its backoff; returns that delay in seconds."""
        delay = self._backoff.next(key)
        metrics.QUEUE_RETRIES.labels(self._name).inc()
        self.add(key, after=delay, reason="retry")
        return delay

    def forget(self, key: Key) -> None:
        """The key succeeded, or its failing is over: the next failure starts the backoff anew."""
        self._backoff.forget(key)

    def failures(self, key: Key) -> int:
        return self._backoff.failures(key)

    def reason(self, key: Key) -> str:
        """Why a key in work came out: the reason of the ``add`` that made it due. For the log only."""
        return self._processing.get(key, "")

    def done(self, key: Key) -> None:
        """The worker is through with ``key``; what was added meanwhile becomes due now."""
        self._processing.pop(key, None)
        entry = self._dirty.get(key)
        if entry is not None:
            self._push(key, entry)
        self._dispatch()

    async def get(self) -> Key:
        """Waits for a key that is due. Raises QueueClosed. Cancelled, it loses no key."""
        key = self._pop()
        self._dispatch()
        if key is not None:
            return key
        if self._exhausted():
            raise QueueClosed
        getter: asyncio.Future[Key] = asyncio.get_running_loop().create_future()
        self._getters.append(getter)
        try:
            return await getter
        except asyncio.CancelledError:
            if getter.done() and not getter.cancelled() and getter.exception() is None:
                key = getter.result()
                self.add(key, reason=self.reason(key))
                self.done(key)
            elif getter in self._getters:
                self._getters.remove(getter)
            raise

    async def shutdown(self, *, drain: bool = False) -> None:
        """Gives no more keys, or with ``drain`` those that are due by now; returns when no key is in work."""
        self._closed = True
        self._drain = drain
        if not drain:
            self._heap.clear()
        self._dispatch()
        if self._processing or not self._exhausted():
            if self._idle is None:
                self._idle = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._idle)

    def statistics(self) -> Statistics:
        now = self._clock.monotonic()
        ready = sum(entry.due <= now for entry in self._dirty.values())
        return Statistics(ready, len(self._dirty) - ready, len(self._processing), self._backoff.failing(), self._added)

    def __contains__(self, key: Key) -> bool:
        """Dirty: to be done, now or later."""
        return key in self._dirty

    def _push(self, key: Key, entry: _Entry) -> None:
        if not self._closed or self._drain:
            heapq.heappush(self._heap, (entry.due, entry.number, key))

    def _pop(self) -> Key | None:
        """The first key that is due, now in processing."""
        while self._heap:
            due, number, key = self._heap[0]
            entry = self._dirty.get(key)
            if entry is None or entry.number != number:
                heapq.heappop(self._heap)  # an earlier add took its place
                continue
            now = self._clock.monotonic()
            if due > now:
                return None
            heapq.heappop(self._heap)
            del self._dirty[key]
            self._processing[key] = entry.reason
            self._waited.observe(now - due)
            return key
        return None

    def _dispatch(self) -> None:
        """Gives due keys to those who wait, and sets the one timer to the next that will be due."""
        while self._getters:
            if self._getters[0].done():  # cancelled
                self._getters.popleft()
                continue
            key = self._pop()
            if key is None:
                break
            self._getters.popleft().set_result(key)
        self._set_timer()
        self._depth.set(len(self._dirty))
        if self._closed and self._exhausted():
            while self._getters:
                getter = self._getters.popleft()
                if not getter.done():
                    getter.set_exception(QueueClosed())
            if self._idle is not None and not self._processing and not self._idle.done():
                self._idle.set_result(None)

    def _set_timer(self) -> None:
        due = self._heap[0][0] if self._heap and self._getters and not self._closed else inf
        if due < self._timer_due:  # a timer that comes too early does no harm
            self._cancel_timer()
            self._timer_due = due
            self._timer = self._clock.call_later(max(0.0, due - self._clock.monotonic()), self._on_timer)
        elif self._closed:
            self._cancel_timer()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_due = None, inf

    def _on_timer(self) -> None:
        self._cancel_timer()
        self._dispatch()

    def _exhausted(self) -> bool:
        """Closed, and nothing is left that is due; delayed keys are never waited for."""
        if not self._closed:
            return False
        now = self._clock.monotonic()
        return not self._drain or not any(entry.due <= now for entry in self._dirty.values())
