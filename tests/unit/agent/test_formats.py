"""Every format as the real Cassandras of tests/fixtures wrote it: found, whole, backed up, and back byte for byte."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

import pytest

from agent import configuration, formats, integrity, sstables
from agent.errors import AgentError
from tests.fakes.fixtures import NAMES, TAKEN, RealData
from tests.fakes.jolokia import FakeCassandra
from tests.fakes.sstables import UUID_ID, live_files
from tests.unit.agent.backups import content, manifest_of, restore
from tests.unit.agent.conftest import World
from tests.unit.agent.test_configuration import around, node

BRIEF = {"plain", "uncompressed", "indexed"}
FULL = BRIEF | {"_MixedCase", "recreated", "streamed", "nothing", "wide", "words"}
ESSENTIAL = {
    "big": {"Data.db", "Index.db", "Statistics.db"},
    "bti": {"Data.db", "Partitions.db", "Rows.db", "Statistics.db"},
}


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def data(tmp_path: Path, name: str) -> RealData:
    return RealData(tmp_path, name)


def scan(data: RealData) -> sstables.Snapshot:
    return sstables.scan(data.data_dirs, TAKEN)


def test_every_format_that_is_promised_has_a_fixture() -> None:
    promised = {"ma", "mb", "mc", "md", "me", "na", "nb", "nb-uuid", "oa", "da"}
    assert {name.partition("-")[2].removeprefix("beta4-") for name in NAMES} == promised


def test_tables_ids_indexes_and_components_are_what_cassandra_wrote(data: RealData, name: str) -> None:
    found = scan(data)
    written = {
        f"{table.path.relative}/{sstable}-{component}"
        for table in found.tables
        for sstable, one in table.sstables.items()
        for component in one.files
    }
    assert written == set(data.files())
    assert found.dropped == 0
    mine = [table for table in found.tables if table.path.keyspace == "Formats"]
    tables = {table.path.name for table in mine}
    assert tables == set(data.facts["rows"])
    assert tables >= (FULL if len(tables) > len(BRIEF) else BRIEF)
    assert [table.path.index for table in mine if table.path.name == "indexed"] == ["", ".by_word"]
    version = name.removesuffix("-uuid")[-2:]
    for table in mine:
        for sstable in table.sstables:
            assert formats.split(sstable)[0] == version
            assert formats.has_uuid_id(sstable) == (
                data.facts["settings"].get("uuid_sstable_identifiers_enabled", False)
            )
        assert bool(table.sstables) == (table.path.name != "nothing")
    plain = next(table for table in mine if table.path.name == "plain")
    assert len({str(one.files["Data.db"].path).partition("/Formats/")[0] for one in plain.sstables.values()}) == 2
    assert formats.unknown(sstable for table in found.tables for sstable in table.sstables) == []


def test_one_compressed_one_not_one_streamed_and_empty_components(data: RealData) -> None:
    found = {table.path.name: table for table in scan(data).tables if not table.path.index}
    (uncompressed,) = found["uncompressed"].sstables.values()
    assert ("CRC.db" in uncompressed.files, "CompressionInfo.db" in uncompressed.files) == (True, False)
    assert all("CompressionInfo.db" in one.files for one in found["plain"].sstables.values())
    if "streamed" in found:
        assert not any("TOC.txt" in one.files for one in found["streamed"].sstables.values())
    if "sai" in found:
        (sai,) = found["sai"].sstables.values()
        assert sai.files["SAI+aa+GroupComplete.db"].size == 0
        assert "SAI+aa+sai_word+TermsData.db" in sai.files


def test_a_dropped_table_is_not_the_one_that_has_its_name(data: RealData) -> None:
    directories = {path.name for data_dir in data.data_dirs for path in data_dir.glob("Formats/recreated-*")}
    found = [table.path.id for table in scan(data).tables if table.path.name == "recreated"]
    assert len(directories) == 2 * len(found)
    assert all(f"recreated-{one}" in directories for one in found)


def test_the_schema_is_found_in_whichever_directory_it_is(data: RealData, name: str) -> None:
    for table in scan(data).tables:
        if table.path.keyspace == "Formats" and not table.path.index and name not in {"3.6-ma", "3.7-mb"}:  # write none
            identifier = str(re.sub(r"(.{8})(.{4})(.{4})(.{4})(.{12})", r"\1-\2-\3-\4-\5", table.path.id))
            assert identifier in table.schema, table.schema


def test_cassandras_digest_is_the_crc32_of_all_of_data_db(data: RealData) -> None:
    """Compressed or not, in every version."""
    count = 0
    for table in scan(data).tables:
        for sstable in table.sstables.values():
            digest = integrity.read_digest(sstable.files["Digest.crc32"].path)
            assert digest == zlib.crc32(Path(sstable.files["Data.db"].path).read_bytes())
            count += 1
    assert count >= 6


def test_what_an_sstable_cannot_be_opened_without_is_missed_and_nothing_else(data: RealData) -> None:
    """Each component of one SSTable is away once."""
    table = next(table for table in scan(data).tables if table.path.name == "plain")
    sstable, files = next(iter(table.sstables.items()))
    refused = set()
    for file in files.files.values():
        path = Path(file.path)
        kept = path.read_bytes()
        path.unlink()
        try:
            scan(data)
        except AgentError as error:
            refused.add(error.message.partition(f"{sstable} has no ")[2].partition(";")[0])
        path.write_bytes(kept)
    assert refused == ESSENTIAL[formats.split(sstable)[2]] | {"CompressionInfo.db"}


async def test_a_version_and_a_component_of_the_future_come_back_too(world: World) -> None:
    world.data.table("app", "newer", 9, (f"dzz-{UUID_ID}-bti",), extra=("Novel+1.db",))
    async with world.agent() as agent:
        operation = await world.back_up(agent)
    data_dir = world.root / "restored" / "data"
    await restore(world, operation, (data_dir,))
    found = {path for path in live_files(data_dir) if "/newer-" in path}
    assert found == {path for path in live_files(world.data.data_dirs[0]) if "/newer-" in path}
    assert any(path.endswith("-Novel+1.db") for path in found)


@pytest.mark.parametrize(
    ("sstable", "wanted"),
    [
        ("me-1-big", False),
        ("nb-1-big", False),
        ("oa-1-big", True),
        ("pa-1-big", True),
        ("da-1-bti", False),
        ("pa-1-bti", False),
    ],
)
def test_what_the_default_mode_does_not_open(sstable: str, wanted: bool) -> None:
    assert formats.needs_cassandra_5(sstable) == wanted


async def test_a_backup_comes_back_byte_for_byte(tmp_path: Path, data: RealData, name: str) -> None:
    async with FakeCassandra(data) as cassandra:
        world = World(tmp_path, cassandra)
        async with world.agent() as agent:
            operation = await world.back_up(agent)
    manifest = await manifest_of(world, operation)
    assert await content(world.memory, manifest) == data.files()
    keys = await world.keys()
    if len(data.facts["rows"]) > len(BRIEF):
        assert any("/data/Formats/!5FMixedCase-" in key for key in keys)
    assert any("/.by_word/" in key for key in keys)
    data_dirs = (tmp_path / "restored" / "d1", tmp_path / "restored" / "d2")
    restored = await restore(world, operation, data_dirs)
    first, second = (live_files(data_dir) for data_dir in data_dirs)
    assert not first.keys() & second.keys()
    assert first | second == data.files()
    settings = configuration.cassandra_yaml(node(), around(), None, restored)
    assert settings.get("uuid_sstable_identifiers_enabled", False) == restored.uuid_ids == (
        "uuid" in name or "-oa" in name or "-da" in name)  # fmt: skip
    assert settings.get("storage_compatibility_mode") == ("UPGRADING" if "-oa" in name else None)
