from __future__ import annotations

from typing import Any

from controller.objects import RawObject, raw_object
from controller.resource import Key, Resource
from controller.triggers import generation_or_metadata_changed, only_when, to_mapped, to_owner, to_self

DATACENTERS = Resource("example.com", "v1", "datacenters", "Datacenter")


def thing(name: str = "a", **metadata: Any) -> RawObject:
    return raw_object({"metadata": {"namespace": "ns", "name": name, **metadata}})


def owned(by: str, **more: Any) -> RawObject:
    ref = {"apiVersion": "example.com/v1", "kind": "Datacenter", "name": by, "uid": "u", "controller": True, **more}
    return thing(ownerReferences=[{"kind": "Other", "name": "x", "apiVersion": "v1", "uid": "o"}, ref])


def test_to_self() -> None:
    trigger = to_self()
    key = Key("ns", "a")
    assert [list(trigger(*c)) for c in ((None, thing()), (thing(), thing()), (thing(), None))] == [[key]] * 3


def test_to_owner_names_the_controlling_owner_before_and_after() -> None:
    trigger = to_owner(DATACENTERS)
    assert list(trigger(owned("dc1"), owned("dc2"))) == [Key("ns", "dc1"), Key("ns", "dc2")]
    assert list(trigger(owned("dc1"), None)) == [Key("ns", "dc1")]
    assert list(trigger(None, owned("dc1", controller=False))) == []
    assert list(trigger(None, owned("dc1", apiVersion="other.org/v1"))) == []
    assert list(to_owner("Datacenter")(None, owned("dc1", apiVersion="other.org/v1"))) == [Key("ns", "dc1")]


def test_to_mapped() -> None:
    trigger = to_mapped(lambda o: [Key("x", o.metadata.name), Key("y", "all")])
    assert list(trigger(thing("a"), thing("b"))) == [Key("x", "a"), Key("y", "all"), Key("x", "b")]


def test_a_change_of_the_status_alone_triggers_nothing() -> None:
    trigger = generation_or_metadata_changed(to_self())
    before = thing(generation=1, resourceVersion="1")
    assert list(trigger(before, thing(generation=1, resourceVersion="2"))) == []
    for change in (
        {"generation": 2},
        {"generation": 1, "annotations": {"restart": "1"}},
        {"generation": 1, "labels": {"a": "b"}},
        {"generation": 1, "deletionTimestamp": "2026-01-01T00:00:00Z"},
        {"generation": 1, "finalizers": ["x"]},
        {"generation": 1, "uid": "another"},
    ):
        assert list(trigger(before, thing(**change))) == [Key("ns", "a")]
    assert list(trigger(None, before)) == list(trigger(before, None)) == [Key("ns", "a")]


def test_only_when() -> None:
    trigger = only_when(lambda _old, new: new is not None)(to_self())
    assert list(trigger(thing(), None)) == []
    assert list(trigger(None, thing())) == [Key("ns", "a")]
