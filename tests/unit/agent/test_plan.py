"""What is sent and what is reused."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent import catalog
from agent.catalog import Component, TablePath
from agent.layout import Entry
from agent.plan import Plan
from agent.sstables import FoundFile, FoundSSTable, FoundTable, Snapshot

TABLE = TablePath("ks", "t", "0" * 32)
PREFIX = f"host/data/ks/t-{'0' * 32}/nb-1-big/"
MIB = 1 << 20


def plan(*, full: bool = False, crc: int = 7, **sizes: int) -> tuple[Plan, Snapshot]:
    """Of one SSTable with components of these sizes."""
    sstable = FoundSSTable("nb-1-big")
    for name, size in sizes.items():
        sstable.files[name] = FoundFile(name, Path("/d") / name, size)
    found = Plan("host", "e5", full=full)
    table = FoundTable(TABLE, {sstable.name: sstable})
    found.add(table, sstable, {name: crc for name, size in sizes.items() if size})
    return found, Snapshot([table])


PLAIN = (f"{PREFIX}Index~2000000-00000007", {"Index": 2_000_000})
BUNDLE = (
    catalog.bundle_identity(f"host/data/ks/t-{'0' * 32}/", "nb-1-big", [("A", 10, 7), ("B", 20, 7)]),
    {"B": 20, "A": 10},
)


def test_small_components_are_one_object_in_order_of_name() -> None:
    found, snapshot = plan(Small=1, Large=MIB + 1, Empty=0, Index=MIB)
    send, reuse = found.settle()
    assert [(item.size, item.bundle) for item in send] == [(MIB + 1, False), (MIB + 1, True)]
    assert [member.file.component for member in send[1].members] == ["Index", "Small"]
    assert not reuse
    (table,), objects = found.contents(snapshot)
    assert [(stored.key, stored.size) for stored in objects] == [(item.key, item.size) for item in send]
    assert table.sstables[0].components == [
        Component("Empty", 0), Component("Index", MIB, 7, 1, 0), Component("Large", MIB + 1, 7, 0),
        Component("Small", 1, 7, 1, MIB),
    ]  # fmt: skip
    assert found.totals(snapshot).files == 4


def test_one_small_component_is_a_bundle_too() -> None:
    (item,) = plan(Small=1)[0].settle()[0]
    assert item.bundle
    assert item.key.startswith(f"{PREFIX}b~1-")


def test_the_sum_of_a_bundle_goes_with_it() -> None:
    sstable = FoundSSTable("nb-1-big")
    for name, size in (("Data.db", 2 * MIB), ("A", 10)):
        sstable.files[name] = FoundFile(name, Path("/d") / name, size)
    entry = Entry("host/data/ks/t/", sstable, {"Data.db": 7, "A": 7})
    entry.epochs = ("e1", "e1")
    entry.keep_sum(1, 6)
    entry.keep_sum(0, 5)
    assert [entry.sum(0), entry.sum(1)] == [5, 6]
    entry.undo()
    assert entry.epochs == ("e1", "")
    assert [entry.sum(0), entry.sum(1)] == [5, -1]


def test_nothing_is_sent_for_no_bytes() -> None:
    found, snapshot = plan(Empty=0)
    send, reuse = found.settle()
    assert (send, len(reuse)) == ([], 0)
    assert found.contents(snapshot)[1] == []


def test_largest_first() -> None:
    found, _ = plan(A=3 * MIB, B=1, C=9 * MIB, D=2 * MIB)
    assert [item.size for item in found.settle()[0]] == [9 * MIB, 3 * MIB, 2 * MIB, 1]


def test_bundles_fit_into_memory() -> None:
    found, snapshot = plan(**{f"C{number:02}": MIB for number in range(33)})
    assert sorted(item.size for item in found.settle()[0]) == [MIB, 16 * MIB, 16 * MIB]
    (table,), objects = found.contents(snapshot)
    assert [component.offset for component in table.sstables[0].components[15:18]] == [15 * MIB, 0, MIB]
    catalog_sizes = {stored.size for stored in objects}
    assert catalog_sizes == {MIB, 16 * MIB}


@pytest.mark.parametrize(("key", "sizes"), [PLAIN, BUNDLE])
@pytest.mark.parametrize(
    ("epochs", "full", "chosen"),
    [
        (["e1"], False, "e1"),
        (["e1", "e3", "e2"], False, "e3"),
        (["e5", "e9"], False, "e5"),
        (["e9", "e5"], False, "e5"),
        (["e1"], True, ""),
        (["e5"], True, "e5"),
        ([], False, ""),
    ],
)
def test_equal_up_to_the_epoch_is_reused(
    key: str, sizes: dict[str, int], epochs: list[str], full: bool, chosen: str
) -> None:
    found, snapshot = plan(full=full, **sizes)
    size = sum(sizes.values())
    for epoch in epochs:
        found.see(f"{key}-{epoch}", size)
    send, reuse = found.settle()
    assert bool(reuse) == bool(chosen)
    assert [item.key for item in [*send, *reuse]] == [f"{key}-{chosen or 'e5'}"]
    sent = size if (chosen or "e5") == "e5" else 0
    assert (found.totals(snapshot).new_bytes, found.totals(snapshot).reused_bytes) == (sent, size - sent)


@pytest.mark.parametrize(("key", "sizes"), [PLAIN, BUNDLE])
def test_what_is_not_the_same_is_sent(key: str, sizes: dict[str, int]) -> None:
    size = sum(sizes.values())
    for wrong, length in [(f"{key}-e1", size - 1), (f"{key[:-1]}8-e1", size), ("foreign", size), (key, size)]:
        found, _ = plan(**sizes)
        found.see(wrong, length)
        assert len(found.settle()[0]) == 1
    changed, _ = plan(crc=8, **sizes)
    changed.see(f"{key}-e1", size)
    assert len(changed.settle()[0]) == 1


@pytest.mark.parametrize(("key", "sizes"), [PLAIN, BUNDLE])
def test_what_is_gone_after_all_gets_another_name(key: str, sizes: dict[str, int]) -> None:
    found, _ = plan(**sizes)
    found.see(f"{key}-e1", sum(sizes.values()))
    _, (item,) = found.settle()
    assert found.resend([item], "e5x1")[0].key == f"{key}-e5x1"
