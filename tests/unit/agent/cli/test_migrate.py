"""``migrate``, over what the real Medusa wrote: complete, resumable, and honest about what is damaged."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest

from agent import catalog
from agent.cli.console import Exit
from agent.cli.medusa.copier import HOST_ID
from backends.base import BytesBody
from backends.errors import Kind
from backends.helpers import read_all
from backends.memory import MemoryStore
from tests.fakes import medusa_bucket
from tests.fakes.command import Buckets, Ended, agent
from tests.fakes.faulty_store import Fault, FaultyStore
from tests.fakes.faulty_store import error as store_error
from tests.fakes.sstables import table_id

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from backends.base import ObjectStore

FROM, TARGET = "s3://bucket/some-prefix", "s3://bucket/ours"
USERS = f"some-prefix/c-0/data/app/users-{table_id(1)}"


class Bucket:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.buckets = Buckets()
        self.memory = MemoryStore("s3://bucket")
        self.store = FaultyStore(self.memory)
        self.buckets.stores["s3://bucket"] = self.store
        asyncio.run(medusa_bucket.fill(self.memory))
        self.before = self.objects("some-prefix/")

    def migrate(self, backup: str = "b1", *more: object, source: str = FROM, target: str = TARGET) -> Ended:
        return agent(
            "migrate", backup, "--from", source, "--target", target, "--cluster", "shop", "--state-dir",
            self.root / "state", *more, open_store=self.buckets.opened,
        )  # fmt: skip

    def check_restored(self, backup: str = "b1", target: str = TARGET) -> None:
        """Byte for byte what the nodes had, and Medusa's objects as they were."""
        for node in ("c-0", "c-1"):
            where = self.root / f"{backup}-{node}" / "data"
            done = agent(
                "restore", "--tag", backup, "--target", target, "--source-node", node, "--data-dir", where,
                open_store=self.buckets.opened,
            )  # fmt: skip
            assert done.code == Exit.DONE, done.err
            assert medusa_bucket.hashes(where) == medusa_bucket.expected(backup, node)
            assert f'initial_token: "{"-100,100" if node == "c-0" else "-99,101"}"' in done.out
        assert self.objects("some-prefix/") == self.before

    def objects(self, prefix: str) -> dict[str, bytes]:
        async def read() -> dict[str, bytes]:
            return {
                meta.key: await read_all(self.memory, meta.key, 64 << 20) async for meta in self.memory.list(prefix)
            }

        return asyncio.run(read())

    def change(self, key: str, data: bytes | None) -> None:
        if data is None:
            asyncio.run(self.memory.delete([key]))
        else:
            asyncio.run(_put(self.memory, key, data))


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    return Bucket(tmp_path)


async def _put(store: ObjectStore, key: str, data: bytes) -> None:
    await store.put(key, BytesBody(data))


def test_a_backup_of_two_nodes_is_complete_and_restores(bucket: Bucket) -> None:
    done = bucket.migrate("b1", "--json")
    assert done.code == Exit.DONE, done.err
    assert (done.json["migrated"], done.json["copiedByStore"]) == (["c-0", "c-1"], True)
    bucket.check_restored()
    (record,) = agent("list", "--target", TARGET, "--json", open_store=bucket.buckets.opened).json
    assert [(one["node"], one["rack"], one["tokens"]) for one in record["nodes"]] == [
        ("c-0", "r1", 2),
        ("c-1", "r2", 2),
    ]
    assert record["cassandraVersion"] == "5.0.6"
    schema = bucket.objects(f"ours/{catalog.schema_key('shop', 'b1', 'dc1')}")
    assert b"CREATE KEYSPACE app" in next(iter(schema.values()))
    assert not [key for key in bucket.objects("ours/") if "/pending/" in key]
    left = [path for path in (bucket.root / "state").rglob("*") if path.is_file()]
    assert [path.name for path in left] == ["lock"], "what is done needs no journal"


def test_a_large_data_file_is_copied_and_never_read(bucket: Bucket) -> None:
    bucket.migrate()
    large = f"{USERS}/nb-1-big-Data.db"
    assert ("copy", large) in bucket.store.keys
    assert ("get", large) not in bucket.store.keys
    copied = [key for verb, key in bucket.store.keys if verb == "copy"]
    assert len(copied) == 4, "Data.db and Index.db of two nodes are larger than a bundle's members"


