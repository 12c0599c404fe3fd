"""A node whose Cassandra is stopped: what is known of it, and snapshots of its files."""

from __future__ import annotations

import json
from argparse import Namespace
from typing import TYPE_CHECKING

import pytest

from agent import sstables
from agent.cassandra import Facts
from agent.cli import live, offline
from agent.cli.console import UsageError
from agent.cli.offline import Stopped
from agent.errors import AgentError
from agent.volume import Restored, Volume
from tests.fakes.sstables import NodeData, live_files, table_id, write_sstable

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.agent.cli.conftest import Stopped as Disk


def told(**more: object) -> Namespace:
    values: dict[str, object] = {
        "host_id": "h", "tokens_file": None, "cassandra_version": "", "cluster": None, "config_dir": None,
    }  # fmt: skip
    return Namespace(**(values | more))


@pytest.mark.parametrize(
    "text",
    [
        "-100,200\n",
        "-100\n200\n",
        "ID                     : 7d9b\nToken                  : -100\nToken                  : 200\nDC : 2\n",
    ],
)
def test_tokens_in_every_form(tmp_path: Path, text: str) -> None:
    (tmp_path / "tokens").write_text(text)
    assert offline.read_tokens(tmp_path / "tokens") == ["-100", "200"]


@pytest.mark.parametrize(
    ("text", "says"), [("", "no token"), ("1\n1\n", "a token twice"), ("12 monkeys", "'monkeys' where a token")]
)
def test_tokens_that_are_none(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "tokens").write_text(text)
    with pytest.raises(UsageError, match=says):
        offline.read_tokens(tmp_path / "tokens")
    with pytest.raises(UsageError, match="cannot be read"):
        offline.read_tokens(tmp_path / "none")


def test_what_cassandra_said_before_is_good_when_it_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give --host-id"):
        offline.facts(told(host_id=None, config_dir=tmp_path), tmp_path)
    with pytest.raises(UsageError, match="give --tokens-file"):
        offline.facts(told(config_dir=tmp_path), tmp_path)
    kept = Facts(host_id="h7", tokens=["1", "2"], release_version="4.1.3", cluster="shop", schema_version="s")
    offline.keep(tmp_path, kept)
    found = offline.facts(told(host_id=None, config_dir=tmp_path), tmp_path)
    assert (found.host_id, found.tokens, found.release_version) == ("h7", ["1", "2"], "4.1.3")


def test_tokens_of_the_configuration_and_of_a_restore(tmp_path: Path) -> None:
    (tmp_path / "cassandra.yaml").write_text("cluster_name: shop\ninitial_token: -5, 6\n")
    found = offline.facts(told(config_dir=tmp_path), tmp_path)
    assert (found.tokens, found.cluster) == (["-5", "6"], "shop")
    Volume([tmp_path / "data"], tmp_path, "r1").finish(Restored(restore_id="r1", tag="t", tokens=["7", "8"]))
    assert offline.facts(told(config_dir=tmp_path), tmp_path).tokens == ["7", "8"]
    (tmp_path / "cassandra.yaml").write_text("initial_token: [")
    assert offline.cassandra_yaml(tmp_path) == {}


def test_a_snapshot_of_links_is_whole_and_costs_no_space(node: Disk) -> None:
    data = node.root / "data"
    before = live_files(data)
    live.link([data], "co-t")
    scanned = sstables.scan([data], "co-t")
    found = {
        f"{table.path.relative}/{file.path.name if hasattr(file.path, 'name') else str(file.path).rpartition('/')[2]}"
        for table in scanned.tables
        for sstable in table.sstables.values()
        for file in sstable.files.values()
    }
    assert found == {path for path in before if not path.startswith("system/")}
    assert live_files(data) == before
    link = next(data.glob("app/users-*/snapshots/co-t/nb-1-big-Data.db"))
    assert link.stat().st_nlink == 2


def test_a_table_in_two_data_directories(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    NodeData([one]).table("app", "users", 1, ("nb-1-big",))
    NodeData([two]).table("app", "users", 1, ("nb-2-big",))
    live.link([one, two], "co-t")
    (table,) = sstables.scan([one, two], "co-t").tables
    assert sorted(table.sstables) == ["nb-1-big", "nb-2-big"]
    manifests = [
        json.loads(path.read_text())["files"] for path in tmp_path.glob("*/app/*/snapshots/co-t/manifest.json")
    ]
    assert manifests == [["nb-1-big-Data.db", "nb-2-big-Data.db"]]


async def test_a_compaction_that_was_cut_off_is_refused_and_leaves_no_links(node: Disk) -> None:
    log = node.root / "data" / "app" / f"users-{table_id(1)}" / "nc_txn_compaction_6a9c.log"
    log.touch()
    stopped = Stopped([node.root / "data"], Facts())
    with pytest.raises(AgentError, match="nodetool drain"):
        await stopped.take_snapshot("co-t")
    assert not list((node.root / "data").glob("*/*/snapshots/*"))


async def test_a_cassandra_that_runs_is_seen(node: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    data = node.root / "data"
    link, seen = live.os.link, []

    def flush(source: str, target: Path, **more: bool) -> None:
        if not seen:
            write_sstable(data / "app" / f"empty-{table_id(3)}", "nb-9-big")
        seen.append(source)
        link(source, target, **more)

    monkeypatch.setattr("os.link", flush)
    with pytest.raises(AgentError, match="Cassandra is running"):
        await Stopped([data], Facts()).take_snapshot("co-t")
    assert not list(data.glob("*/*/snapshots/co-t"))


async def test_a_disk_that_takes_no_links(node: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "x-Data.db")

    monkeypatch.setattr("os.link", full)
    with pytest.raises(AgentError, match="No space left on device"):
        await Stopped([node.root / "data"], Facts()).take_snapshot("co-t")
    assert not list((node.root / "data").glob("*/*/snapshots/co-t"))


def test_what_is_still_being_written_is_dropped_from_a_scan(node: Disk) -> None:
    directory = node.root / "data" / "app" / f"empty-{table_id(3)}"
    write_sstable(directory, "nb-5-big", without=("TOC.txt",))
    found = live.scan([node.root / "data"])
    assert found.dropped == 1
    assert {table.path.name: len(table.sstables) for table in found.tables if table.path.name == "empty"} == {
        "empty": 0
    }


def test_a_scan_bears_files_that_go(node: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    data = node.root / "data"
    missing = sstables.FoundSSTable.missing

    def late(sstable: sstables.FoundSSTable) -> list[str]:
        if sstable.name == "da-2-bti":
            for path in data.glob("app/events-*/da-2-*"):
                path.unlink()
        return missing(sstable)

    monkeypatch.setattr(sstables.FoundSSTable, "missing", late)
    found = live.scan([data])
    assert found.dropped == 1
    assert sum(len(table.sstables) for table in found.tables) == 4


def test_a_commit_log_is_seen(node: Disk) -> None:
    assert live.unflushed([node.root / "data"]) is None
    log = node.root / "commitlog" / "CommitLog-7-1.log"
    log.parent.mkdir()
    log.touch()
    assert live.unflushed([node.root / "data"]) == log.parent
