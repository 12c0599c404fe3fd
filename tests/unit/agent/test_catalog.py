"""Names and manifests: what is written can be read, and what is hostile is not."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from agent import catalog
from agent.catalog import MANIFEST_FORMAT, Component, Manifest, NodePath, SSTable, StoredObject, Table, TablePath
from agent.errors import AgentError
from backends.base import check_key

KEY = "h/data/ks/t-00000000000000000000000000000001/nb-1-big/Data.db~10-0000000a-e1"
BUNDLE = f"h/data/ks/t-00000000000000000000000000000001/nb-1-big/b~10-{'0a' * 16}-e1"
TABLE_ID = "0" * 31 + "1"


def manifest(**more: Any) -> Manifest:
    values: dict[str, Any] = {
        "format": 2, "agent_version": "1", "backup_id": "u", "tag": "t", "cluster": "c", "datacenter": "d", "rack": "r",
        "node": "n", "host_id": "h", "tokens": ["1"], "started": "", "finished": "",
        "tables": [table(Component("Data.db", 10, 10, 0), Component("Rows.db", 0))], "objects": [StoredObject(KEY, 10)],
    }  # fmt: skip
    return Manifest(**(values | more))


def table(*components: Component, **more: Any) -> Table:
    values: dict[str, Any] = {"keyspace": "ks", "name": "t", "id": TABLE_ID}
    return Table(sstables=[SSTable(more.pop("sstable", "nb-1-big"), list(components))], **(values | more))


@given(st.text(min_size=1, max_size=40))
def test_any_name_is_one_safe_segment_and_comes_back(name: str) -> None:
    try:
        segment = catalog.escape(name)
    except UnicodeEncodeError:
        return  # lone surrogates are no names
    assert catalog.unescape(segment) == name
    check_key(segment, "test", "memory://") if len(segment) < 1000 else None
    assert "/" not in segment
    assert not segment.startswith("_")
    assert "~" not in segment


def test_names_are_the_layout_of_the_design() -> None:
    path = NodePath("My Cluster/1", "dc1", "c-0")
    assert path.root == "My!20Cluster!2F1/dc1/c-0/"
    assert path.manifest("t1") == path.root + "manifests/t1.json.zst"
    assert catalog.record_key("c", "t1", "dc1") == "c/_backups/t1/dc1.json"
    assert catalog.backups_prefix("c", "daily-1").endswith("/daily-1/")
    prefix = catalog.table_prefix("h", TablePath("ks", "t", TABLE_ID, ".idx"))
    identity = catalog.identity(prefix, "da-2-bti", "SAI+aa+i+TermsData.db", 10, 0xAB)
    assert identity == f"h/data/ks/t-{TABLE_ID}/.idx/da-2-bti/SAI+aa+i+TermsData.db~10-000000ab"
    assert catalog.split_key(f"{identity}-e1") == (identity, "e1")
    assert (catalog.size_in(identity), catalog.is_bundle(identity)) == (10, False)


def test_a_bundle_is_named_by_its_members() -> None:
    prefix = catalog.table_prefix("h", TablePath("ks", "t", TABLE_ID))
    members = [("Digest.crc32", 9, 0xAB), ("TOC.txt", 80, 1)]
    hashed = hashlib.sha256(b"Digest.crc32 9 000000ab\nTOC.txt 80 00000001\n").hexdigest()[:32]
    identity = catalog.bundle_identity(prefix, "nb-1-big", members)
    assert identity == f"h/data/ks/t-{TABLE_ID}/nb-1-big/b~89-{hashed}"
    assert catalog.split_key(f"{identity}-e1") == (identity, "e1")
    assert (catalog.size_in(identity), catalog.is_bundle(identity)) == (89, True)
    others = [members[:1], [("Digest.crc32", 9, 0xAB), ("TOC.txt", 80, 2)], [("Digest.crc3", 9, 0xAB), members[1]]]
    assert identity not in {catalog.bundle_identity(prefix, "nb-1-big", other) for other in others}


def test_a_component_may_be_called_as_a_bundle_is() -> None:
    identity = catalog.identity("h/data/ks/t/", "nb-1-big", "b", 10, 0xAB)
    assert catalog.split_key(f"{identity}-e1") == (identity, "e1")
    assert not catalog.is_bundle(identity)


def test_a_datacenter_cannot_take_the_place_of_ours() -> None:
    assert NodePath("c", "_backups", "n").root == "c/!5Fbackups/n/"


FOREIGN = [
    "h/data/x", "h/data/x~1-zz-e1", "h/data/x~1-0000000a-", "h/data/x~1-0000000a-e/1", "",
    f"h/data/b~1-{'0' * 31}-e1", f"h/data/b~1-{'0' * 33}-e1", f"h/data/b~1-{'G' * 32}-e1", f"h/data/x~1-{'0' * 32}-e1",
    f"h/data/b~x-{'0' * 32}-e1", f"h/data/b~-1-{'0' * 32}-e1", f"b~1-{'0' * 32}-e1",
    "h/data/a~1-0000000a/x~1-0000000a-e1",
]  # fmt: skip


@pytest.mark.parametrize("key", FOREIGN)
def test_a_foreign_key_is_no_data_object(key: str) -> None:
    assert catalog.split_key(key) == ("", "")


@pytest.mark.parametrize("tag", ["", ".", "..", "a/b", "ä", "a b", "x" * 129])
def test_odd_tags_are_refused(tag: str) -> None:
    with pytest.raises(AgentError) as caught:
        catalog.check_tag(tag)
    assert caught.value.reason == "InvalidSpec"


def test_a_manifest_comes_back_as_it_was() -> None:
    assert catalog.decode_manifest(catalog.encode(manifest())) == manifest()


def in_bundle(*components: Component) -> dict[str, Any]:
    return {"tables": [table(*components)], "objects": [StoredObject(BUNDLE, 10)]}


def test_members_of_a_bundle_lie_side_by_side() -> None:
    good = manifest(**in_bundle(Component("B", 6, 1, 0, 4), Component("A", 4, 1, 0)))
    assert catalog.decode_manifest(catalog.encode(good)) == good


def test_a_bundle_may_hold_more_than_a_manifest_needs() -> None:
    """As after a rewritten component: the rest of the bundle is still good."""
    catalog.check_manifest(manifest(**in_bundle(Component("A", 4, 1, 0))))


HOSTILE: dict[str, dict[str, Any]] = {
    "another format": {"format": MANIFEST_FORMAT + 1},
    "no format": {"format": 0},
    "members lie over each other": in_bundle(Component("A", 4, 1, 0), Component("B", 4, 1, 0, 3)),
    "members are one": in_bundle(Component("A", 4, 1, 0), Component("B", 4, 1, 0)),
    "a member past the end": in_bundle(Component("A", 4, 1, 0, 7)),
    "a member before the beginning": in_bundle(Component("A", 4, 1, 0, -1)),
    "a bundle of another size": {"objects": [StoredObject(BUNDLE, 11)], "tables": []},
    "an object of another size": {"objects": [StoredObject(KEY, 11)], "tables": []},
    "a hash too short": {"objects": [StoredObject(BUNDLE.replace("0a-e1", "0-e1"), 10)], "tables": []},
    "a hash too long": {"objects": [StoredObject(BUNDLE.replace("0a-e1", "0a0-e1"), 10)], "tables": []},
    "a part of a plain object": {"tables": [table(Component("Data.db", 5, 10, 0))]},
    "a plain object twice": {
        "tables": [table(Component("Data.db", 10, 10, 0)), table(Component("Data.db", 10, 10, 0), name="u")]
    },
    "no bytes in an object": {"tables": [table(Component("Data.db", 0, 10, 0))]},
    "an SSTable twice": {"tables": [table(Component("A", 0)), table(Component("B", 0))]},
    "keyspace climbs": {"tables": [table(keyspace="..")]},
    "table climbs": {"tables": [table(name="../x")]},
    "id is none": {"tables": [table(id="x")]},
    "index climbs": {"tables": [table(index="..")]},
    "index is hidden from nobody": {"tables": [table(index="idx")]},
    "index has a slash": {"tables": [table(index="./x")]},
    "sstable climbs": {"tables": [table(sstable="../nb-1-big")]},
    "component climbs": {"tables": [table(Component("../../etc/passwd", 10, 10, 0))]},
    "component is absolute": {"tables": [table(Component("/etc/passwd", 10, 10, 0))]},
    "component with a NUL": {"tables": [table(Component("Data.db\0", 10, 10, 0))]},
    "no such object": {"tables": [table(Component("Data.db", 10, 10, 1))]},
    "negative object": {"tables": [table(Component("Data.db", 10, 10, -2))]},
    "bytes without an object": {"tables": [table(Component("Data.db", 10, 10, -1))]},
    "negative size": {"tables": [table(Component("Data.db", -1, 10, 0))]},
    "past its object": {"tables": [table(Component("Data.db", 5, 10, 0, 6))]},
    "negative offset": {"tables": [table(Component("Data.db", 5, 10, 0, -1))]},
    "odd checksum": {"tables": [table(Component("Data.db", 10, 1 << 32, 0))]},
    "twice": {"tables": [table(Component("Data.db", 10, 10, 0), Component("Data.db", 10, 10, 0))]},
    "key climbs": {"objects": [StoredObject("../" + KEY, 10)]},
    "key is foreign": {"objects": [StoredObject("x", 10)]},
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_manifest_is_refused(what: str) -> None:
    with pytest.raises(AgentError) as caught:
        catalog.decode_manifest(catalog.encode(manifest(**HOSTILE[what])))
    assert caught.value.reason == "ManifestInvalid"


@pytest.mark.parametrize("data", [b"", b"plain", zstandard.compress(b"{"), zstandard.compress(b"[]")])
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(AgentError) as caught:
        catalog.decode_manifest(data)
    assert caught.value.reason == "ManifestInvalid"


def test_a_bomb_stops_at_the_cap() -> None:
    bomb = zstandard.compress(bytes(8 << 20))
    assert len(bomb) < 2000
    with pytest.raises(AgentError, match="more than"):
        catalog.decode_manifest(bomb, limit=1 << 20)


def test_a_record_of_another_format_is_refused() -> None:
    record = {"format": 9, "tag": "t", "backupId": "u", "cluster": "c", "datacenter": "d", "nodes": []}
    with pytest.raises(AgentError):
        catalog.decode_record(msgspec.json.encode(record))
