"""OwnWrites: a reconciler reads its own writes, and everybody else's as soon as the watch shows them."""

from __future__ import annotations

from controller.objects import RawObject, raw_object
from controller.own_writes import OwnWrites
from controller.resource import Key
from controller.store import Store, StoreWriter
from controller.watch import Apply, Delete, Init, InitDone

KEY = Key("ns", "a")


def obj(version: str) -> RawObject:
    return raw_object({"metadata": {"namespace": "ns", "name": "a", "uid": "u", "resourceVersion": version}})


def world(version: str) -> tuple[OwnWrites[RawObject], StoreWriter[RawObject]]:
    store: Store[RawObject] = Store()
    writer = StoreWriter(store)
    for event in (Init(), Apply(obj(version)), InitDone()):
        writer.apply(event)
    writer.apply(Apply(obj(version)))
    return OwnWrites(store), writer


def version(writes: OwnWrites[RawObject]) -> str | None:
    found = writes.get(KEY)
    return None if found is None else found.metadata.resource_version


def write(writes: OwnWrites[RawObject], made: str) -> None:
    before = writes.get(KEY)
    assert before is not None
    writes.wrote(before, obj(made))


def test_a_write_is_seen_before_the_watch_brings_it() -> None:
    writes, _ = world("1")
    write(writes, "2")
    assert version(writes) == "2"


def test_a_chain_of_writes_outlives_the_watch_bringing_the_first_ones() -> None:
    writes, writer = world("1")
    write(writes, "2")
    write(writes, "3")
    writer.apply(Apply(obj("2")))
    assert version(writes) == "3"


def test_what_another_hand_wrote_wins() -> None:
    writes, writer = world("1")
    write(writes, "2")
    writer.apply(Apply(obj("7")))
    assert version(writes) == "7"
    writer.apply(Apply(obj("1")))  # nothing of the old memory is left
    assert version(writes) == "1"


def test_a_deleted_object_is_gone() -> None:
    writes, writer = world("1")
    write(writes, "2")
    writer.apply(Delete(KEY))
    assert version(writes) is None


def test_a_write_that_changed_nothing_is_not_remembered() -> None:
    writes, writer = world("1")
    write(writes, "1")
    writer.apply(Apply(obj("2")))
    assert version(writes) == "2"
