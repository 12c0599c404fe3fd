"""Bytes a second of one operation: its own pace, and the node's bandwidth that it shares with the others."""

from __future__ import annotations

import asyncio
import time
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol
from weakref import WeakKeyDictionary

from backends.rate import TokenBucket, paid
from backends.streams import closing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

FLOOR = 1 << 20  # bytes a second; a pace is never slower
_IN_TIME = 0.95  # of the seconds given; the rest is for what comes after the bytes


class Direction(StrEnum):
    SEND = "send"
    RECEIVE = "receive"


class User(Protocol):
    @property
    def slots(self) -> int: ...


class NodeRate:
    """One direction's bandwidth: the least that any of those who transfer now was given."""

    def __init__(self) -> None:
        self.bucket = TokenBucket()
        self._users: dict[User, int] = {}

    def join(self, user: User, bandwidth: int) -> None:
        """``bandwidth`` in bytes a second; 0 is no limit."""
        self._users[user] = bandwidth
        self._settle()

    def leave(self, user: User) -> None:
        del self._users[user]
        self._settle()

    @property
    def slots(self) -> int:
        """Of all who transfer now."""
        return sum(user.slots for user in self._users)

    def _settle(self) -> None:
        rate = min(filter(None, self._users.values()), default=0)
        if rate != self.bucket.rate:
            self.bucket.rate = rate


_nodes: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Direction, NodeRate]] = WeakKeyDictionary()


def node_rate(direction: Direction) -> NodeRate:
    """The process's, which is the node's: an agent has one event loop."""
    rates = _nodes.setdefault(asyncio.get_running_loop(), {})
    return rates.setdefault(direction, NodeRate())


class Pace:
    """The rate at which ``total`` bytes have passed after ``seconds``, anew from what is left; late, it is no limit."""

    def __init__(
        self,
        seconds: float,
        total: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._left = total
        self._clock = clock
        self._until = clock() + seconds * _IN_TIME
        self._bucket = TokenBucket(self.rate, clock=clock, sleep=sleep)

    @property
    def rate(self) -> float:
        remaining = self._until - self._clock()
        return max(float(FLOOR), self._left / remaining) if remaining > 0 and self._left > 0 else 0.0

    @property
    def piece(self) -> int:
        return self._bucket.piece

    async def take(self, count: int) -> None:
        self._bucket.rate = self.rate
        await self._bucket.take(count)

    def passed(self, count: int) -> None:
        self._left -= count


class Meter:
    """What the bytes of one operation pay."""

    def __init__(self, node: TokenBucket, pace: Pace | None, moved: Callable[[int], None]) -> None:
        self._node = node
        self._pace = pace
        self._moved = moved

    @property
    def piece(self) -> int:
        pieces = (self._node.piece, self._pace.piece if self._pace else 0)
        return min(filter(None, pieces), default=0)

    async def take(self, count: int) -> None:
        if self._pace is not None:
            await self._pace.take(count)
        await self._node.take(count)
        self._count(count)

    def give_back(self, count: int) -> None:
        """Bytes of a try that failed: they will pass again."""
        self._count(-count)

    def _count(self, count: int) -> None:
        self._moved(count)
        if self._pace is not None:
            self._pace.passed(count)


class Tally:
    """The bytes of one body: they pay and are counted. Each try takes back what a failed one before it counted.

    What is counted are the bytes of the files: ``content`` in all, which the body has as ``encoded`` bytes.
    """

    def __init__(self, meter: Meter, count: Callable[[int], None], *, encoded: int = 1, content: int = 1) -> None:
        self._meter = meter
        self._count = count
        self._encoded = encoded
        self._content = content
        self._paid = self._counted = 0

    async def through(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """One try."""
        self._count(-self._counted)
        self._meter.give_back(self._paid)
        self._paid = self._counted = 0
        async with closing(paid(chunks, self._meter)) as pieces:
            async for data in pieces:
                self._paid += len(data)
                content = self._paid * self._content // self._encoded
                self._count(content - self._counted)
                self._counted = content
                yield data
