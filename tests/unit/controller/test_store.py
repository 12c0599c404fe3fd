from __future__ import annotations

from typing import Any

import msgspec
import pytest

from controller.objects import RawObject, decode_raw
from controller.resource import Key
from controller.store import Store, StoreWriter
from controller.watch import Apply, Broken, Delete, Event, Init, InitApply, InitDone
from tests.fakes.watches import obj


def thing(name: str, version: int, **more: Any) -> RawObject:
    return decode_raw(msgspec.json.encode(obj(name, version, **more)))


def colours(o: RawObject) -> list[str]:
    return list(o.body["colours"])


def fill(writer: StoreWriter[RawObject], *objects: RawObject) -> list[tuple[str, str]]:
    events: list[Event[RawObject]] = [Init(), *map(InitApply, objects), InitDone()]
    return [describe(change) for event in events for change in writer.apply(event)]


def describe(change: Any) -> tuple[str, str]:
    old, new = change
    return (
        f"{old.metadata.name}@{old.metadata.resource_version}" if old else "",
        f"{new.metadata.name}@{new.metadata.resource_version}" if new else "",
    )


@pytest.fixture
def store() -> Store[RawObject]:
    return Store({"colour": colours})


@pytest.fixture
def writer(store: Store[RawObject]) -> StoreWriter[RawObject]:
    return StoreWriter(store)


def names(objects: list[RawObject]) -> list[str]:
    return sorted(o.metadata.name for o in objects)


def test_a_reader_never_sees_half_a_list(store: Store[RawObject], writer: StoreWriter[RawObject]) -> None:
    writer.apply(Init())
    writer.apply(InitApply(thing("a", 1, colours=["red"])))
    assert (store.ready, names(store.all()), store.by_index("colour", "red")) == (False, [], [])
    writer.apply(InitDone())
    assert (store.ready, names(store.all())) == (True, ["a"])
    writer.apply(Init())
    writer.apply(InitApply(thing("b", 2, colours=["red"])))
    assert (store.ready, names(store.all()), names(store.by_index("colour", "red"))) == (True, ["a"], ["a"])
    writer.apply(InitDone())
    assert (names(store.all()), names(store.by_index("colour", "red"))) == (["b"], ["b"])


def test_a_relist_tells_by_difference_what_was_missed(writer: StoreWriter[RawObject]) -> None:
    none: dict[str, Any] = {"colours": []}
    a, b, c = thing("a", 1, **none), thing("b", 2, **none), thing("c", 3, **none)
    assert fill(writer, a, b, c) == [("", "a@1"), ("", "b@2"), ("", "c@3")]
    b2, d = thing("b", 9, **none), thing("d", 8, **none)
    # a was deleted while the watch was down, b changed, c is the same and nobody need hear of it
    assert fill(writer, b2, c, d) == [("a@1", ""), ("b@2", "b@9"), ("", "d@8")]


def test_a_list_that_starts_again_forgets_its_first_half(
    store: Store[RawObject], writer: StoreWriter[RawObject]
) -> None:
    writer.apply(Init())
    writer.apply(InitApply(thing("a", 1, colours=[])))
    assert fill(writer, thing("b", 2, colours=[])) == [("", "b@2")]
    assert names(store.all()) == ["b"]


def test_changes_and_indexes(store: Store[RawObject], writer: StoreWriter[RawObject]) -> None:
    fill(writer, thing("a", 1, colours=["red", "blue"]))
    [change] = writer.apply(Apply(thing("a", 2, colours=["blue", "green"])))
    assert describe(change) == ("a@1", "a@2")
    found = {colour: names(store.by_index("colour", colour)) for colour in ("red", "blue", "green")}
    assert found == {"red": [], "blue": ["a"], "green": ["a"]}
    [change] = writer.apply(Delete(Key("ns", "a")))
    assert describe(change) == ("a@2", "")
    assert store.by_index("colour", "blue") == []
    assert store.get(Key("ns", "a")) is None
    assert writer.apply(Delete(Key("ns", "a"))) == []


def test_an_object_that_became_unreadable_is_not_taken_for_deleted(
    store: Store[RawObject], writer: StoreWriter[RawObject]
) -> None:
    fill(writer, thing("a", 1, colours=["red"]))
    writer.apply(Init())
    writer.apply(Broken(Key("ns", "a")))
    writer.apply(Broken(Key("ns", "never-read")))
    assert writer.apply(InitDone()) == []
    assert names(store.by_index("colour", "red")) == ["a"]


def test_an_index_that_fails_leaves_the_object_readable(
    store: Store[RawObject], writer: StoreWriter[RawObject]
) -> None:
    fill(writer, thing("a", 1))  # no "colours": KeyError
    assert names(store.all()) == ["a"]
    with pytest.raises(KeyError):
        store.by_index("size", "big")
