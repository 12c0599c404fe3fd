"""From a change of an object to the keys that want a reconcile. Pure functions ``(old, new) -> keys``.

Triggers look at both sides of a change, so an object that moves from one owner to another triggers both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from controller.objects import HasMetadata, key_of
from controller.resource import Key, Resource

T = TypeVar("T", bound=HasMetadata)
Trigger = Callable[[T | None, T | None], Iterable[Key]]
Predicate = Callable[[T | None, T | None], bool]


def to_self() -> Trigger[HasMetadata]:
    return to_mapped(lambda obj: [key_of(obj)])


def to_owner(kind: str | Resource) -> Trigger[HasMetadata]:
    """The controlling owner of that kind; a Resource pins its API group, too."""
    name = kind if isinstance(kind, str) else kind.kind
    group = None if isinstance(kind, str) else kind.group

    def owners(obj: HasMetadata) -> Iterable[Key]:
        for ref in obj.metadata.owner_references:
            of_group = group is None or ref.api_version.rpartition("/")[0] == group
            if ref.controller and ref.kind == name and of_group:
                yield Key(obj.metadata.namespace, ref.name)

    return to_mapped(owners)


def to_mapped(function: Callable[[T], Iterable[Key]]) -> Trigger[T]:
    """What ``function`` names for the object before and after the change, each key once."""

    def trigger(old: T | None, new: T | None) -> Iterable[Key]:
        return dict.fromkeys(key for obj in (old, new) if obj is not None for key in function(obj))

    return trigger


def only_when(predicate: Predicate[T]) -> Callable[[Trigger[T]], Trigger[T]]:
    """Wraps a trigger so that changes which ``predicate`` calls uninteresting name no key."""

    def wrap(trigger: Trigger[T]) -> Trigger[T]:
        return lambda old, new: trigger(old, new) if predicate(old, new) else ()

    return wrap


def _generation_or_metadata(old: HasMetadata | None, new: HasMetadata | None) -> bool:
    if old is None or new is None:
        return True
    a, b = old.metadata, new.metadata
    return (a.uid, a.generation, a.deletion_timestamp, a.labels, a.annotations, a.finalizers, a.owner_references) != (
        b.uid,
        b.generation,
        b.deletion_timestamp,
        b.labels,
        b.annotations,
        b.finalizers,
        b.owner_references,
    )


def generation_or_metadata_changed(trigger: Trigger[T]) -> Trigger[T]:
    """Not for a change of the status alone. For kinds with a generation only: Pods and ConfigMaps have none."""
    wrap: Callable[[Trigger[T]], Trigger[T]] = only_when(_generation_or_metadata)
    return wrap(trigger)