@pytest.mark.parametrize("backup", ["b2", "f1"])
def test_later_and_full_backups(bucket: Bucket, backup: str) -> None:
    assert bucket.migrate(backup).code == Exit.DONE
    bucket.check_restored(backup)


def test_a_second_backup_copies_what_is_new(bucket: Bucket) -> None:
    bucket.migrate("b1")
    before = set(bucket.objects("ours/"))
    bucket.store.keys.clear()
    assert bucket.migrate("b2").code == Exit.DONE
    new = [key for key in bucket.objects("ours/") if key not in before and "/data/" in key]
    assert len(new) == 2, "one bundle of each node's new SSTable"
    assert not [key for verb, key in bucket.store.keys if verb == "copy"]
    bucket.check_restored("b2")
    bucket.check_restored("b1")


def test_between_two_buckets(bucket: Bucket) -> None:
    done = bucket.migrate("b1", "--json", target="s3://other/ours")
    assert (done.code, done.json["copiedByStore"]) == (Exit.DONE, False)
    bucket.check_restored(target="s3://other/ours")


def test_between_two_buckets_a_broken_line_is_tried_again(bucket: Bucket) -> None:
    """By the same command: what came half is not kept, and what came whole is not fetched again."""
    large = f"{USERS}/nb-1-big-Data.db"
    bucket.store.fail("get", Fault(store_error(), times=1000, after=1, key=large))
    assert bucket.migrate("b1", target="s3://other/ours").code == Exit.FAILED
    bucket.store._faults.clear()
    assert bucket.migrate("b1", target="s3://other/ours").code == Exit.DONE
    bucket.check_restored(target="s3://other/ours")


def test_without_a_prefix_and_without_an_index(tmp_path: Path) -> None:
    bucket = Bucket(tmp_path)
    bucket.change("x", b"")
    for key, data in bucket.objects("some-prefix/").items():
        bucket.change(key, None)
        if not key.startswith("some-prefix/index/"):
            bucket.change(key.removeprefix("some-prefix/"), data)
    for node in ("c-0", "c-1"):
        key = f"{node}/b1/meta/manifest.json"
        bucket.change(key, bucket.objects(key)[key].replace(b"some-prefix/", b""))
    bucket.before = {}
    assert bucket.migrate(source="s3://bucket", target=TARGET).code == Exit.DONE
    bucket.check_restored()


def test_given_again_there_is_nothing_to_do(bucket: Bucket) -> None:
    bucket.migrate()
    before = bucket.objects("ours/")
    again = bucket.migrate()
    assert (again.code, "nothing is left to do" in again.out) == (Exit.FINDINGS, True)
    assert bucket.objects("ours/") == before
    other = agent(
        "migrate", "b2", "--from", FROM, "--target", TARGET, "--cluster", "shop", "--tag", "b1", "--state-dir",
        bucket.root / "state", open_store=bucket.buckets.opened,
    )  # fmt: skip
    assert (other.code, "another backup with the tag b1" in other.err) == (Exit.FAILED, True)


@pytest.mark.parametrize(
    ("verb", "skip"),
    [*itertools.product(["put", "get"], [0, 1, 3, 6, 9, 14]), *itertools.product(["copy", "list"], [0, 1, 3])],
)
def test_what_died_goes_on(bucket: Bucket, verb: str, skip: int) -> None:
    bucket.store.fail(verb, Fault(store_error(), times=10_000, skip=skip))
    failed = bucket.migrate()
    assert (failed.code, failed.err.count("error: ")) == (Exit.FAILED, 1)
    there = {key for key in bucket.objects("ours/") if "/data/" in key}
    listed = agent("list", "--target", TARGET, "--json", open_store=_only(bucket.memory).opened)
    assert listed.json == [], "half a migration is no backup"
    bucket.store._faults.clear()
    assert bucket.migrate().code == Exit.DONE
    after = {key for key in bucket.objects("ours/") if "/data/" in key}
    assert there <= after
    assert len({catalog.split_key(key)[0] for key in after}) == len(after), "nothing is there twice"
    bucket.check_restored()


