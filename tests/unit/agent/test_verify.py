"""Pure: what is wanted of a bucket, which part of it is read, and what bytes are held to."""

from __future__ import annotations

import math
import random
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.catalog import Component, StoredObject, Table
from agent.protocol import Fault
from agent.verify import Check, Wants, portion
from backends.checksums import crc32c
from tests.unit.agent.test_catalog import BUNDLE, KEY, manifest, table

if TYPE_CHECKING:
    from agent.wanted import Wanted

DATA = random.Random(1).randbytes(10)
SMALL = {"objects": [StoredObject(BUNDLE, 10)]}


def bundled(*components: tuple[str, int, int]) -> list[Table]:
    """(name, begin, end) in a bundle of :data:`DATA`."""

    def one(name: str, begin: int, end: int) -> Component:
        part = DATA[begin:end]
        return Component(name, end - begin, zlib.crc32(part) if name == "Data.db" else crc32c(part), 0, begin)

    return [table(*(one(*component) for component in components))]


def wanted(*components: tuple[str, int, int], **more: Any) -> Wanted:
    wants = Wants()
    wants.absorb("t", manifest(tables=bundled(*components), objects=[StoredObject(BUNDLE, 10, **more)]))
    return wants.objects[BUNDLE]


def test_what_the_listing_does_not_show_is_missing() -> None:
    wants = Wants()
    wants.absorb("t", manifest())
    assert wants.faulty() == [KEY]
    wants.see(KEY, 11)
    assert wants.objects[KEY].fault is Fault.WRONG_SIZE
    wants.see("another", 10)
    wants.see(KEY, 10)
    assert wants.sound() == [KEY]


def test_a_fault_is_told_of_every_backup_that_needs_the_object_and_is_still_there() -> None:
    wants = Wants()
    for tag in ("new", "middle", "old"):
        wants.absorb(tag, manifest(tables=[], objects=[]) if tag == "middle" else manifest())
    assert wants.needed_by(wants.objects[KEY]) == ["new", "old"]
    wants.forget(["old"])
    assert wants.needed_by(wants.objects[KEY]) == ["new"]
    wants.forget(["old", "new"])
    assert wants.objects == {}


def test_an_object_that_no_component_lies_in_is_not_wanted() -> None:
    wants = Wants()
    wants.absorb("t", manifest(tables=[]))
    assert wants.objects == {}


def test_backups_may_need_different_parts_of_one_bundle() -> None:
    wants = Wants()
    wants.absorb("a", manifest(tables=bundled(("A", 0, 4)), **SMALL))
    wants.absorb("b", manifest(tables=bundled(("A", 0, 4), ("B", 4, 10)), **SMALL))
    assert [(piece.offset, piece.size) for piece in wants.objects[BUNDLE].pieces] == [(0, 4), (4, 6)]


@pytest.mark.parametrize(
    ("components", "known"),
    [
        ((("A", 0, 4), ("B", 4, 10)), True),
        ((("A", 0, 10),), True),
        ((("A", 0, 4), ("Data.db", 4, 10)), False),  # Cassandra's Digest is another checksum
        ((("A", 0, 4),), False),
        ((("A", 0, 4), ("B", 5, 10)), False),
    ],
)
def test_the_checksum_of_the_whole_follows_from_its_parts(components: tuple, known: bool) -> None:
    assert wanted(*components).checksum == (crc32c(DATA) if known else None)


def test_a_recorded_checksum_is_the_one_that_is_compared() -> None:
    one = wanted(("Data.db", 0, 10), crc32c=crc32c(DATA))
    assert one.checksum == crc32c(DATA)
    wants = Wants()
    wants.absorb("new", manifest(tables=bundled(("Data.db", 0, 10)), **SMALL))  # reused: it was not read
    wants.absorb("old", manifest(tables=bundled(("Data.db", 0, 10)), objects=[StoredObject(BUNDLE, 10, 5)]))
    assert wants.objects[BUNDLE].checksum == 5


def check(one: Wanted, data: bytes, step: int = 3) -> Check:
    sink = Check(one)
    for begin in range(0, len(data), step):
        sink.write(memoryview(data)[begin : begin + step])
    return sink


@pytest.mark.parametrize("step", [1, 3, 7, 100])
def test_each_piece_is_held_to_its_own_checksum(step: int) -> None:
    one = wanted(("A", 0, 4), ("Data.db", 4, 10))
    assert check(one, DATA, step).verdict().fault is None
    for at in range(10):
        damaged = bytearray(DATA)
        damaged[at] ^= 1
        verdict = check(one, bytes(damaged), step).verdict()
        assert (verdict.fault, verdict.offsets) == (Fault.DAMAGED, {0 if at < 4 else 4})


def test_parts_that_lie_over_each_other_in_two_manifests_are_each_held_to() -> None:
    wants = Wants()
    wants.absorb("a", manifest(tables=bundled(("A", 0, 6)), **SMALL))
    wants.absorb("b", manifest(tables=bundled(("B", 4, 10)), **SMALL))
    assert check(wants.objects[BUNDLE], DATA).verdict().fault is None
    assert check(wants.objects[BUNDLE], DATA[:5] + b"x" + DATA[6:]).verdict().offsets == {0, 4}


def test_what_no_piece_names_counts_where_the_whole_is_known() -> None:
    one = wanted(("A", 0, 4), crc32c=crc32c(DATA))
    assert check(one, DATA[:9] + b"x").verdict().fault is Fault.DAMAGED


def test_a_store_that_gives_less_is_noticed() -> None:
    assert check(wanted(("A", 0, 4)), DATA[:9]).verdict().fault is Fault.WRONG_SIZE


@given(
    st.dictionaries(st.text(min_size=1, max_size=8), st.integers(1, 1 << 40), min_size=1, max_size=40),
    st.one_of(st.floats(0.001, 1.0), st.sampled_from([1 / 3, 0.1, 0.2, 1 / 7, 0.5, 1.0])),
    st.text(max_size=8),
)
def test_so_many_runs_as_the_share_goes_into_one_read_everything(
    objects: dict[str, int], share: float, after: str
) -> None:
    keys = sorted(objects)
    read: set[str] = set()
    for _ in range(math.ceil(1 / share)):
        chosen = portion(keys, objects.__getitem__, after, share)
        assert chosen
        assert len(set(chosen)) == len(chosen)
        but_the_last = sum(objects[key] for key in chosen[:-1])
        assert but_the_last < math.ceil(sum(objects.values()) * share), "no more than its share, and one object"
        read |= set(chosen)
        after = chosen[-1]
    assert read == set(objects)


def test_of_nothing_there_is_no_part() -> None:
    assert portion([], len, "x", 0.5) == []
