"""``backup``, ``list``, ``show`` and ``restore`` of a stopped node, on stores in memory."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent import catalog, records
from agent.cli import backup_plan
from agent.cli.console import Exit
from agent.cli.run import Runs, locked
from agent.protocol import Location
from backends.base import BytesBody
from backends.errors import Kind
from backends.memory import MemoryStore
from tests.fakes.command import agent, agent_here
from tests.fakes.faulty_store import Fault, FaultyStore
from tests.fakes.faulty_store import error as store_error
from tests.fakes.sstables import NodeData, live_files, table_id, write_sstable
from tests.unit.agent.cli.conftest import HOST_ID, PATH, TARGET

if TYPE_CHECKING:
    from agent.cache import Known
    from agent.sstables import FoundSSTable
    from backends.base import ObjectStore
    from tests.unit.agent.cli.conftest import Stopped
    from tests.unit.agent.conftest import World


def snapshots(node: Stopped) -> list[Path]:
    return list((node.root / "data").glob("*/*/snapshots/*"))


def restored_by(node: Stopped) -> dict[str, bytes]:
    """What a restore brings back of what the node has."""
    return {path: data for path, data in live_files(node.root / "data").items() if not path.startswith("system/")}


def test_back_up_list_show_restore(node: Stopped) -> None:
    done = node.back_up("t1", "--json")
    assert (done.code, done.err) == (Exit.DONE, "")
    assert done.json["complete"]
    assert done.json["hostId"] == HOST_ID
    assert not snapshots(node)
    state = {path.name for path in (node.root / ".cassandra-agent").rglob("*") if path.is_file()}
    assert state <= {"lock", "checksums"}, "what is done needs no journal"
    listed = node.agent("list", "--target", TARGET, "--json")
    (record,) = listed.json
    assert (record["tag"], record["datacenter"], record["cluster"]) == ("t1", "dc1", "shop")
    assert "t1" in node.agent("list", "--target", TARGET).out
    shown = node.agent("show", "t1", "--target", TARGET, "--json")
    (one,) = shown.json["nodes"]
    assert (one["node"], one["rack"]) == ("node-1", "r7")
    assert {table["table"]: table["sstables"] for table in one["tables"]} == {
        "app.users": 3, "app.events": 1, "app.empty": 0, "system_schema.tables": 1,
    }  # fmt: skip
    assert "\n\nnode-1  rack r7, 2 tokens, " in node.agent("show", "t1", "--target", TARGET).out
    back = node.restore()
    assert back.code == Exit.DONE, back.err
    assert live_files(node.root / "restored" / "data") == restored_by(node)
    assert 'initial_token: "-100,200"\nnum_tokens: 2\nauto_bootstrap: false\n' in back.out
    assert "uuid_sstable_identifiers_enabled: true" in back.out


def test_a_second_backup_sends_what_is_new(node: Stopped) -> None:
    node.back_up("t1")
    before = node.stored()
    write_sstable(node.root / "data" / "app" / f"empty-{table_id(3)}", "nb-9-big")
    done = node.back_up("t2", "--json")
    new = [key for key in node.stored() if key not in before and "/data/" in key]
    assert len(new) == 1
    assert f"/empty-{table_id(3)}/nb-9-big/" in new[0]
    assert 0 < done.json["bytesReused"] < done.json["bytes"]


def test_a_dry_run_says_what_would_be_sent_and_writes_nothing(node: Stopped) -> None:
    disk = node.files()
    planned = node.back_up("t1", "--dry-run", "--json")
    assert planned.code == Exit.DONE, planned.err
    assert planned.json["reuseFiles"] == 0
    assert (node.stored(), node.files()) == ([], disk)
    done = node.back_up("t1", "--json").json
    assert planned.json["sendBytes"] == done["bytes"]
    disk, keys = node.files(), node.stored()
    again = node.back_up("t2", "--dry-run", "--json").json
    assert (again["sendFiles"], again["sendBytes"], again["reuseBytes"]) == (0, 0, done["bytes"])
    assert (node.stored(), node.files()) == (keys, disk)


def test_a_dry_run_bears_a_compaction(node: Stopped, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a snapshot files go while they are looked at."""
    whole = node.back_up("t1", "--dry-run", "--json").json
    read = backup_plan.integrity.identities
    gone: list[str] = []

    def compacted(sstable: FoundSSTable, known: Known) -> dict[str, int]:
        if not gone:
            gone.append(sstable.name)
            for file in sstable.files.values():
                Path(file.path).unlink()
        return read(sstable, known)

    monkeypatch.setattr("agent.integrity.identities", compacted)
    planned = node.back_up("t1", "--dry-run", "--json")
    assert (planned.code, bool(gone)) == (Exit.DONE, True), planned.err
    assert 0 < planned.json["sendFiles"] < whole["sendFiles"]