def test_a_lost_state_directory_costs_nothing_that_was_copied(bucket: Bucket) -> None:
    bucket.store.fail("put", Fault(store_error(), times=10_000, skip=9))
    assert bucket.migrate().code == Exit.FAILED
    there = {key for key in bucket.objects("ours/") if "/data/" in key}
    assert there
    bucket.store._faults.clear()
    done = agent(
        "migrate", "b1", "--from", FROM, "--target", TARGET, "--cluster", "shop", "--state-dir", bucket.root / "new",
        open_store=bucket.buckets.opened,
    )  # fmt: skip
    assert done.code == Exit.DONE
    after = {key for key in bucket.objects("ours/") if "/data/" in key}
    assert there <= after
    assert len({catalog.split_key(key)[0] for key in after}) == len(after)
    bucket.check_restored()


def test_a_dry_run_writes_nothing(bucket: Bucket) -> None:
    planned = bucket.migrate("b1", "--dry-run", "--json")
    assert planned.code == Exit.DONE
    assert planned.json["files"] > 50
    assert 0 < planned.json["bytesRead"] < planned.json["bytes"]
    assert bucket.objects("ours/") == {}
    assert not (bucket.root / "state").exists()
    assert not [key for verb, key in bucket.store.keys if verb == "get" and "/data/" in key]


def test_an_incomplete_backup_is_refused(bucket: Bucket) -> None:
    refused = bucket.migrate("half")
    assert (refused.code, "is not complete: c-1 never finished it" in refused.err) == (Exit.FAILED, True)
    absent = bucket.migrate("b7")
    assert (absent.code, "has no Medusa backup b7" in absent.err) == (Exit.FAILED, True)
    assert bucket.objects("ours/") == {}


DAMAGE: list[tuple[str, Callable[[bytes], bytes | None], str]] = [
    ("nb-1-big-Data.db", lambda _: None, "nb-1-big-Data.db is not there"),
    ("nb-1-big-Statistics.db", lambda data: data + b"x", "61 bytes, the manifest says 60"),
    ("nb-1-big-Statistics.db", lambda data: data[::-1], "not those of its MD5"),
    ("nc-3fw2_0tj4_46w3k2cpidnirvjy7k-big-Data.db", lambda data: data[::-1], "not those of its MD5"),
]


@pytest.mark.parametrize(("name", "damage", "says"), DAMAGE)
def test_damage_is_said_and_nothing_is_committed(
    bucket: Bucket, name: str, damage: Callable[[bytes], bytes | None], says: str
) -> None:
    key = f"{USERS}/{name}"
    bucket.change(key, damage(bucket.objects(key)[key]))
    refused = bucket.migrate()
    assert (refused.code, says in refused.err) == (Exit.FAILED, True), refused.err
    assert not [key for key in bucket.objects("ours/") if "/manifests/c-0" in key or "_backups" in key]


def test_a_small_data_file_is_held_to_its_digest(bucket: Bucket) -> None:
    """Where the store's MD5 tells nothing, Cassandra's own checksum does."""
    key = "some-prefix/c-0/b1/meta/manifest.json"
    sections: list[dict[str, Any]] = json.loads(bucket.objects(key)[key])
    for section in sections:
        for one in section["objects"]:
            one["MD5"] = None
    bucket.change(key, json.dumps(sections).encode())
    data = f"{USERS}/nc-3fw2_0tj4_46w3k2cpidnirvjy7k-big-Data.db"
    bucket.change(data, bucket.objects(data)[data][::-1])
    refused = bucket.migrate()
    assert (refused.code, "does not match its Digest.crc32" in refused.err) == (Exit.FAILED, True)


def edited(bucket: Bucket, drop: str) -> None:
    """The manifest of c-0 without a file of an SSTable, as an older Medusa or a torn snapshot leaves it."""
    key = "some-prefix/c-0/b1/meta/manifest.json"
    sections: list[dict[str, Any]] = json.loads(bucket.objects(key)[key])
    for section in sections:
        section["objects"] = [one for one in section["objects"] if not one["path"].endswith(drop)]
    bucket.change(key, json.dumps(sections).encode())


def test_an_sstable_without_an_essential_file_is_refused(bucket: Bucket) -> None:
    edited(bucket, f"{table_id(1)}/nb-1-big-Statistics.db")
    refused = bucket.migrate()
    assert (refused.code, "has no Statistics.db in the Medusa backup of c-0" in refused.err) == (Exit.FAILED, True)


