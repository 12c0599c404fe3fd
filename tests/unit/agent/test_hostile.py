"""What a bucket gives is hostile until it was checked: only an AgentError comes out, and no path leads outside."""

from __future__ import annotations

import contextlib
import os
import random
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from agent import catalog
from agent.catalog import Component, Manifest, SSTable, StoredObject, Table, codec
from agent.errors import AgentError
from agent.protocol import ClusterRecord, RecordedNode
from tests.unit.agent.test_catalog import BUNDLE, KEY, TABLE_ID, manifest

DATA_DIR = "/var/lib/cassandra/data"
RECORD = ClusterRecord(
    format=1, tag="t", backup_id="u", cluster="c", datacenter="d",
    nodes=[RecordedNode(node="n", rack="r", host_id="h", digest="0" * 64)],
)  # fmt: skip


def refused(data: bytes) -> str:
    """Why neither reader takes it."""
    with pytest.raises(AgentError) as caught:
        catalog.decode_manifest(zstandard.compress(data))
    with pytest.raises(AgentError) as record:
        catalog.decode_record(data)
    assert caught.value.reason == record.value.reason == "ManifestInvalid"
    return f"{caught.value.message}\n{record.value.message}"


def test_nesting_ends_before_the_stack_does() -> None:
    for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
        deep = b'{"format":1,"x":' + opening * 200_000 + b"1" + closing * 200_000 + b"}"
        assert refused(deep).count("nested deeper") == 2


@pytest.mark.parametrize("text", [b'{"format":1,"tag":"\xff"}', b'{"format":1,"tag":"\xed\xa0\x80"}'])
def test_text_that_is_no_utf_8_is_refused(text: bytes) -> None:
    assert refused(text).count("UTF-8") == 2


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"5", b'"x"', b"null", b"{}", b'{"format":' + b"9" * 5000 + b"}", b'{"format":1e9}', b"\0", b"{"],
)
def test_json_that_is_no_manifest_is_refused(text: bytes) -> None:
    refused(text)


def test_a_future_format_is_named_whatever_its_fields_are() -> None:
    """Not the first field that it lacks: who reads it must know that another version is what is needed."""
    known = msgspec.json.decode(msgspec.json.encode(manifest())) | {"format": 99}
    for text in (b'{"format":99}', b'{"format":99,"tables":{"a":1}}', msgspec.json.encode(known)):
        told = refused(text)
        assert told.count("has format 99") == 2
        assert "use the version of the agent that wrote it" in told


def test_a_cut_manifest_is_refused_wherever_it_was_cut() -> None:
    whole = catalog.encode(manifest())
    for end in range(len(whole) - 4):  # the last four are the frame's own checksum
        with pytest.raises(AgentError):
            catalog.decode_manifest(whole[:end])


def test_a_flipped_bit_is_refused_wherever_it_is() -> None:
    """By zstd's own checksum, when nothing else sees it."""
    whole = catalog.encode(manifest())
    for at in range(len(whole)):
        data = bytearray(whole)
        data[at] ^= 4
        try:
            found = catalog.decode_manifest(bytes(data))
        except AgentError:
            continue
        assert found == manifest(), at


def test_a_bomb_ends_early_and_a_large_manifest_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = zstandard.compress(bytes(80 << 20))
    with pytest.raises(AgentError, match=f"more than {64 << 20} bytes"):
        catalog.decode_manifest(bomb)
    monkeypatch.setattr(codec, "_HARMLESS", 1000)
    large = one_of_many(2000)
    assert len(msgspec.json.encode(large)) > 100_000
    assert catalog.decode_manifest(catalog.encode(large)) == large


def one_of_many(count: int) -> Manifest:
    """As alike as SSTables of one table can be."""
    chance = random.Random(5)
    objects, sstables = [], []
    for number in range(count):
        crc = chance.randrange(1 << 32)
        objects.append(StoredObject(f"h/data/ks/t-{TABLE_ID}/nb-{number}-big/Data.db~2097152-{crc:08x}-e1", 2097152))
        sstables.append(SSTable(f"nb-{number}-big", [Component("Data.db", 2097152, crc, number)]))
    return manifest(objects=objects, tables=[Table(keyspace="ks", name="t", id=TABLE_ID, sstables=sstables)])