def test_a_tag_that_exists_is_refused_before_anything_is_linked(node: Stopped) -> None:
    node.back_up("t1")
    for more in ((), ("--dry-run",)):
        refused = node.back_up("t1", *more)
        assert refused.code == Exit.FAILED
        assert refused.err == "error: s3://bucket/backups has a backup t1 of dc1 already: give another --tag\n"
    assert not snapshots(node)
    assert node.back_up("t2").code == Exit.DONE


def test_a_snapshot_that_is_there_is_read_and_never_cleared(node: Stopped) -> None:
    node.data.snapshot("nightly")
    shutil.rmtree(node.root / "data" / "app" / f"empty-{table_id(3)}")  # dropped since, with its snapshot
    expected = restored_by(node)
    write_sstable(node.root / "data" / "app" / f"users-{table_id(1)}", "nb-8-big")  # after the snapshot
    done = node.agent(
        "backup", "--snapshot", "nightly", "--offline", "--target", TARGET, "--data-dir", node.root / "data",
        "--config-dir", node.config, "--node", "node-1", "--host-id", HOST_ID, "--tokens-file", node.tokens,
        "--single-node",
    )  # fmt: skip
    assert done.code == Exit.DONE, done.err
    assert snapshots(node)
    assert node.restore(tag="nightly").code == Exit.DONE
    assert live_files(node.root / "restored" / "data") == expected


@pytest.mark.parametrize("name", ["../x", "a/b", "..", ""])
def test_no_snapshots_name(node: Stopped, name: str) -> None:
    refused = node.back_up("t1", "--snapshot", name)
    assert (refused.code, "is no snapshot's name" in refused.err) == (Exit.USAGE, True)


def test_a_snapshot_that_is_not_there(node: Stopped) -> None:
    refused = node.back_up("t1", "--snapshot", "nightly")
    assert refused.code == Exit.FAILED
    assert "no table has the snapshot nightly" in refused.err


def test_without_the_record_there_is_no_backup_until_the_commit(node: Stopped) -> None:
    common = (
        "--tag", "t1", "--target", TARGET, "--data-dir", node.root / "data", "--config-dir", node.config, "--offline",
        "--host-id", HOST_ID, "--tokens-file", node.tokens,
    )  # fmt: skip
    for name in ("node-1", "node-2"):
        done = node.agent("backup", *common, "--node", name)
        assert (done.code, "python -m agent commit" in done.err) == (Exit.DONE, True)
    assert node.agent("list", "--target", TARGET, "--json").json == []
    commit = (
        "commit", "--tag", "t1", "--target", TARGET, "--cluster", "shop", "--datacenter", "dc1", "--state-dir",
        node.root / "state",
    )  # fmt: skip
    early = node.agent(*commit, "--nodes", 3)
    assert early.code == Exit.FAILED
    assert "2 nodes of dc1 have a backup t1 (node-1, node-2), not 3" in early.err
    assert node.agent(*commit, "--nodes", 2).code == Exit.DONE
    (record,) = node.agent("list", "--target", TARGET, "--json").json
    assert [one["node"] for one in record["nodes"]] == ["node-1", "node-2"]
    late = node.agent(*commit, "--nodes", 2)
    assert (late.code, "already" in late.err) == (Exit.FAILED, True)
    unnamed = node.restore()
    assert (unnamed.code, "--source-node: node-1, node-2" in unnamed.err) == (Exit.USAGE, True)
    assert "has no node node-3" in node.restore("restored", "--source-node", "node-3").err
    assert node.restore("restored", "--source-node", "node-2").code == Exit.DONE


