"""The only source of time, so that tests hold it in their hands.

Deadlines and delays use ``monotonic``; ``now`` is for what people read (conditions, events, names).
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager


class Timer(Protocol):
    def cancel(self) -> None: ...


class Clock(Protocol):
    def monotonic(self) -> float:
        """Seconds since some moment; never goes back."""

    def now(self) -> datetime:
        """Aware, in UTC."""

    async def sleep(self, seconds: float, /) -> None: ...

    def call_later(self, seconds: float, callback: Callable[[], object], /) -> Timer: ...

    def timeout(self, seconds: float, /) -> AbstractAsyncContextManager[object]:
        """Raises TimeoutError out of its body after ``seconds``. Never hold it open round a ``yield``."""


class RealClock:
    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        return asyncio.get_running_loop().call_later(seconds, callback)

    def timeout(self, seconds: float) -> AbstractAsyncContextManager[object]:
        return asyncio.timeout(seconds)


def rfc3339(moment: datetime) -> str:
    """As the API server writes a ``Time``: seconds, UTC, "Z"."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc3339_micro(moment: datetime) -> str:
    """As the API server writes a ``MicroTime`` (Leases)."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_rfc3339(text: str) -> datetime:
    """Aware datetime of a ``Time`` or ``MicroTime``; ValueError for anything else."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} names no time zone")
    return moment.astimezone(UTC)
