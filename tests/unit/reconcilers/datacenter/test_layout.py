from __future__ import annotations

import doctest
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconcilers.datacenter import layout as module
from reconcilers.datacenter import meta
from reconcilers.datacenter.layout import fill, first_pods, next_counts, racks_of
from tests.unit.reconcilers.datacenter.samples import cdc, layout

COUNTS = st.lists(st.integers(0, 20), min_size=1, max_size=16)


def test_examples_in_docstrings() -> None:
    assert doctest.testmod(module).failed == doctest.testmod(meta).failed == 0


@given(COUNTS, st.integers(0, 100))
def test_filling_never_takes_a_node_and_ends_at_the_number(current: list[int], replicas: int) -> None:
    counts = fill(current, replicas)
    assert all(new >= old for new, old in zip(counts, current, strict=True))
    assert sum(counts) == max(replicas, sum(current))


@given(st.integers(1, 16), st.integers(0, 100))
def test_a_new_datacenter_is_spread_evenly(racks: int, replicas: int) -> None:
    counts = fill([0] * racks, replicas)
    assert max(counts) - min(counts) <= 1
    assert counts == sorted(counts, reverse=True)


@given(COUNTS, st.integers(0, 100), st.booleans())
def test_over_several_racks_at_most_one_node_is_added(current: list[int], replicas: int, settled: bool) -> None:
    counts = next_counts(current, replicas, settled=settled)
    added = sum(counts) - sum(current)
    assert added == 0 if len(current) > 1 and not settled else added <= 1 or len(current) == 1


def test_a_single_rack_gets_its_number_at_once() -> None:
    assert next_counts([1], 5, settled=False) == [5]


@pytest.mark.parametrize(
    ("racks", "names"),
    [
        (None, ["cassandra-foo-cassandra"]),
        ([], ["cassandra-foo-cassandra"]),
        ([{"name": "rack1"}], ["cassandra-foo-cassandra-rack1"]),
        ([{"name": "b"}, {"name": "a"}], ["cassandra-foo-cassandra-b", "cassandra-foo-cassandra-a"]),
    ],
)
def test_names_of_statefulsets(racks: Any, names: list[str]) -> None:
    assert [rack.statefulset for rack in racks_of(cdc(racks=racks))] == names


def test_addresses() -> None:
    found = layout(cdc(racks=[{"name": "a"}, {"name": "b"}]))
    suffix = "cassandra-foo-cassandra-seeds.ns.svc"
    assert found.first_pod == "cassandra-foo-cassandra-a-0"
    assert found.seeds == [f"cassandra-foo-cassandra-a-0.{suffix}", f"cassandra-foo-cassandra-b-0.{suffix}"]
    assert len(found.peers) == 6
    assert f"cassandra-foo-cassandra-b-2.{suffix}" in found.peers


def test_the_pods_that_a_restore_fills() -> None:
    assert first_pods(cdc(racks=[{"name": "a"}, {"name": "b"}], replicas=3)) == {
        "a": ["cassandra-foo-cassandra-a-0", "cassandra-foo-cassandra-a-1"],
        "b": ["cassandra-foo-cassandra-b-0"],
    }