def test_what_failed_goes_on_under_its_epoch(node: Stopped) -> None:
    """The store dies after a few objects: the same command sends the rest, and the snapshot is still the first one."""
    store = FaultyStore(MemoryStore())
    node.buckets.stores["s3://bucket"] = store
    store.fail("put", Fault(store_error(), times=1000, skip=4))
    failed = node.back_up("t1")
    assert failed.code == Exit.FAILED
    assert failed.err.endswith("error: test memory://: as the test told\n")
    taken = {path.stat().st_ino for path in snapshots(node)}
    assert taken
    sent = [key for key in asyncio.run(_keys(store)) if "/data/" in key]
    store._faults.clear()
    write_sstable(node.root / "data" / "app" / f"users-{table_id(1)}", "nb-8-big")  # after the snapshot
    other = node.back_up("t2")
    assert "the backup t1 is not finished" in other.err
    assert node.back_up("t1").code == Exit.DONE
    keys = [key for key in node.stored() if "/data/" in key]
    assert set(sent) <= set(keys)
    assert not snapshots(node)
    manifest = asyncio.run(_manifest(node))
    assert not any(sstable.name == "nb-8-big" for table in manifest.tables for sstable in table.sstables)


def test_what_failed_for_good_takes_its_snapshot_again(node: Stopped) -> None:
    """No pass is a matter of time where the store says no, so the snapshot does not wait for one."""
    store = FaultyStore(MemoryStore())
    node.buckets.stores["s3://bucket"] = store
    store.fail("put", Fault(store_error(Kind.FORBIDDEN), times=1000, skip=2))
    assert node.back_up("t1").code == Exit.FAILED
    assert not snapshots(node)
    store._faults.clear()
    assert node.back_up("t1").code == Exit.DONE
    assert node.restore().code == Exit.DONE
    assert live_files(node.root / "restored" / "data") == restored_by(node)


def test_two_data_directories(node: Stopped) -> None:
    second = node.root / "second"
    NodeData([second]).table("app", "users", 1, ("nb-5-big",))
    assert node.back_up("t1", "--data-dir", second).code == Exit.DONE
    restored = (node.root / "a", node.root / "b")
    assert node.restore("a", "--data-dir", restored[1]).code == Exit.DONE
    found = live_files(restored[0] / "data") | live_files(restored[1])
    assert found == restored_by(node) | live_files(second)
    assert live_files(restored[1])


@pytest.mark.parametrize("log", ["", "ERROR"])
def test_a_bug_is_one_sentence_and_its_trace_is_for_who_asks(node: Stopped, log: str) -> None:
    store = FaultyStore(MemoryStore())
    node.buckets.stores["s3://bucket"] = store
    store.fail("put", Fault(ValueError("odd"), times=1000, skip=2))  # type: ignore[arg-type]
    command = ("backup", "--snapshot", "nightly", "--offline", "--target", TARGET, "--data-dir", node.root / "data")
    known = ("--config-dir", node.config, "--host-id", HOST_ID, "--tokens-file", node.tokens, "--json", "--quiet")
    node.data.snapshot("nightly")
    ended = agent(*command, *known, open_store=node.buckets.opened, log=log)
    assert (ended.code, ended.out) == (Exit.FAILED, "")
    assert ended.err.endswith("error: unexpected ValueError: odd; AGENT_LOG_LEVEL=ERROR shows where\n")
    assert ("Traceback" in ended.err) == bool(log)
    assert (ended.err.count("\n") == 1) == (not log)


def test_a_run_that_is_not_finished_is_not_another_ones(node: Stopped) -> None:
    store = FaultyStore(MemoryStore())
    node.buckets.stores["s3://bucket"] = store
    store.fail("put", Fault(store_error(), times=1000))
    assert node.back_up("t1").code == Exit.FAILED
    other = node.back_up("t1", target="s3://other")
    assert (other.code, "is not finished" in other.err) == (Exit.USAGE, True)