@pytest.mark.parametrize("piece", ["a", "a/", "~", "a~", "/~", "-", "!2F", "../", "a~1-0000000a/"])
def test_odd_names_of_any_length_take_no_time(piece: str) -> None:
    key = piece * (1_000_000 // len(piece))
    begun = time.process_time()
    for name in (key, f"x/{key}", f"{key}/b~1-{'0' * 32}-e1", f"x/{key}~10-0000000a-e1"):
        with pytest.raises(AgentError):
            catalog.check_manifest(manifest(objects=[StoredObject(name, 11)], tables=[]))
        with pytest.raises(AgentError):
            catalog.check_manifest(manifest(tables=[Table(keyspace=name, name=name, id=name, index=name)]))
    assert time.process_time() - begun < 5


@settings(max_examples=300)
@given(st.binary(max_size=300))
def test_any_bytes_at_all_are_an_agents_error(data: bytes) -> None:
    for attempt in (
        lambda: catalog.decode_manifest(data),
        lambda: catalog.decode_manifest(zstandard.compress(data)),
        lambda: catalog.decode_record(data),
    ):
        with pytest.raises(AgentError):
            attempt()


NASTY = st.sampled_from(
    [
        "..", ".", "", "/", "/etc/passwd", "../../etc/passwd", "a/../../b", "a\0b", "a\nb", "~", "\\..\\", "C:\\x",
        "-rf", ".x", "..x", "./x", "ks", "t", TABLE_ID, "nb-1-big", "Data.db", "Index.db", ".idx", "..idx", "snapshots",
        "nb-1-big/../..", "a" * 300, "\u202e", "é", KEY, BUNDLE, "../" + KEY, KEY.replace("h/", "../"), "/" + KEY,
        KEY.replace("ks", ".."),
    ]
)  # fmt: skip

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def changed(whole: Any, path: list[int], value: Any) -> Any:
    """``whole`` with one place of it replaced."""
    if not path or not isinstance(whole, dict | list) or not whole:
        return value
    where = path[0] % len(whole)
    if isinstance(whole, dict):
        key = list(whole)[where]
        return whole | {key: changed(whole[key], path[1:], value)}
    return [*whole[:where], changed(whole[where], path[1:], value), *whole[where + 1 :]]


@pytest.mark.slow
@settings(max_examples=1000)
@given(st.lists(st.integers(0, 50), max_size=8), NASTY | JSON)
def test_one_wrong_place_is_an_agents_error_or_does_no_harm(path: list[int], value: Any) -> None:
    text = msgspec.json.encode(changed(msgspec.json.decode(msgspec.json.encode(manifest())), path, value))
    try:
        found = catalog.decode_manifest(zstandard.compress(text))
    except AgentError:
        pass
    else:
        stays_inside(found)
    record = msgspec.json.encode(changed(msgspec.json.decode(msgspec.json.encode(RECORD)), path, value))
    with contextlib.suppress(AgentError):
        assert catalog.decode_record(record).format == 1


SOUND = manifest(
    tables=[
        Table(
            keyspace="ks", name="t", id=TABLE_ID, index=".idx",
            sstables=[SSTable("nb-1-big", [Component("A", 4, 1, 0), Component("B", 6, 1, 0, 4)])],
        )
    ],
    objects=[StoredObject(BUNDLE, 10, 7)],
)  # fmt: skip
INSIDE: list[str | int] = ["tables", 0, "sstables", 0]
NAMES: list[list[str | int]] = [
    ["tables", 0, "keyspace"], ["tables", 0, "name"], ["tables", 0, "id"], ["tables", 0, "index"], [*INSIDE, 0],
    [*INSIDE, 1, 0, 0], [*INSIDE, 1, 1, 0], ["objects", 0, 0],
]  # fmt: skip
NUMBERS: list[list[str | int]] = [
    *([*INSIDE, 1, at, field] for at in (0, 1) for field in (1, 2, 3, 4)), ["objects", 0, 1], ["objects", 0, 2],
]  # fmt: skip
SIZES = st.sampled_from([-(1 << 63), -1, 0, 1, 10, 11, 1 << 32, 1 << 63, (1 << 64) - 1]) | st.integers(-12, 12)
CHANGES = st.tuples(st.sampled_from(NAMES), NASTY | st.text(max_size=12)) | st.tuples(st.sampled_from(NUMBERS), SIZES)


@pytest.mark.slow
@settings(max_examples=1500)
@given(st.lists(CHANGES, min_size=1, max_size=2))
def test_no_manifest_leads_outside_of_the_data_directory(changes: list[tuple[list[str | int], Any]]) -> None:
    """One of ours, with one or two of its names or numbers replaced: refused, or as harmless as it was."""
    whole = msgspec.json.decode(msgspec.json.encode(SOUND))
    for path, value in changes:
        place = whole
        for step in path[:-1]:
            place = place[step]
        if isinstance(place, list):  # what is as by default is not written
            place += [0] * (int(path[-1]) + 1 - len(place))
        place[path[-1]] = value
    try:
        found = catalog.decode_manifest(zstandard.compress(msgspec.json.encode(whole)))
    except AgentError:
        return
    stays_inside(found)


def stays_inside(found: Manifest) -> None:
    """Every path that a restore or a healing would make of it, and every read."""
    paths = set()
    for table in found.tables:
        for sstable in table.sstables:
            for component in sstable.components:
                relative = f"{table.path.relative}/{catalog.file_name(sstable.name, component.name)}"
                path = os.path.normpath(f"{DATA_DIR}/{relative}")
                assert path == f"{DATA_DIR}/{relative}", "nothing is left to normalise"
                assert Path(path).is_relative_to(DATA_DIR)
                assert len(Path(path).relative_to(DATA_DIR).parts) == (4 if table.index else 3)
                assert "\0" not in path
                assert path not in paths
                paths.add(path)
                if component.size:
                    assert (
                        0
                        <= component.offset
                        < component.offset + component.size
                        <= found.objects[component.object].size
                    )
                    assert component.object >= 0
    for stored in found.objects:
        assert os.path.normpath(stored.key) == stored.key
        assert not stored.key.startswith("/")
