"""Bytes a second: one bucket for all who share a limit."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Protocol

from backends.streams import closing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

_SMALLEST_PIECE = 4 << 10


class Bucket(Protocol):
    """What bytes pay: a TokenBucket, or several at once."""

    @property
    def piece(self) -> int:
        """Bytes that are best taken at once; 0 is any number."""

    async def take(self, count: int) -> None: ...


class TokenBucket:
    """At most ``rate`` bytes a second, with a burst of a quarter of a second; 0 is no limit. Fair: first come first.

    ``rate`` may change at any time: nobody waits at an old rate for longer than one piece.
    """

    def __init__(
        self,
        rate: float = 0,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._rate = rate
        self._tokens = rate / 4
        self._at = clock()
        self._turn = asyncio.Lock()

    @property
    def rate(self) -> float:
        return self._rate

    @rate.setter
    def rate(self, rate: float) -> None:
        self._refill()
        self._rate = rate
        self._tokens = min(self._tokens, rate / 4)

    @property
    def piece(self) -> int:
        """A chunk that waits for longer looks like a dead client: MinIO hangs up after 30 s."""
        return max(_SMALLEST_PIECE, int(self._rate / 4)) if self._rate > 0 else 0

    async def take(self, count: int) -> None:
        """Waits until ``count`` bytes may pass; the last of them are lent and waited for."""
        while count > 0 and self._rate > 0:
            async with self._turn:  # anew for each piece: a large count does not hold up a small one
                step = min(count, self.piece)
                if self._rate <= 0:
                    return
                self._refill()
                self._tokens -= step
                count -= step
                if self._tokens < 0:
                    await self._sleep(-self._tokens / self._rate)

    def _refill(self) -> None:
        now = self._clock()
        self._tokens = min(self._rate / 4, self._tokens + (now - self._at) * self._rate)
        self._at = now


async def paid(chunks: AsyncIterator[bytes], bucket: Bucket) -> AsyncIterator[bytes]:
    """``chunks``, in pieces where the bucket asks for them, each handed on when it is paid for."""
    async with closing(chunks) as source:
        async for data in source:
            size = bucket.piece or len(data)
            for start in range(0, len(data), size or 1):
                piece = data[start : start + size]  # not a copy where it is all
                await bucket.take(len(piece))
                yield piece