def test_two_commands_at_once(node: Stopped) -> None:
    with locked(node.root / ".cassandra-agent"):
        refused = node.back_up("t1")
    assert (refused.code, "another command works" in refused.err) == (Exit.USAGE, True)


def test_a_state_directory_that_cannot_be_written(node: Stopped) -> None:
    (node.root / "file").touch()
    refused = node.back_up("t1", "--state-dir", node.root / "file" / "state")
    assert (refused.code, "give --state-dir" in refused.err) == (Exit.USAGE, True)


def test_a_table_that_cannot_be_read(node: Stopped, monkeypatch: pytest.MonkeyPatch) -> None:
    node.data.snapshot("nightly")
    read = os.scandir

    def denied(path: object) -> object:
        if str(path).endswith("snapshots/nightly"):
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)  # type: ignore[call-overload]

    monkeypatch.setattr("os.scandir", denied)
    refused = node.back_up("t1", "--snapshot", "nightly")
    assert refused.code == Exit.FAILED
    assert "snapshots/nightly cannot be read or written (Permission denied): the agent runs as the user" in refused.err
    planned = node.back_up("t1", "--snapshot", "nightly", "--dry-run")
    assert (planned.code, "snapshots/nightly: Permission denied" in planned.err) == (Exit.FAILED, True)


def test_restore_refuses_what_is_not_empty(node: Stopped) -> None:
    node.back_up("t1")
    where = node.root / "restored" / "data"
    where.mkdir(parents=True)
    (where / "letters.txt").touch()
    for _ in range(2):  # asking again makes it no emptier
        refused = node.restore()
        assert refused.code == Exit.FAILED
        assert "letters.txt is in it): nothing was touched" in refused.err
    planned = node.restore("restored", "--dry-run", "--json")
    assert (planned.code, planned.json["empty"], planned.json["fits"]) == (Exit.FAILED, False, True)
    (where / "letters.txt").unlink()
    (where / "lost+found").mkdir()
    assert node.restore().code == Exit.DONE
    assert "is not empty" in node.restore().err


def test_a_dry_run_of_a_restore(node: Stopped, monkeypatch: pytest.MonkeyPatch) -> None:
    node.back_up("t1")
    disk = node.files()
    planned = node.restore("restored", "--dry-run", "--json")
    assert (planned.code, planned.json["fits"], planned.json["empty"]) == (Exit.DONE, True, True)
    assert planned.json["bytes"] == sum(map(len, restored_by(node).values()))
    assert node.files() == disk
    monkeypatch.setattr("agent.files.free_bytes", lambda _: (1, 2))
    planned = node.restore("restored", "--dry-run")
    assert (planned.code, "does not fit" in planned.err) == (Exit.FAILED, True)


def test_a_restore_goes_on_where_it_was(node: Stopped) -> None:
    node.back_up("t1")
    store = FaultyStore(node.buckets.stores["s3://bucket"])
    node.buckets.stores["s3://bucket"] = store
    store.fail("get", Fault(store_error(Kind.FORBIDDEN), times=1000, skip=5))
    assert node.restore("restored", "--concurrent-transfers", 1).code == Exit.FAILED
    store._faults.clear()
    before = store.calls["get"]
    assert node.restore().code == Exit.DONE
    assert live_files(node.root / "restored" / "data") == restored_by(node)
    resumed = store.calls["get"] - before
    before = store.calls["get"]
    node.restore("again")
    assert resumed < store.calls["get"] - before, "what was there was not fetched again"


def test_another_restore_takes_the_place_of_one_that_was_not_finished(node: Stopped) -> None:
    node.back_up("t1")
    node.back_up("t2")
    store = FaultyStore(node.buckets.stores["s3://bucket"])
    node.buckets.stores["s3://bucket"] = store
    store.fail("get", Fault(store_error(Kind.FORBIDDEN), times=1000, skip=4))
    assert node.restore(tag="t1").code == Exit.FAILED
    store._faults.clear()
    assert node.restore(tag="t2").code == Exit.DONE
    assert live_files(node.root / "restored" / "data") == restored_by(node)


