"""Writes a kind's status: only what differs, counters in slots, and the events that belong to it once it is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import msgspec

from controller.objects import HasMetadata, key_of
from controller.own_writes import OwnWrites
from controller.reconcile import RequeueAfter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from controller.client import Client
    from controller.clock import Clock
    from controller.reconcile import Outcome
    from controller.recorder import Recorder
    from controller.resource import Key, Resource
    from controller.store import Store

SLOT = 5.0  # seconds between two writes of nothing but counters

Severity = Literal["Normal", "Warning"]
Event = tuple[Severity, str, str]  # type, reason, message
T = TypeVar("T", bound=HasMetadata)


class StatusWriter(Generic[T]):
    """The one writer of the status of one kind."""

    def __init__(
        self, resource: Resource, kind: type[T], *, client: Client, store: Store[T], recorder: Recorder, clock: Clock
    ) -> None:
        self._resource = resource
        self._kind = kind
        self._client = client
        self._current = OwnWrites(store)
        self._recorder = recorder
        self._clock = clock
        self._at: dict[Key, float] = {}

    def current(self, key: Key) -> T | None:
        """The object with our own last write, whether or not the watch has brought it."""
        return self._current.get(key)

    async def save(
        self,
        obj: T,
        old: msgspec.Struct,
        new: msgspec.Struct,
        outcome: Outcome,
        *,
        urgent: bool,
        events: Sequence[Event] = (),
        stamp: dict[str, Any] | None = None,
    ) -> Outcome:
        """``outcome``, or when to look again where a change that is not ``urgent`` must wait for its slot.

        ``stamp`` is set in ``new`` only where it is written. Conflict where the object is not ``obj`` any more.
        """
        if new == old:
            return outcome
        key, meta = key_of(obj), obj.metadata
        wait = self._at.get(key, -SLOT) + SLOT - self._clock.monotonic()
        if not urgent and wait > 0:
            return RequeueAfter(wait, "the next slot for progress")
        for name, value in (stamp or {}).items():
            setattr(new, name, value)
        try:
            body = await self._client.patch_status(
                self._resource, key, msgspec.to_builtins(new), uid=meta.uid, resource_version=meta.resource_version
            )
        finally:  # an answer that is lost may be that of a write
            self._at[key] = self._clock.monotonic()
        self._current.wrote(obj, msgspec.convert(body, self._kind))
        for type_, reason, message in events:
            self._recorder.event(self._resource, obj, type_, reason, message)
        return outcome

    def forget(self, key: Key) -> None:
        self._at.pop(key, None)
