"""What a reconciler's own writes made of an object, until the watch brings it.

A reconcile that follows a write within milliseconds would find the old object in the store, decide again what is
decided, and run into a Conflict. It is a memory of what the API server answered, never a truth of its own: what the
store shows from another hand always wins, and losing all of it costs a Conflict at most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from controller.objects import HasMetadata, key_of

if TYPE_CHECKING:
    from controller.resource import Key
    from controller.store import Store

T = TypeVar("T", bound=HasMetadata)


class OwnWrites(Generic[T]):
    """Reads ``store`` as if every own write were in it already."""

    def __init__(self, store: Store[T]) -> None:
        self._store = store
        # by key: what was made, and the resourceVersions that it came after in an unbroken chain of our writes
        self._written: dict[Key, tuple[frozenset[str], T]] = {}

    def get(self, key: Key) -> T | None:
        seen, written = self._store.get(key), self._written.get(key)
        if seen is not None and written is not None and seen.metadata.resource_version in written[0]:
            return written[1]
        self._written.pop(key, None)
        return seen

    def wrote(self, before: T, made: T) -> None:
        """``made`` is the API server's answer to a write over ``before``, which ``get`` gave."""
        if made.metadata.resource_version == before.metadata.resource_version:
            return
        key = key_of(before)
        known = self._written.get(key)
        earlier = known[0] if known is not None and known[1] is before else frozenset[str]()
        self._written[key] = (earlier | {before.metadata.resource_version}, made)