def test_without_a_digest_the_data_is_read(bucket: Bucket) -> None:
    edited(bucket, f"{table_id(1)}/nb-1-big-Digest.crc32")
    assert bucket.migrate().code == Exit.DONE
    assert ("get", f"{USERS}/nb-1-big-Data.db") in bucket.store.keys


def test_what_was_still_being_written_is_left_out(bucket: Bucket) -> None:
    edited(bucket, f"{table_id(1)}/nb-1-big-TOC.txt")
    edited(bucket, f"{table_id(1)}/nb-1-big-Statistics.db")
    assert bucket.migrate().code == Exit.DONE
    shown = agent("show", "b1", "--target", TARGET, "--json", open_store=bucket.buckets.opened).json
    assert shown["nodes"][0]["totals"]["droppedSstables"] == 1


def test_a_copy_that_came_out_short(bucket: Bucket) -> None:
    """What was copied is what the manifest says, or is told at once: a listing of ours would call it another object."""

    async def short(source: str, target: str) -> Any:
        data = await read_all(bucket.memory, source, 64 << 20)
        return await bucket.memory.put(target, BytesBody(data[:-1]))

    bucket.memory.copy = short  # type: ignore[method-assign]
    refused = bucket.migrate()
    assert (refused.code, "it was written over meanwhile" in refused.err) == (Exit.FAILED, True), refused.err


def test_what_vanishes_after_it_was_written_is_no_backup(bucket: Bucket) -> None:
    put = bucket.memory.put

    async def vanishing(key: str, body: Any, **more: Any) -> Any:
        meta = await put(key, body, **more)
        if "/data/" in key and "/b~" in key:
            await bucket.memory.delete([key])
        return meta

    bucket.memory.put = vanishing  # type: ignore[method-assign]
    refused = bucket.migrate()
    assert (refused.code, "is something deleting them" in refused.err) == (Exit.FAILED, True)
    assert not [key for key in bucket.objects("ours/") if "/manifests/" in key or "_backups" in key]


def test_what_medusa_writes_over_meanwhile_is_no_backup(bucket: Bucket) -> None:
    """A later differential backup of Medusa's takes the name of an object that was copied just now."""
    copy = bucket.memory.copy

    async def late(source: str, target: str) -> Any:
        meta = await copy(source, target)
        await bucket.memory.delete([source])
        return meta

    bucket.memory.copy = late  # type: ignore[method-assign]
    refused = bucket.migrate()
    assert (refused.code, "is not there" in refused.err) == (Exit.FAILED, True)
    assert not [key for key in bucket.objects("ours/") if "/manifests/" in key or "_backups" in key]


def test_what_the_store_refuses(bucket: Bucket) -> None:
    bucket.store.fail("copy", Fault(store_error(Kind.FORBIDDEN), times=100))
    refused = bucket.migrate()
    assert (refused.code, "as the test told" in refused.err) == (Exit.FAILED, True)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--datacenter", "dc1"), "leave --datacenter out"),
        (("--tag", "a b"), "the tag 'a b' must be"),
    ],
)
def test_wrong_options(bucket: Bucket, more: tuple[str, ...], says: str) -> None:
    refused = bucket.migrate("b1", *more)
    assert (refused.code, says in refused.err) == (Exit.USAGE, True)
    nameless = agent(
        "migrate",
        "b1",
        "--from",
        FROM,
        "--target",
        TARGET,
        "--state-dir",
        bucket.root,
        open_store=bucket.buckets.opened,
    )
    assert (nameless.code, "give --cluster" in nameless.err) == (Exit.USAGE, True)


def test_where_it_lies(bucket: Bucket) -> None:
    bucket.migrate()
    data = [key for key in bucket.objects("ours/") if "/data/" in key]
    assert {"/".join(key.split("/")[:5]) for key in data} == {
        f"ours/shop/dc1/c-0/{HOST_ID}", f"ours/shop/dc1/c-1/{HOST_ID}"
    }  # fmt: skip


def _only(store: ObjectStore) -> Buckets:
    buckets = Buckets()
    buckets.stores["s3://bucket"] = store
    return buckets
