"""Flow control of a node's transfers: request slots, bytes in flight, bytes a second.

A transfer takes a slot and its bytes before it begins, and each chunk pays the bucket, so what a store or a disk cannot
take waits here and not in memory. The slots follow the store: one more while that makes it faster, half of them where
it throttles. The bandwidth is the node's: operations that run at once share it, by direction.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeVar

from agent.bandwidth import Direction, Meter, NodeRate, Pace, Tally, node_rate
from backends.base import FileBody
from backends.errors import Kind
from backends.gate import Gate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
    from pathlib import Path
    from typing import Self

    from backends.body import Encoder, Inspector
    from backends.errors import StoreError

    Work = Callable[[], Awaitable[None]]

START, MOST = 8, 32  # slots
IN_FLIGHT = 128 << 20
# A streamed transfer holds this however long it is: a chunk read ahead, one under way, the socket's buffers.
STREAMED = 4 << 20
_GROW_EVERY = 5.0
_ONE_TROUBLE = 1.0  # seconds; what fails within them has failed of the same overload
_PATIENCE = 6  # intervals without a gain, until one more slot is tried again
_OVERLOAD = frozenset({Kind.THROTTLED, Kind.UNAVAILABLE, Kind.TIMEOUT})
SMALL_SHARE = 4  # one slot in so many is for small objects while there are both
_T = TypeVar("_T")


class Flow:
    """Shared by all transfers of one operation. See :meth:`of`."""

    def __init__(
        self,
        most: int,
        *,
        start: int = START,
        pace: Pace | None = None,
        node: NodeRate | None = None,
        bandwidth: int = 0,
        in_flight: int = IN_FLIGHT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.most = most
        self._bandwidth = bandwidth
        self._node = node or NodeRate()
        self.bucket = Meter(self._node.bucket, pace, self._count)
        self._gate = Gate(min(start, most), in_flight)
        self._users = 0
        self._clock = clock
        self._since = clock()
        self._moved = 0
        self._wanted = False
        self._gainless = 0
        self._rate_before = 0.0
        self._trouble_until = 0.0

    @classmethod
    def of(
        cls,
        concurrent_transfers: int,
        bandwidth: int,
        *,
        finish_within: int = 0,
        total: int = 0,
        direction: Direction = Direction.SEND,
    ) -> Self:
        """As a user asks for it. ``concurrent_transfers``: the most slots there will be; 0 is :data:`MOST`.

        ``bandwidth``: bytes a second of the node, 0 is no limit. ``finish_within``: seconds in which ``total`` bytes
        shall have passed, no faster than that takes.
        """
        pace = Pace(finish_within, total) if finish_within > 0 else None
        return cls(concurrent_transfers or MOST, pace=pace, node=node_rate(direction), bandwidth=bandwidth)

    @property
    def slots(self) -> int:
        """As many requests at once, now. Give ``each`` ``most`` workers: slots come and go."""
        return self._gate.entries

    @asynccontextmanager
    async def slot(self, size: int, *, whole: bool = False) -> AsyncIterator[None]:
        """One request of ``size`` bytes, streamed; ``whole``: held in memory. Errors of a store meanwhile are its own.

        First come, first served. What is larger than the bound on bytes in flight waits until it is alone.
        """
        self._wanted = self._wanted or self._gate.inside >= self.slots
        self._use(1)
        token = _current.set(self)
        try:
            async with self._gate.entered(size if whole else min(size, STREAMED)):
                yield
        finally:
            _current.reset(token)
            self._use(-1)
            self._look()

    def _count(self, count: int) -> None:
        self._moved += count
        self._look()

    def trouble(self) -> None:
        """The store is overloaded: half the slots, once for all that fails of one overload."""
        now = self._clock()
        if now < self._trouble_until:
            return
        self._trouble_until = now + _ONE_TROUBLE
        self._gate.entries = max(1, self.slots // 2)
        self._begin(now, 0.0)

    def _look(self) -> None:
        """One slot more, where one was missing and the last one brought at least half of its share."""
        now = self._clock()
        if now - self._since < _GROW_EVERY:
            return
        rate = self._moved / (now - self._since)
        gained = rate > self._rate_before * (1 + 0.5 / self.slots)
        if self._wanted and self.slots < self.most and (gained or self._gainless >= _PATIENCE):
            self._gate.entries += 1
            self._begin(now, rate)
        else:
            gainless = self._gainless + 1
            self._begin(now, self._rate_before)
            self._gainless = gainless

    def _begin(self, now: float, rate: float) -> None:
        self._since, self._moved, self._wanted, self._gainless, self._rate_before = now, 0, False, 0, rate

    def _use(self, more: int) -> None:
        """Only who transfers has a say in the node's bandwidth."""
        before, self._users = self._users, self._users + more
        if not before:
            self._node.join(self, self._bandwidth)
        elif not self._users:
            self._node.leave(self)


_current: ContextVar[Flow] = ContextVar("flow")


def failed(error: StoreError) -> None:
    """For ``Statistics.on_error``: tells the flow in whose slot the request ran."""
    if error.kind in _OVERLOAD and (flow := _current.get(None)) is not None:
        flow.trouble()


class MeteredBody(FileBody):
    """A range of a file; each chunk pays the bucket and is counted.

    A retry reads again from the first byte: what the failed try counted is taken back.
    """

    def __init__(
        self,
        path: str | Path,
        offset: int,
        size: int,
        checksum: int | None = None,
        *,
        bucket: Meter,
        count: Callable[[int], None],
        inspector: Inspector | None = None,
        encoder: Encoder | None = None,
    ) -> None:
        super().__init__(path, offset, size, checksum=checksum, inspector=inspector, encoder=encoder)
        self._tally = Tally(bucket, count, encoded=self.size, content=size)

    def chunks(self) -> AsyncIterator[bytes]:
        return self._tally.through(super().chunks())


async def each(items: Iterable[_T], workers: int, work: Callable[[_T], Awaitable[None]]) -> None:
    """``work`` on every item, ``workers`` at once, in order. The first error ends the rest and is raised as it was."""
    pending = iter(items)

    async def worker() -> None:
        for item in pending:  # one event loop: two workers never get the same item
            await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(max(1, workers)):
                group.create_task(worker())
    except BaseExceptionGroup as error:
        raise error.exceptions[0] from None


async def side_by_side(large: Iterator[Work], small: Iterator[Work], flow: Flow) -> None:
    """Both to their end, each in order; the first error ends the rest and is raised as it was.

    As many at once as the flow has slots, which may change, and one that waits: so the flow sees that it could be more.
    """
    running = {"large": 0, "small": 0}
    ended = asyncio.Event()

    async def do(work: Work, kind: str) -> None:
        try:
            await work()
        finally:
            running[kind] -= 1
            ended.set()

    left = {"large": large, "small": small}
    try:
        async with asyncio.TaskGroup() as group:
            while left:
                share = max(1, flow.slots // SMALL_SHARE)
                first = "small" if running["small"] <= share else "large"
                for kind in (first, "large", "small"):
                    work = next(left[kind], None) if kind in left else None
                    if work is not None:
                        running[kind] += 1
                        group.create_task(do(work, kind))
                        break
                    left.pop(kind, None)
                while sum(running.values()) > flow.slots:
                    ended.clear()
                    await ended.wait()
    except BaseExceptionGroup as error:
        raise error.exceptions[0] from None