def test_a_restore_that_put_tables_in_their_place_is_finished_first(
    node: Stopped, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.back_up("t1")
    node.back_up("t2")
    with monkeypatch.context() as broken:

        def died(*_: object) -> None:
            raise OSError(5, "Input/output error", "/data")

        broken.setattr("agent.volume._rename", died)
        assert node.restore(tag="t1").code == Exit.FAILED
    other = node.restore(tag="t2")
    assert (other.code, "is not finished: give its command again" in other.err) == (Exit.USAGE, True)
    assert node.restore(tag="t1").code == Exit.DONE
    assert live_files(node.root / "restored" / "data") == restored_by(node)


def test_a_broken_record_is_a_line_and_hides_no_other(node: Stopped) -> None:
    node.back_up("t1")
    node.back_up("t3")
    store = node.buckets.stores["s3://bucket"]
    key = f"backups/{catalog.record_key('shop', 't2', 'dc1')}"
    asyncio.run(_put(store, key, b'{"format": 1, "tag": '))
    listed = node.agent("list", "--target", TARGET)
    assert listed.code == Exit.FINDINGS
    lines = listed.out.splitlines()
    assert [line.split()[0] for line in lines] == ["TAG", "t1", "shop/_backups/t2/dc1.json:", "t3"]
    found = node.agent("list", "--target", TARGET, "--json")
    assert [one.get("tag") or one["error"]["reason"] for one in found.json] == ["t1", "ManifestInvalid", "t3"]
    assert "cannot be read" in node.agent("show", "t2", "--target", TARGET).err


def test_a_manifest_that_is_gone_is_a_line(node: Stopped) -> None:
    node.back_up("t1")
    asyncio.run(node.buckets.stores["s3://bucket"].delete([f"backups/{PATH.manifest('t1')}"]))
    shown = node.agent("show", "t1", "--target", TARGET, "--json")
    assert shown.code == Exit.FINDINGS
    assert shown.json["nodes"][0]["error"]["reason"] == "ManifestMissing"
    assert "has no manifest of node-1" in node.agent("show", "t1", "--target", TARGET).out


def test_several_clusters_are_asked_about(node: Stopped) -> None:
    assert node.agent("list", "--target", TARGET, "--json").json == []
    assert "no backup of any cluster" in node.agent("show", "t1", "--target", TARGET).err
    node.back_up("t1")
    node.back_up("t1", "--cluster", "other shop", "--state-dir", node.root / "other")
    assert [one["cluster"] for one in node.agent("list", "--target", TARGET, "--json").json] == ["other shop", "shop"]
    asked = node.restore()
    assert (asked.code, "--cluster: other shop, shop" in asked.err) == (Exit.FAILED, True)
    assert node.agent("show", "t1", "--target", TARGET, "--cluster", "shop").code == Exit.DONE
    assert node.restore("restored", "--cluster", "other shop").code == Exit.DONE


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--tag", "a/b"), "the tag 'a/b' must be"),
        (("--target", "ftp://x"), "no store has the scheme ftp://"),
        (("--target", "s3://"), "names no bucket"),
        (("--bandwidth", "fast"), "is no size"),
        (("--concurrent-transfers", "99"), "1 to 64"),
        (("--data-dir", "/nowhere"), "/nowhere is not there"),
        (("--nonsense",), "unrecognized arguments"),
    ],
)
def test_a_wrong_command_line_is_one_sentence(node: Stopped, more: tuple[str, ...], says: str) -> None:
    refused = node.back_up("t1", *more)
    assert refused.code == Exit.USAGE
    assert says in refused.err
    assert refused.err.startswith("error: ")
    assert refused.err.count("\n") == 1
    assert not node.stored()


