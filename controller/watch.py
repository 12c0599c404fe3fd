"""List a kind, watch it, and go on doing so whatever happens: as a stream of events without gaps.

::

    EMPTY ──Started──> LISTING ──last page──> WATCHING ──end, network, 429──> WATCHING, at the last resourceVersion
      ^                   │ 410                  │ 410, or an object too long for one line
      └───────────────────┴──────────────────────┘

``step`` decides and is pure; ``watch`` does what the state asks for and feeds ``step`` with what came of it. Every full
list is one ``Init``, its objects as ``InitApply``, one ``InitDone``: whoever keeps the objects finds out by difference
what was deleted while nobody watched.

Numbers are client-go's: backoff 0.8 s doubled up to 30 s, each up to twice as long at random; a watch lasts 5 to 10
minutes; one that ends within a second and brought nothing counts as failed.
"""

from __future__ import annotations

import logging
import random
from contextlib import aclosing
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import msgspec
import structlog

from controller import metrics
from controller.backoff import exponential
from controller.errors import ApiError, Gone, Status, TooManyRequests, from_status
from controller.lines import LineTooLong
from controller.objects import HasMetadata, decode_meta
from controller.resource import Key

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from controller.client import Client
    from controller.clock import Clock
    from controller.resource import Resource

T = TypeVar("T", bound=HasMetadata)

FIRST_DELAY, LONGEST_DELAY = 0.8, 30.0
SHORT_WATCH = 1.0
WATCH_SECONDS = (300.0, 600.0)
REFUSALS_BEFORE_RELIST = 8  # then the resourceVersion itself may be what the server cannot take

_log = structlog.get_logger("controller.watch")


# What comes out


@dataclass(frozen=True, slots=True)
class Init:
    """A full list begins."""


@dataclass(frozen=True, slots=True)
class InitApply(Generic[T]):
    """An object of the list."""

    obj: T


@dataclass(frozen=True, slots=True)
class InitDone:
    """The list is complete: what was not in it does not exist."""


@dataclass(frozen=True, slots=True)
class Apply(Generic[T]):
    """An object was made or changed."""

    obj: T


@dataclass(frozen=True, slots=True)
class Delete:
    """An object is gone, or the selector does not match it any more."""

    key: Key


@dataclass(frozen=True, slots=True)
class Broken:
    """An object exists, but cannot be decoded: what is known of it stays."""

    key: Key


Event = Init | InitApply[T] | InitDone | Apply[T] | Delete | Broken


# What goes in


@dataclass(frozen=True, slots=True)
class Started:
    """There is nothing yet: list."""


@dataclass(frozen=True, slots=True)
class Listed(Generic[T]):
    obj: T


@dataclass(frozen=True, slots=True)
class PageEnd:
    """``token`` asks for the next page; empty at the end of the list."""

    token: str
    resource_version: str


@dataclass(frozen=True, slots=True)
class Changed(Generic[T]):
    obj: T
    resource_version: str


@dataclass(frozen=True, slots=True)
class Removed:
    key: Key
    resource_version: str


@dataclass(frozen=True, slots=True)
class Undecoded:
    """``resource_version`` is empty for an item of a list."""

    key: Key
    resource_version: str = ""


