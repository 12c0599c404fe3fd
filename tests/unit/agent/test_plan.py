"""What is sent and what is reused."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.catalog import TablePath
from agent.plan import Plan
from agent.sstables import FoundFile, FoundSSTable, FoundTable, Snapshot

TABLE = FoundTable(TablePath("ks", "t", "0" * 32))


def plan(*, full: bool = False, **sizes: int) -> tuple[Plan, Snapshot]:
    """Of one SSTable with components of these sizes."""
    sstable = FoundSSTable("nb-1-big")
    for name, size in sizes.items():
        sstable.files[name] = FoundFile(name, Path("/d") / name, size)
    found = Plan("host", "e5", full=full)
    table = FoundTable(TABLE.path, {sstable.name: sstable})
    found.add(table, sstable, dict.fromkeys(sizes, 7))
    return found, Snapshot([table])


KEY = f"host/data/ks/t-{'0' * 32}/nb-1-big/Index~10-00000007"


def test_largest_first_and_nothing_for_no_bytes() -> None:
    found, snapshot = plan(Small=1, Large=100, Empty=0, Index=10)
    send, reuse = found.settle()
    assert [item.size for item in send] == [100, 10, 1]
    assert reuse == []
    (table,), objects = found.contents(snapshot)
    assert len(objects) == 3
    assert [component.object for component in table.sstables[0].components] == [-1, 0, 1, 2]
    assert found.totals(snapshot).files == 4


@pytest.mark.parametrize(
    ("listed", "full", "epoch"),
    [
        ({f"{KEY}-e1": 10}, False, "e1"),
        ({f"{KEY}-e1": 10, f"{KEY}-e3": 10, f"{KEY}-e2": 10}, False, "e3"),
        ({f"{KEY}-e5": 10, f"{KEY}-e9": 10}, False, "e5"),
        ({f"{KEY}-e9": 10, f"{KEY}-e5": 10}, False, "e5"),
        ({f"{KEY}-e1": 10}, True, ""),
        ({f"{KEY}-e5": 10}, True, "e5"),
        ({f"{KEY}-e1": 9}, False, ""),
        ({KEY.replace("00000007", "00000008") + "-e1": 10}, False, ""),
        ({"foreign": 10}, False, ""),
    ],
)
def test_equal_up_to_the_epoch_is_reused(listed: dict[str, int], full: bool, epoch: str) -> None:
    found, snapshot = plan(full=full, Index=10)
    for key, size in listed.items():
        found.see(key, size)
    send, reuse = found.settle()
    assert bool(reuse) == bool(epoch)
    assert [item.key for item in [*send, *reuse]] == [f"{KEY}-{epoch or 'e5'}"]
    sent = 10 if (epoch or "e5") == "e5" else 0
    assert (found.totals(snapshot).new_bytes, found.totals(snapshot).reused_bytes) == (sent, 10 - sent)


def test_what_is_gone_after_all_gets_another_name() -> None:
    found, _ = plan(Index=10)
    found.see(f"{KEY}-e1", 10)
    _, (item,) = found.settle()
    assert found.resend([item])[0].key == f"{KEY}-e5"
