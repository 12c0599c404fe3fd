"""Medusa's files: what the real one writes, what older ones wrote, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agent.catalog import TablePath
from agent.cli.medusa import layout
from agent.errors import AgentError
from tests.fakes.medusa_bucket import archive
from tests.fakes.sstables import table_id

USERS = f"users-{table_id(1)}"
MD5 = "0e996f99ef25cf91cd12374510d3a15a"


def manifest(*objects: dict[str, Any], keyspace: str = "app", columnfamily: str = USERS) -> bytes:
    return json.dumps([{"keyspace": keyspace, "columnfamily": columnfamily, "objects": list(objects)}]).encode()


def one(path: str, size: int = 7, md5: str | None = MD5) -> dict[str, Any]:
    return {"path": path, "size": size, "MD5": md5}


def test_a_real_manifest() -> None:
    found = layout.manifest(archive()["some-prefix/c-0/b2/meta/manifest.json"], "c-0")
    names = {path.relative: sorted(table) for path, table in found.items()}
    users = f"app/{USERS}"
    assert names == {
        users: ["nb-1-big", "nc-3fw2_0tj4_46w3k2cpidnirvjy7k-big"],
        f"{users}/.by_name": ["nb-1-big"],
        f"app/events-{table_id(2)}": ["da-3-bti"],
        f"app/empty-{table_id(3)}": [],
        f"system_schema/tables-{table_id(4)}": ["nb-7-big"],
        f"system_auth/roles-{table_id(5)}": ["nb-3-big"],
    }
    index = found[TablePath("app", "users", table_id(1))]["nb-1-big"]["Index.db"]
    assert index.path == f"c-0/data/app/{USERS}/nb-1-big-Index.db"
    assert index.md5.endswith("-1")
    assert layout.data_prefixes(found) == ["c-0/data/"]
    full = layout.manifest(archive()["some-prefix/c-0/f1/meta/manifest.json"], "c-0")
    assert layout.data_prefixes(full) == ["c-0/f1/data/"]


def test_a_real_tokenmap_and_version() -> None:
    ring = layout.tokenmap(archive()["some-prefix/c-1/b1/meta/tokenmap.json"], "c-1")
    assert ring["c-1"] == layout.Place("dc1", "r2", ["-99", "101"])
    assert layout.version(archive()["some-prefix/c-1/b1/meta/server_version.json"], "c-1") == "5.0.6"


def test_an_index_behind_a_dot() -> None:
    found = layout.manifest(
        manifest(one(f"c-0/data/app/{USERS}.by_name/nb-1-big-Data.db"), columnfamily=f"{USERS}.by_name"), "c-0"
    )
    assert list(found) == [TablePath("app", "users", table_id(1), ".by_name")]


def test_tokens_as_they_come() -> None:
    ring = layout.tokenmap(b'{"a": {"tokens": -5, "dc": "d"}, "b": {"tokens": ["7", 8], "dc": "d", "rack": "r"}}', "a")
    assert ring == {"a": layout.Place("d", "rack1", ["-5"]), "b": layout.Place("d", "r", ["7", "8"])}


@pytest.mark.parametrize(
    ("md5", "hexadecimal"),
    [(MD5, MD5), (f"{MD5}-12", f"{MD5}-12"), ("Dplvme8lz5HNEjdFENOhWg==", MD5), (None, ""), ("no-md5-hash", "")],
)
def test_md5_of_every_store(md5: str | None, hexadecimal: str) -> None:
    found = layout.manifest(manifest(one(f"c-0/data/app/{USERS}/nb-1-big-Data.db", md5=md5)), "c-0")
    assert found[TablePath("app", "users", table_id(1))]["nb-1-big"]["Data.db"].md5 == hexadecimal


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"[", "not as Medusa 0.20 to 0.31 writes it"),
        (b'{"format": 9}', "not as Medusa 0.20 to 0.31 writes it"),
        (b'[{"keyspace": "app", "tables": []}]', "not as Medusa 0.20 to 0.31 writes it"),
        (manifest(keyspace="dse", columnfamily="metadata"), "DataStax Enterprise"),
        (manifest(columnfamily="users"), "Cassandra 3.0 and later do not write"),
        (manifest(keyspace="../etc"), "Cassandra 3.0 and later do not write"),
        (manifest(one(f"c-1/data/app/{USERS}/nb-1-big-Data.db")), "is not below the node"),
        (manifest(one(f"c-0/data/../{USERS}/nb-1-big-Data.db")), "not as Medusa"),
        (manifest(one(f"c-0/elsewhere/x/data/{USERS}/nb-1-big-Data.db")), "not as Medusa"),
        (manifest(one(f"c-0/data/app/{USERS}/nb-1-big-Data.db", -1)), "not as Medusa"),
        (manifest(one(f"c-0/data/app/{USERS}/x/nb-1-big-Data.db")), "is in no table"),
        (manifest(one(f"c-0/data/app/{USERS}/app-users-ka-1-Data.db")), "older than Cassandra 3.0"),
        (
            manifest(one(f"c-0/data/app/{USERS}/nb-1-big-Data.db"), one(f"c-0/data/app/{USERS}/nb-1-big-Data.db", 8)),
            "twice, with different contents",
        ),
    ],
)
def test_manifests_that_are_refused(text: bytes, says: str) -> None:
    with pytest.raises(AgentError, match=says):
        layout.manifest(text, "c-0")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"[]", "not as Medusa"),
        (b'{"a": {"tokens": [], "dc": "d"}}', "no tokens"),
        (b'{"a": {"tokens": 1}}', "no datac"),
    ],
)
def test_tokenmaps_that_are_refused(text: bytes, says: str) -> None:
    with pytest.raises(AgentError, match=says):
        layout.tokenmap(text, "a")


def test_what_is_not_of_an_sstable_is_left_out() -> None:
    found = layout.manifest(manifest(one(f"c-0/data/app/{USERS}/ephemeral.snapshot")), "c-0")
    assert found == {TablePath("app", "users", table_id(1)): {}}


def test_other_servers_are_refused() -> None:
    with pytest.raises(AgentError, match="it is of dse"):
        layout.version(b'{"server_type": "dse", "release_version": "4.0.0.6"}', "a")
    assert layout.version(None, "a") == ""
    assert layout.version(b'{"server_type": "cassandra", "release_version": "unknown"}', "a") == ""
    assert layout.version(b"torn", "a") == ""


def test_only_etags_of_s3_are_compared() -> None:
    assert layout.comparable(MD5, f"{MD5}-2")
    assert not layout.comparable("CKih16GjycICEAE=", MD5)
    assert not layout.comparable(MD5, "")
