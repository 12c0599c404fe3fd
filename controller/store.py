"""What is known of one kind: a dictionary that a watch fills and anybody reads.

Readers never see half a list: a list is gathered beside the old content and swapped in at ``InitDone``. Objects in a
store are shared: never change one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import structlog

from controller.objects import HasMetadata, key_of
from controller.watch import Apply, Broken, Delete, Init, InitApply, InitDone

if TYPE_CHECKING:
    from collections.abc import Mapping

    from controller.resource import Key
    from controller.watch import Event

T = TypeVar("T", bound=HasMetadata)
Index = Callable[[T], Iterable[str]]

_log = structlog.get_logger("controller.store")


class Change(NamedTuple, Generic[T]):
    """``old`` is None for a new object, ``new`` for one that is gone."""

    old: T | None
    new: T | None


class _Content(Generic[T]):
    """Objects and their indexes, changed together."""

    def __init__(self, indexes: Mapping[str, Index[T]]) -> None:
        self._functions = indexes
        self.objects: dict[Key, T] = {}
        self.indexes: dict[str, dict[str, dict[Key, T]]] = {name: {} for name in indexes}

    def put(self, key: Key, obj: T) -> T | None:
        old = self.remove(key)
        self.objects[key] = obj
        for name, function in self._functions.items():
            for value in self._values(name, function, obj):
                self.indexes[name].setdefault(value, {})[key] = obj
        return old

    def remove(self, key: Key) -> T | None:
        old = self.objects.pop(key, None)
        if old is not None:
            for name, function in self._functions.items():
                index = self.indexes[name]
                for value in self._values(name, function, old):
                    index.get(value, {}).pop(key, None)
                    if not index.get(value):
                        index.pop(value, None)
        return old

    @staticmethod
    def _values(name: str, function: Index[T], obj: T) -> Iterable[str]:
        try:
            return set(function(obj))
        except Exception:  # noqa: BLE001  one bad object must not end the watch of all
            _log.exception("index failed", index=name, key=str(key_of(obj)))
            return ()


class Store(Generic[T]):
    """The readers' side."""

    def __init__(self, indexes: Mapping[str, Index[T]] | None = None) -> None:
        self._indexes = dict(indexes or {})
        self._content: _Content[T] = _Content(self._indexes)
        self._ready = asyncio.Event()

    def get(self, key: Key) -> T | None:
        return self._content.objects.get(key)

    def all(self) -> list[T]:
        return list(self._content.objects.values())

    def by_index(self, index: str, value: str) -> list[T]:
        """Objects for which the index function named ``value``; KeyError for an unknown index."""
        return list(self._content.indexes[index].get(value, {}).values())

    @property
    def ready(self) -> bool:
        """The first list is complete; stays true while a later watch is down."""
        return self._ready.is_set()

    async def wait_ready(self) -> None:
        await self._ready.wait()

    def __len__(self) -> int:
        return len(self._content.objects)

    def __bool__(self) -> bool:  # an empty store is still a store
        return True


class StoreWriter(Generic[T]):
    """The one writer of a store: takes the events of a watch, tells what each changed for readers."""

    def __init__(self, store: Store[T]) -> None:
        self._store = store
        self._next: _Content[T] | None = None

    def apply(self, event: Event[T]) -> list[Change[T]]:
        content = self._store._content  # noqa: SLF001  the other half of Store
        target = content if self._next is None else self._next
        match event:
            case Init():
                self._next = _Content(self._store._indexes)  # noqa: SLF001
            case InitApply(obj):
                target.put(key_of(obj), obj)
            case InitDone():
                return self._swap()
            case Apply(obj):
                return [Change(content.put(key_of(obj), obj), obj)]
            case Delete(key):
                old = content.remove(key)
                return [] if old is None else [Change(old, None)]
            case Broken(key):
                if self._next is not None and (known := content.objects.get(key)) is not None:
                    self._next.put(key, known)
        return []

    def _swap(self) -> list[Change[T]]:
        assert self._next is not None, "InitDone without Init"
        store, new, self._next = self._store, self._next, None
        old = store._content  # noqa: SLF001
        store._content = new  # noqa: SLF001
        store._ready.set()  # noqa: SLF001
        changes = [Change(gone, None) for key, gone in old.objects.items() if key not in new.objects]
        for key, obj in new.objects.items():
            before = old.objects.get(key)
            if before is None or not _same(before, obj):
                changes.append(Change(before, obj))
        return changes


def _same(a: HasMetadata, b: HasMetadata) -> bool:
    return a.metadata.uid == b.metadata.uid and a.metadata.resource_version == b.metadata.resource_version != ""
