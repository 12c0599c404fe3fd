"""Flow control of one node's transfers: request slots, bytes in flight, bytes a second.

A transfer takes a slot and its bytes before it begins, and each chunk pays the bucket, so what a store or a disk cannot
take waits here and not in memory.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from backends.base import FileBody

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
    from pathlib import Path

IN_FLIGHT = 128 << 20
_SMALLEST_PIECE = 4 << 10
_T = TypeVar("_T")


class TokenBucket:
    """At most ``rate`` bytes a second, with a burst of a quarter of a second; 0 is no limit. Fair: first come first."""

    def __init__(
        self,
        rate: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._rate = rate
        self._burst = rate / 4
        # What is taken at once. A chunk that waits for longer looks like a dead client: MinIO hangs up after 30 s.
        self.piece = max(_SMALLEST_PIECE, int(self._burst)) if rate > 0 else 0
        self._clock = clock
        self._sleep = sleep
        self._tokens = self._burst
        self._at = clock()
        self._turn = asyncio.Lock()

    async def take(self, count: int) -> None:
        """Waits until ``count`` bytes may pass. More than the burst is lent and waited for."""
        if self._rate <= 0:
            return
        async with self._turn:
            now = self._clock()
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate) - count
            self._at = now
            if self._tokens < 0:
                await self._sleep(-self._tokens / self._rate)


class Flow:
    """Shared by all transfers of one operation."""

    def __init__(self, slots: int, bandwidth: int = 0, *, in_flight: int = IN_FLIGHT) -> None:
        self.slots = max(1, slots)
        self.bucket = TokenBucket(bandwidth)
        self._slots = asyncio.Semaphore(self.slots)
        self._limit = in_flight
        self._in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def slot(self, size: int) -> AsyncIterator[None]:
        """One request that holds up to ``size`` bytes. A size over the bound waits until it is alone."""
        async with self._slots:
            held = min(size, self._limit)
            while self._in_flight + held > self._limit:
                turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._waiting.append(turn)
                await turn
            self._in_flight += held
            try:
                yield
            finally:
                self._in_flight -= held
                while self._waiting:
                    turn = self._waiting.popleft()
                    if not turn.done():
                        turn.set_result(None)


class MeteredBody(FileBody):
    """A range of a file whose checksum is known; each chunk pays the bucket and is counted.

    A retry reads again from the first byte: what the failed try counted is taken back.
    """

    def __init__(
        self, path: Path, offset: int, size: int, checksum: int, *, bucket: TokenBucket, count: Callable[[int], None]
    ) -> None:
        super().__init__(path, offset, size, checksum=checksum)
        self._bucket = bucket
        self._count = count
        self._counted = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        self._count(-self._counted)
        self._counted = 0
        async for data in super().chunks():
            for piece in _pieces(data, self._bucket.piece):
                await self._bucket.take(len(piece))
                self._counted += len(piece)
                self._count(len(piece))
                yield piece


def _pieces(data: bytes, size: int) -> Iterable[bytes]:
    """``data`` whole where ``size`` is 0."""
    if not size or len(data) <= size:
        return (data,)
    return (data[start : start + size] for start in range(0, len(data), size))


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
