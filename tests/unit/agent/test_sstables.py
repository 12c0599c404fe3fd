"""Scanning a snapshot: every format, and what must not pass for a whole one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from agent import formats, sstables
from agent.catalog import TablePath
from agent.errors import AgentError
from tests.fakes.sstables import SAI, UUID_ID, NodeData, table_id, write_sstable

FORMATS = [
    "ma-1-big", "mb-2-big", "mc-3-big", "md-44-big", "me-5-big", "na-1-big", "nb-1-big", "nc-7-big", "oa-1-big",
    "da-2-bti", f"nb-{UUID_ID}-big", f"da-{UUID_ID}-bti",
]  # fmt: skip


def data_in(*paths: Path) -> NodeData:
    return NodeData(list(paths))


def scan(data: NodeData, tag: str = "co-t") -> sstables.Snapshot:
    data.snapshot(tag)
    return sstables.scan(data.data_dirs, tag)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_found_with_all_components(tmp_path: Path, name: str) -> None:
    data = data_in(tmp_path)
    directory = data.table("ks", "t", 1, (name,), extra=SAI)
    found = scan(data).tables[0].sstables[name]
    assert {Path(file.path).name for file in found.files.values()} == {
        path.name for path in directory.iterdir() if path.is_file()
    }
    assert found.files["SAI+aa+GroupComplete.db"].size == 0
    assert formats.has_uuid_id(name) == (UUID_ID in name)


def test_several_data_directories_are_one_table(tmp_path: Path) -> None:
    data = data_in(tmp_path / "a", tmp_path / "b")
    data.table("ks", "t", 1)
    write_sstable(tmp_path / "b" / data.tables[0], "nb-2-big")
    found = scan(data)
    assert [table.path for table in found.tables] == [TablePath("ks", "t", table_id(1))]
    assert set(found.tables[0].sstables) == {"nb-1-big", "nb-2-big"}


def test_hidden_index_tables_stand_beside_theirs(tmp_path: Path) -> None:
    data = data_in(tmp_path)
    write_sstable(data.table("ks", "t", 1) / ".by_name", "nb-1-big")
    found = scan(data)
    assert [table.path.index for table in found.tables] == ["", ".by_name"]
    assert found.tables[1].path.relative == f"ks/t-{table_id(1)}/.by_name"


def test_the_nodes_own_keyspaces_are_left_out_and_schemas_are_read(tmp_path: Path) -> None:
    data = data_in(tmp_path)
    for number, keyspace in enumerate(("system", "system_traces", "system_schema", "app")):
        data.table(keyspace, "t", number)
    found = scan(data)
    assert [table.path.keyspace for table in found.tables] == ["app", "system_schema"]
    assert found.tables[0].schema == "CREATE TABLE app.t (k int PRIMARY KEY);"


def test_a_long_schema_is_read_to_its_end(tmp_path: Path) -> None:
    data = data_in(tmp_path)
    data.table("ks", "t", 1)
    data.snapshot("co-t")
    schema = "".join(f"-- column {number}\n" for number in range(5000))
    (data.snapshots("co-t")[0] / "schema.cql").write_text(schema)
    assert sstables.scan(data.data_dirs, "co-t").tables[0].schema == schema


def test_foreign_files_are_no_components(tmp_path: Path) -> None:
    data = data_in(tmp_path)
    directory = data.table("ks", "t", 1)
    (directory / "backup.tar").write_text("x")
    data.snapshot("co-t")
    (data.snapshots("co-t")[0] / "nb-9-big-Data.db").symlink_to("/etc/passwd")
    assert set(sstables.scan(data.data_dirs, "co-t").tables[0].sstables) == {"nb-1-big"}


@pytest.mark.parametrize("without", ["TOC.txt", "Data.db"])
def test_what_was_still_being_written_is_dropped(tmp_path: Path, without: str) -> None:
    data = data_in(tmp_path)
    directory = data.table("ks", "t", 1)
    data.snapshot("co-t")
    write_sstable(data.snapshots("co-t")[0], "nb-2-big", without=(without,))
    found = sstables.scan(data.data_dirs, "co-t")
    assert set(found.tables[0].sstables) == {"nb-1-big"}
    assert found.dropped == 1
    assert directory.exists()


def test_a_listed_sstable_that_was_streamed_whole_has_no_toc(tmp_path: Path) -> None:
    data = data_in(tmp_path)
    data.table("ks", "t", 1)
    data.snapshot("co-t")
    (data.snapshots("co-t")[0] / "nb-1-big-TOC.txt").unlink()
    assert set(sstables.scan(data.data_dirs, "co-t").tables[0].sstables) == {"nb-1-big"}
    (data.snapshots("co-t")[0] / "nb-1-big-Index.db").unlink()
    with pytest.raises(AgentError, match=r"Index\.db"):
        sstables.scan(data.data_dirs, "co-t")


def test_without_a_toc_something_must_say_how_to_read_the_data(tmp_path: Path) -> None:
    data = data_in(tmp_path)
    data.table("ks", "t", 1)
    data.snapshot("co-t")
    for component in ("TOC.txt", "CompressionInfo.db"):
        (data.snapshots("co-t")[0] / f"nb-1-big-{component}").unlink()
    with pytest.raises(AgentError, match=r"nb-1-big has no CompressionInfo\.db"):
        sstables.scan(data.data_dirs, "co-t")
    (data.snapshots("co-t")[0] / "nb-1-big-CRC.db").write_bytes(b"x")
    assert set(sstables.scan(data.data_dirs, "co-t").tables[0].sstables) == {"nb-1-big"}


def test_an_empty_component_is_none_where_cassandra_needs_its_bytes(tmp_path: Path) -> None:
    data = data_in(tmp_path)
    data.table("ks", "t", 1)
    data.snapshot("co-t")
    (data.snapshots("co-t")[0] / "nb-1-big-Statistics.db").write_bytes(b"")
    with pytest.raises(AgentError, match=r"nb-1-big has no Statistics\.db"):
        sstables.scan(data.data_dirs, "co-t")


@pytest.mark.parametrize(
    "file", ["ks-t-ka-1-Data.db", "users-jb-7-Data.db", "nb-1-big-Index.db", "../nb-1-big-Data.db"]
)
def test_a_listed_file_that_has_no_known_name_is_never_left_out_in_silence(tmp_path: Path, file: str) -> None:
    data = data_in(tmp_path)
    data.table("ks", "t", 1)
    data.snapshot("co-t")
    (data.snapshots("co-t")[0] / "manifest.json").write_text(json.dumps({"files": ["nb-1-big-Data.db", file]}))
    with pytest.raises(AgentError) as caught:
        sstables.scan(data.data_dirs, "co-t")
    assert (caught.value.reason, caught.value.retryable) == ("SnapshotFailed", file.startswith(".."))
    assert ".." in file or "nodetool upgradesstables on ks t" in caught.value.message


def test_a_table_without_an_id_in_its_name_is_never_left_out_in_silence(tmp_path: Path) -> None:
    data = data_in(tmp_path)
    data.table("ks", "t", 1)
    (tmp_path / "ks" / f"t-{table_id(1)}").rename(tmp_path / "ks" / "t")
    data.tables = ["ks/t"]
    with pytest.raises(AgentError, match="ks/t has no table id in its name") as caught:
        scan(data)
    assert not caught.value.retryable


def test_what_is_newer_than_the_agent_is_kept_and_told(tmp_path: Path) -> None:
    data = data_in(tmp_path)
    data.table("ks", "t", 1, ("nb-1-big", "zz-1-big", "pa-2-big", f"dzz-{UUID_ID}-bti"), extra=("Novel+1.db",))
    with capture_logs() as logs:
        found = scan(data).tables[0]
    assert set(found.sstables) == {"nb-1-big", "zz-1-big", "pa-2-big", f"dzz-{UUID_ID}-bti"}
    assert "Novel+1.db" in found.sstables["pa-2-big"].files
    assert [entry["versions"] for entry in logs] == [["dzz-bti", "pa-big", "zz-big"]]


def test_of_an_unknown_format_nothing_may_be_missing_and_a_toc_must_say_so(tmp_path: Path) -> None:
    data = data_in(tmp_path)
    data.table("ks", "t", 1, ("aa-1-trie",))
    assert set(scan(data).tables[0].sstables) == {"aa-1-trie"}
    snapshot = data.snapshots("co-t")[0]
    filter_, toc = snapshot / "aa-1-trie-Filter.db", snapshot / "aa-1-trie-TOC.txt"
    kept, named = filter_.read_bytes(), toc.read_text()
    filter_.unlink()
    with pytest.raises(AgentError, match=r"has no Filter\.db"):
        sstables.scan(data.data_dirs, "co-t")
    filter_.write_bytes(kept)
    for content in (None, ""):
        toc.unlink(missing_ok=True)
        if content is not None:
            toc.write_text(content)
        with pytest.raises(AgentError, match=r"has no TOC\.txt"):
            sstables.scan(data.data_dirs, "co-t")
    toc.write_text(named)
    (snapshot / "aa-1-trie-Data.db").write_bytes(b"")
    with pytest.raises(AgentError, match=r"has no Data\.db"):
        sstables.scan(data.data_dirs, "co-t")


@pytest.mark.parametrize("without", ["Data.db", "Statistics.db", "Index.db"])
def test_what_cassandra_lists_must_be_whole(tmp_path: Path, without: str) -> None:
    data = data_in(tmp_path)
    data.table("ks", "t", 1)
    data.snapshot("co-t")
    (data.snapshots("co-t")[0] / f"nb-1-big-{without}").unlink()
    with pytest.raises(AgentError) as caught:
        sstables.scan(data.data_dirs, "co-t")
    assert (caught.value.reason, caught.value.retryable) == ("SnapshotFailed", True)
    assert without in caught.value.message


def test_a_listed_index_that_is_gone_is_noticed(tmp_path: Path) -> None:
    data = data_in(tmp_path)
    data.table("ks", "t", 1)
    data.snapshot("co-t")
    listed = {"files": ["nb-1-big-Data.db", ".by_name/nb-1-big-Data.db"]}
    (data.snapshots("co-t")[0] / "manifest.json").write_text(json.dumps(listed))
    with pytest.raises(AgentError, match="by_name"):
        sstables.scan(data.data_dirs, "co-t")


def test_a_table_whose_index_wrote_over_its_manifest(tmp_path: Path) -> None:
    """3.11.0 to 3.11.7. The index's own files may not be missing for that."""
    data = data_in(tmp_path)
    write_sstable(data.table("ks", "t", 1, ("mc-2-big",)) / ".by_name", "mc-1-big")
    data.table("ks", "other", 2, ("mc-3-big",))
    data.snapshot("co-t")
    snapshot = next(path for path in data.snapshots("co-t") if "/t-" in str(path))
    (snapshot / "manifest.json").write_text('{"files":["mc-1-big-Data.db"]}')
    found = sstables.scan(data.data_dirs, "co-t").tables
    assert [(table.path.name, set(table.sstables)) for table in found] == [
        ("other", {"mc-3-big"}), ("t", {"mc-2-big"}), ("t", {"mc-1-big"}),
    ]  # fmt: skip
    (snapshot / ".by_name" / "mc-1-big-Statistics.db").unlink()
    with pytest.raises(AgentError, match=r"mc-1-big has no Statistics\.db"):
        sstables.scan(data.data_dirs, "co-t")
    (snapshot / "manifest.json").write_text('{"files":["mc-3-big-Data.db"]}')  # another table's is none of its own
    with pytest.raises(AgentError, match=r"mc-3-big has no Data\.db"):
        sstables.scan(data.data_dirs, "co-t")


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"files": 3}'])
def test_a_table_without_a_readable_manifest_is_half_taken(tmp_path: Path, content: str | None) -> None:
    data = data_in(tmp_path)
    data.table("ks", "t", 1)
    data.snapshot("co-t")
    manifest = data.snapshots("co-t")[0] / "manifest.json"
    if content is None:
        manifest.unlink()
    else:
        manifest.write_text(content)
    with pytest.raises(AgentError, match=r"manifest\.json"):
        sstables.scan(data.data_dirs, "co-t")


def test_no_table_at_all_is_no_snapshot(tmp_path: Path) -> None:
    with pytest.raises(AgentError) as caught:
        sstables.scan([tmp_path / "nothing"], "co-t")
    assert caught.value.reason == "SnapshotGone"


def test_one_sstable_in_two_directories_is_refused(tmp_path: Path) -> None:
    data = data_in(tmp_path / "a", tmp_path / "b")
    data.table("ks", "t", 1)
    write_sstable(tmp_path / "b" / data.tables[0], "nb-1-big")
    with pytest.raises(AgentError, match="two data directories"):
        scan(data)


def test_only_snapshots_of_ours_are_listed(tmp_path: Path) -> None:
    data = data_in(tmp_path)
    data.table("ks", "t", 1)
    for name in ("co-t1", "co-t2", "dropped-123", "users"):
        data.snapshot(name)
    assert set(sstables.snapshots(data.data_dirs, "co-")) == {"co-t1", "co-t2"}
