"""Streams: closed in time, and poured into what takes their bytes.

A generator that is dropped half read keeps its connection until it is collected.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

from backends.threads import run

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

T = TypeVar("T")

_AT_ONCE = 1 << 20  # bytes that are worth a hop into a thread


class Sink(Protocol):
    """Takes bytes in order, in a thread, one call at a time. They are its own until it returns."""

    def __call__(self, data: bytes | memoryview, /) -> None: ...


@runtime_checkable
class Roomy(Sink, Protocol):
    """One with room of its own: bytes that are put at its beginning before they are handed over need not be copied."""

    def room(self) -> memoryview | None:
        """At least a byte, good until the next call of the sink. None: it takes any bytes as they are."""


class Guarded:
    """A sink whose error is kept as it was raised."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._room = sink.room if isinstance(sink, Roomy) else lambda: None
        self.failure: Exception | None = None

    def __call__(self, data: bytes | memoryview, /) -> None:
        try:
            self._sink(data)
        except Exception as error:
            self.failure = error
            raise

    def room(self) -> memoryview | None:
        return self._room()


@asynccontextmanager
async def closing(stream: AsyncIterator[T]) -> AsyncIterator[AsyncIterator[T]]:
    """``aclosing`` for what the protocol calls an AsyncIterator, and is a generator nearly always."""
    try:
        yield stream
    finally:
        close = getattr(stream, "aclose", None)
        if close is not None:
            await close()


async def poured(chunks: AsyncIterator[bytes], sink: Sink) -> AsyncGenerator[int, None]:
    """For a store whose bytes come on the event loop. Waits for the sink even when cancelled."""
    held: list[bytes] = []
    size = 0
    async with closing(chunks) as source:
        async for chunk in source:
            held.append(chunk)
            size += len(chunk)
            if size >= _AT_ONCE:
                await run(_feed, sink, held)
                yield size
                held, size = [], 0
        if held:
            await run(_feed, sink, held)
            yield size


def _feed(sink: Sink, chunks: Sequence[bytes]) -> None:
    for chunk in chunks:
        sink(chunk)
