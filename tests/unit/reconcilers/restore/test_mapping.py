from __future__ import annotations

import pytest

from agent.protocol import RecordedNode
from reconcilers.restore.mapping import TopologyMismatch, assign, ordinal


def source(name: str, rack: str = "rack1") -> RecordedNode:
    return RecordedNode(node=name, rack=rack, host_id=f"host-{name}", digest=f"digest-{name}")


def named(sources: list[RecordedNode], targets: dict[str, list[str]]) -> dict[str, str]:
    return {pair.pod: pair.source.node for pair in assign(sources, targets)}


@pytest.mark.parametrize(("pod", "number"), [("cassandra-foo-2", 2), ("a-10", 10), ("x", 0), ("x-y", 0), ("", 0)])
def test_ordinal(pod: str, number: int) -> None:
    assert ordinal(pod) == number


def test_one_rack_by_ordinal_not_by_name() -> None:
    sources = [source(f"foo-{i}") for i in (10, 2, 0, 1, 9, 3, 4, 5, 6, 7, 8)]
    pods = [f"bar-{i}" for i in range(11)]
    assert named(sources, {"rack1": pods}) == {f"bar-{i}": f"foo-{i}" for i in range(11)}


def test_racks_keep_their_tokens() -> None:
    sources = [source("foo-a-0", "a"), source("foo-b-0", "b"), source("foo-a-1", "a")]
    found = named(sources, {"b": ["bar-b-0"], "a": ["bar-a-0", "bar-a-1"]})
    assert found == {"bar-b-0": "foo-b-0", "bar-a-0": "foo-a-0", "bar-a-1": "foo-a-1"}
    assert [p.rack for p in assign(sources, {"b": ["bar-b-0"], "a": ["bar-a-0", "bar-a-1"]})] == ["b", "a", "a"]


def test_a_gap_in_the_ordinals_is_closed() -> None:
    assert named([source("foo-0"), source("foo-3")], {"rack1": ["bar-0", "bar-1"]}) == {
        "bar-0": "foo-0",
        "bar-1": "foo-3",
    }


@pytest.mark.parametrize(
    ("racks", "targets", "text"),
    [
        (
            ["rack1"] * 3,
            {"rack1": ["p-0"]},
            "the backup holds 3 nodes and the datacenter has replicas: 1; set replicas to 3",
        ),
        (
            ["rack1"],
            {"rack1": ["p-0", "p-1"]},
            "the backup holds 1 node and the datacenter has replicas: 2; set replicas to 1",
        ),
        (
            ["a", "b"],
            {"a": ["p-0", "p-1"]},
            (
                "rack a has 1 node in the backup and 2 here; rack b has 1 node in the backup and 0 here: "
                "give the datacenter the racks that the backup has"
            ),
        ),
        (
            ["rack1", "rack1"],
            {"a": ["p-0"], "b": ["q-0"]},
            (
                "rack a has 0 nodes in the backup and 1 here; rack b has 0 nodes in the backup and 1 here; "
                "rack rack1 has 2 nodes in the backup and 0 here: give the datacenter the racks that the backup has"
            ),
        ),
    ],
)
def test_what_does_not_fit_is_named_with_the_remedy(racks: list[str], targets: dict[str, list[str]], text: str) -> None:
    with pytest.raises(TopologyMismatch) as e:
        assign([source(f"n-{i}", rack) for i, rack in enumerate(racks)], targets)
    assert str(e.value) == text


def test_an_empty_rack_is_no_rack() -> None:
    assert named([source("foo-0", "a")], {"a": ["bar-0"], "b": []}) == {"bar-0": "foo-0"}