def test_what_is_missing_of_a_stopped_node_is_said(node: Stopped) -> None:
    base = ("backup", "--tag", "t1", "--target", TARGET, "--data-dir", node.root / "data", "--offline")
    assert "give --host-id" in node.agent(*base, "--config-dir", node.config).err
    assert "give --tokens-file" in node.agent(*base, "--config-dir", node.config, "--host-id", "h").err
    known = ("--host-id", "h", "--tokens-file", node.tokens)
    assert "give --cluster" in node.agent(*base, *known, "--config-dir", node.root).err
    assert "give --datacenter" in node.agent(*base, *known, "--config-dir", node.root, "--cluster", "c").err
    assert "give the backup a name" in node.agent("backup", *base[3:]).err
    online = node.agent(*base[:-1], "--host-id", "h")
    assert (online.code, "go with --offline" in online.err) == (Exit.USAGE, True)


def test_a_cassandra_that_does_not_answer(node: Stopped) -> None:
    refused = node.agent(
        "backup",
        "--tag",
        "t1",
        "--target",
        TARGET,
        "--data-dir",
        node.root / "data",
        "--jolokia",
        "http://127.0.0.1:1/x",
    )
    assert refused.code == Exit.FAILED
    assert "give --jolokia, or --offline where Cassandra is stopped" in refused.err


def test_a_node_that_never_ran(tmp_path: Path, node: Stopped) -> None:
    for path in (node.root / "data").iterdir():
        shutil.rmtree(path)
    NodeData([node.root / "data"]).table("app", "empty", 3, ())
    for more in ((), ("--dry-run",)):
        refused = node.back_up("t1", *more)
        assert (refused.code, "no SSTable at all" in refused.err) == (Exit.FAILED, True)


async def test_with_cassandra_running(world: World, node: Stopped) -> None:
    """It is asked who it is; alone in its cluster, its backup is complete at once; what it said is kept."""
    options = (
        "backup", "--target", TARGET, "--data-dir", world.data.data_dirs[0], "--jolokia", world.cassandra.url,
        "--datacenter", "dc1", "--node", "node-1", "--json", "--config-dir", world.root,
    )  # fmt: skip
    planned = await agent_here(*options, "--tag", "t1", "--dry-run", open_store=node.buckets.opened)
    assert planned.json["sendFiles"] > 0
    assert not world.cassandra.executed
    done = await agent_here(*options, "--tag", "t1", open_store=node.buckets.opened)
    assert (done.json["complete"], done.json["cluster"]) == (True, "test")
    assert [name for name, _ in world.cassandra.executed] == ["takeSnapshot", "clearSnapshot"]
    world.cassandra.attributes["LiveNodes"] = ["10.0.0.1", "10.0.0.2"]
    done = await agent_here(*options, "--tag", "t2", open_store=node.buckets.opened)
    assert not done.json["complete"]
    world.data.snapshot("nightly")
    world.cassandra.executed.clear()
    done = await agent_here(*options, "--snapshot", "nightly", open_store=node.buckets.opened)
    assert (done.json["tag"], world.cassandra.executed) == ("nightly", [])
    assert world.data.snapshots("nightly")
    world.cassandra.down = True
    done = await agent_here(*options, "--tag", "t3", "--offline", "--single-node", open_store=node.buckets.opened)
    assert (done.json["hostId"], done.json["complete"]) == (world.cassandra.attributes["LocalHostId"], True)


def test_unfinished_runs_are_known(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    run, again = runs.begin("backup-t1", ["x"], tag="t1")
    assert (again, runs.unfinished("backup")) == (False, ["t1"])
    assert runs.begin("backup-t1", ["x"], tag="t1") == (run, True)
    (tmp_path / "runs" / "backup-t1.json").write_text('{"id": ')
    again = runs.begin("backup-t1", ["x"], tag="t1")[1]
    assert not again, "a torn file begins anew: names are content"
    runs.end("backup-t1")
    assert runs.unfinished("backup") == []


async def _keys(store: ObjectStore) -> list[str]:
    return [meta.key async for meta in store.list("")]


async def _put(store: ObjectStore, key: str, data: bytes) -> None:
    await store.put(key, BytesBody(data))


async def _manifest(node: Stopped) -> catalog.Manifest:
    async with node.buckets.opened(Location(backup_type="AWS_S3", target=TARGET)) as store:
        found = await records.find_manifest(store, PATH, "t1")
    assert found is not None
    return found[0]