@dataclass(frozen=True, slots=True)
class Bookmark:
    resource_version: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The server ended the watch, ``lasted`` seconds after it was asked for."""

    lasted: float


@dataclass(frozen=True, slots=True)
class Failed:
    """A list or a watch did not begin, or broke off, or sent an ERROR event."""

    error: Exception


Input = Started | Listed[T] | PageEnd | Changed[T] | Removed | Undecoded | Bookmark | Ended | Failed


class Phase(Enum):
    EMPTY = "empty"
    LISTING = "listing"
    WATCHING = "watching"


@dataclass(frozen=True, slots=True)
class WatchState:
    """``failures`` since the server last told something new; ``brought``: this watch had an event."""

    phase: Phase = Phase.EMPTY
    resource_version: str = ""
    token: str = ""
    failures: int = 0
    brought: bool = False


class Step(NamedTuple, Generic[T]):
    """``delay``: seconds to wait at least before the next request."""

    event: Event[T] | None
    state: WatchState
    delay: float = 0.0


def step(state: WatchState, got: Input[T]) -> Step[T]:  # noqa: C901  a table, one row a case
    match got:
        case Started():
            return Step(Init(), WatchState(Phase.LISTING, failures=state.failures))
        case Listed(obj):
            return Step(InitApply(obj), state)
        case PageEnd(token, _) if token:
            return Step(None, replace(state, token=token))
        case PageEnd(_, version):
            return Step(InitDone(), WatchState(Phase.WATCHING, version, failures=state.failures))
        case Changed(obj, version):
            return Step(Apply(obj), _news(version))
        case Removed(key, version):
            return Step(Delete(key), _news(version))
        case Undecoded(key, version):
            return Step(Broken(key), _news(version) if version else state)
        case Bookmark(version):
            return Step(None, replace(state, resource_version=version, failures=0))
        case Ended(lasted) if lasted < SHORT_WATCH and not state.brought:
            return _again(state)
        case Ended():
            return Step(None, replace(state, failures=0, brought=False))
        case Failed(error):
            return _failed(state, error)


def _news(version: str) -> WatchState:
    return WatchState(Phase.WATCHING, version, brought=True)


def _failed(state: WatchState, error: Exception) -> Step[T]:
    if isinstance(error, (Gone, LineTooLong)):
        delay = exponential(state.failures, FIRST_DELAY, LONGEST_DELAY)  # the first time there is no reason to wait
        return Step(None, WatchState(failures=state.failures + 1), delay)
    if isinstance(error, TooManyRequests):
        return _again(state, at_least=error.retry_after or 0.0)
    refused = isinstance(error, ApiError) and error.status >= 400
    if refused and state.phase is Phase.WATCHING and state.failures + 1 >= REFUSALS_BEFORE_RELIST:
        return _again(WatchState(failures=state.failures))
    return _again(state)


def _again(state: WatchState, at_least: float = 0.0) -> Step[T]:
    """The same request once more: the same page, or the watch from the last resourceVersion."""
    failures = state.failures + 1
    delay = max(at_least, exponential(failures, FIRST_DELAY, LONGEST_DELAY))
    return Step(None, replace(state, failures=failures, brought=False), delay)


# The shell


class _Line(msgspec.Struct):
    type: str
    object: msgspec.Raw


_line_decoder = msgspec.json.Decoder(_Line)
_status_decoder = msgspec.json.Decoder(Status)


async def watch(
    client: Client,
    resource: Resource,
    decode: Callable[[bytes], T],
    *,
    clock: Clock,
    namespace: str = "",
    label_selector: str = "",
    rng: random.Random | None = None,
    watch_seconds: tuple[float, float] = WATCH_SECONDS,
) -> AsyncGenerator[Event[T], None]:
    """Never ends by itself. Close it when leaving it early (``aclosing``)."""
    rng = rng or random.Random()  # noqa: S311  jitter
    source = _Source(client, resource, decode, clock, namespace, label_selector, rng, watch_seconds)
    state = WatchState()
    while True:
        delay = 0.0
        async with aclosing(source.inputs(state)) as inputs:
            async for got in inputs:
                event, state, delay = step(state, got)
                if event is not None:
                    yield event
        if delay > 0:
            await clock.sleep(delay * rng.uniform(1.0, 2.0))


@dataclass
class _Source(Generic[T]):
    """Does what a state asks for, one request or none, and tells what came of it."""

    client: Client
    resource: Resource
    decode: Callable[[bytes], T]
    clock: Clock
    namespace: str
    label_selector: str
    rng: random.Random
    watch_seconds: tuple[float, float]

    async def inputs(self, state: WatchState) -> AsyncGenerator[Input[T], None]:
        try:
            if state.phase is Phase.EMPTY:
                metrics.WATCH_LISTS.labels(str(self.resource)).inc()
                yield Started()
            elif state.phase is Phase.LISTING:
                for got in await self._page(state.token):
                    yield got
            else:
                async with aclosing(self._stream(state.resource_version)) as stream:
                    async for got in stream:
                        yield got
        except (ApiError, LineTooLong, msgspec.MsgspecError) as e:
            metrics.WATCH_FAILURES.labels(str(self.resource)).inc()
            _log.log(
                logging.INFO if isinstance(e, (Gone, TooManyRequests)) else logging.WARNING,
                "watch failed",
                resource=str(self.resource),
                watched_namespace=self.namespace,
                phase=state.phase.value,
                resource_version=state.resource_version,
                failures=state.failures + 1,
                error=str(e),
            )
            yield Failed(e)

    async def _page(self, token: str) -> list[Input[T]]:
        page = await self.client.list_page(
            self.resource, self.namespace, label_selector=self.label_selector, token=token
        )
        found: list[Input[T]] = []
        for item in page.items:
            obj = self._decoded(bytes(item))
            found.append(replace(obj, resource_version="") if isinstance(obj, Undecoded) else Listed(obj))
        found.append(PageEnd(page.next, page.resource_version))
        return found

    async def _stream(self, version: str) -> AsyncGenerator[Input[T], None]:
        started = self.clock.monotonic()
        lines = self.client.watch_lines(
            self.resource,
            self.namespace,
            resource_version=version,
            timeout=self.rng.uniform(*self.watch_seconds),
            label_selector=self.label_selector,
        )
        async with aclosing(lines):
            async for line in lines:
                yield self._input(_line_decoder.decode(line))
        yield Ended(self.clock.monotonic() - started)

    def _input(self, line: _Line) -> Input[T]:
        raw = bytes(line.object)
        if line.type == "ERROR":
            raise from_status(_status_decoder.decode(raw), operation=f"watch {self.resource}")
        if line.type == "BOOKMARK":
            return Bookmark(decode_meta(raw).resource_version)
        if line.type == "DELETED":
            meta = decode_meta(raw)
            return Removed(Key(meta.namespace, meta.name), meta.resource_version)
        obj = self._decoded(raw)
        return obj if isinstance(obj, Undecoded) else Changed(obj, obj.metadata.resource_version)

    def _decoded(self, raw: bytes) -> T | Undecoded:
        try:
            return self.decode(raw)
        except Exception as e:  # noqa: BLE001  one bad object must not hide the others
            meta = decode_meta(raw)
            key = Key(meta.namespace, meta.name)
            metrics.WATCH_BROKEN.labels(str(self.resource)).inc()
            _log.error("object not understood", resource=str(self.resource), key=str(key), error=str(e))
            return Undecoded(key, meta.resource_version)
