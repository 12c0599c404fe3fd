"""A backup: what is in the bucket afterwards, what is reused, what fails and how."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from agent import catalog, records
from agent.catalog import NodePath
from agent.protocol import CommitSpec, Kind, NodeDigest, State
from agent.sstables import SKIPPED
from backends.base import BytesBody
from backends.errors import Kind as StoreKind
from backends.errors import StoreError
from backends.helpers import read_all
from tests.fakes.faulty_store import Fault, FaultyStore
from tests.fakes.faulty_store import error as store_error
from tests.fakes.jolokia import HOST_ID
from tests.fakes.sstables import live_files, write_sstable
from tests.unit.agent.conftest import LOCATION, World, digest_of, request, until

if TYPE_CHECKING:
    from agent.catalog import Manifest
    from agent.protocol import Operation

PATH = NodePath("my cluster", "dc1", "c-0")


async def manifest_of(world: World, operation: Operation, tag: str = "t1") -> Manifest:
    assert operation.state is State.SUCCEEDED, operation.error
    return await records.read_manifest(world.memory, PATH, tag, digest_of(operation).digest)


async def content(world: World, manifest: Manifest) -> dict[str, bytes]:
    """As a restore would write it."""
    found = {}
    for table in manifest.tables:
        for sstable in table.sstables:
            for component in sstable.components:
                name = f"{table.path.relative}/{catalog.file_name(sstable.name, component.name)}"
                key = manifest.objects[component.object].key if component.size else ""
                found[name] = await read_all(world.memory, PATH.root + key, 1 << 20) if key else b""
    return found


def expected(world: World) -> dict[str, bytes]:
    files = live_files(world.data.data_dirs[0])
    return {name: data for name, data in files.items() if name.partition("/")[0] not in SKIPPED}


async def test_every_byte_is_there_and_the_snapshot_is_cleared(world: World) -> None:
    async with world.agent() as agent:
        operation = await world.back_up(agent)
    manifest = await manifest_of(world, operation)
    assert await content(world, manifest) == expected(world)
    assert world.data.snapshots("co-t1") == []
    assert manifest.host_id == HOST_ID
    assert manifest.tokens == world.cassandra.attributes["Tokens"]
    assert manifest.cassandra_version == "5.0.6"
    assert {table.name for table in manifest.tables} >= {"users", "empty", "tables"}  # tables without rows count too
    assert operation.progress.files == operation.progress.files_done == len(manifest.objects)
    assert (
        operation.progress.bytes == operation.progress.bytes_done == manifest.totals.bytes == manifest.totals.new_bytes
    )
    assert operation.result["files"] == manifest.totals.files
    assert not [key for key in await world.keys() if "/pending/" in key]


async def test_a_second_backup_sends_only_what_is_new(world: World) -> None:
    async with world.agent() as agent:
        await manifest_of(world, await world.back_up(agent))
        before = await world.keys(f"{PATH.root}{HOST_ID}/data/")
        write_sstable(world.data.data_dirs[0] / world.data.tables[0], "nb-9-big", size=700)
        operation = await world.back_up(agent, "t2", epoch="e2", backup_id="uid-2")
    manifest = await manifest_of(world, operation, "t2")
    assert await content(world, manifest) == expected(world)
    new = set(await world.keys(f"{PATH.root}{HOST_ID}/data/")) - set(before)
    assert new
    assert all("/nb-9-big/" in key and key.endswith("-e2") for key in new)
    assert operation.progress.bytes_reused == manifest.totals.reused_bytes > 0
    assert manifest.totals.new_bytes == sum(stored.size for stored in manifest.objects if stored.key.endswith("-e2"))


async def test_a_rewritten_statistics_of_the_same_size_is_another_object(world: World) -> None:
    """Medusa's and Esop's defect: name and size do not make an identity."""
    async with world.agent() as agent:
        first = await manifest_of(world, await world.back_up(agent))
        old = await content(world, first)
        statistics = world.data.data_dirs[0] / world.data.tables[0] / "nb-1-big-Statistics.db"
        replacement = statistics.with_name("tmp")
        replacement.write_bytes(bytes(reversed(statistics.read_bytes())))
        replacement.replace(statistics)
        second = await manifest_of(world, await world.back_up(agent, "t2", epoch="e2", backup_id="uid-2"), "t2")
    assert await content(world, second) == expected(world)
    assert await content(world, first) == old
    assert second.totals.new_bytes == 60


async def test_full_sends_everything_again_under_other_keys(world: World) -> None:
    async with world.agent() as agent:
        first = await manifest_of(world, await world.back_up(agent))
        second = await manifest_of(
            world, await world.back_up(agent, "t2", epoch="e2", backup_id="uid-2", full=True), "t2"
        )
    assert second.totals.reused_bytes == 0
    assert not {stored.key for stored in first.objects} & {stored.key for stored in second.objects}


async def test_an_object_of_the_wrong_size_is_not_reused(world: World) -> None:
    async with world.agent() as agent:
        first = await manifest_of(world, await world.back_up(agent))
        victim = first.objects[0]
        await world.memory.put(PATH.root + victim.key, BytesBody(b"cut"))
        second = await manifest_of(world, await world.back_up(agent, "t2", epoch="e2", backup_id="uid-2"), "t2")
    assert await content(world, second) == expected(world)


async def test_what_a_faulty_sweep_took_is_sent_again_before_the_commit(world: World) -> None:
    class Forgetful(FaultyStore):
        taken = 0

        async def put(self, key: str, body: Any, *, if_absent: bool = False) -> Any:
            meta = await super().put(key, body, if_absent=if_absent)
            if "Data.db" in key and self.taken < 2:
                self.taken += 1
                await world.memory.delete([key])
            return meta

    world.store = Forgetful(world.memory)
    async with world.agent() as agent:
        manifest = await manifest_of(world, await world.back_up(agent))
    assert await content(world, manifest) == expected(world)


async def test_a_data_file_that_does_not_match_its_digest_is_never_an_object(world: World) -> None:
    directory = world.data.data_dirs[0] / world.data.tables[0]
    data = directory / "nb-1-big-Data.db"
    data.write_bytes(b"x" + data.read_bytes()[1:])
    async with world.agent() as agent:
        operation = await world.back_up(agent)
    assert operation.state is State.FAILED
    assert operation.error is not None
    assert (operation.error.reason, operation.error.retryable) == ("Corrupt", False)
    assert "nb-1-big-Data.db" in operation.error.message
    assert not [key for key in await world.keys() if "/nb-1-big/Data.db~5000" in key or "/manifests/" in key]
    assert world.data.snapshots("co-t1") == []


async def test_large_files_go_in_parts_and_a_bad_digest_aborts_them(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.upload.Uploader.__init__.__kwdefaults__", {"single": 1000, "part": 512})
    async with world.agent() as agent:
        manifest = await manifest_of(world, await world.back_up(agent))
        assert await content(world, manifest) == expected(world)
        bad = world.data.data_dirs[0] / world.data.tables[0]
        write_sstable(bad, "nb-5-big", size=4000)
        (bad / "nb-5-big-Digest.crc32").write_bytes(b"12345")
        operation = await world.back_up(agent, "t2", epoch="e2", backup_id="uid-2")
    assert operation.error is not None
    assert operation.error.reason == "Corrupt"
    assert [upload async for upload in world.memory.list_uploads("")] == []


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (StoreKind.FORBIDDEN, "AccessDenied"),
        (StoreKind.NO_BUCKET, "BucketMissing"),
        (StoreKind.UNAUTHENTICATED, "CredentialsRefused"),
        (StoreKind.STORE_FULL, "StorageFull"),
    ],
)
async def test_an_upload_that_fails_for_good_says_why_and_clears_the_snapshot(
    world: World, kind: StoreKind, reason: str
) -> None:
    faulty = FaultyStore(world.memory)
    faulty.fail("put", Fault(store_error(kind), times=-1, skip=0))
    world.store = faulty
    async with world.agent() as agent:
        operation = await world.back_up(agent)
    assert operation.state is State.FAILED
    assert operation.error is not None
    assert operation.error.reason == reason
    assert "as the test told" in operation.error.message
    assert world.data.snapshots("co-t1") == []
    assert not [key for key in await world.keys() if "/manifests/" in key]


async def test_a_failure_that_may_pass_keeps_the_snapshot_for_the_next_try(world: World) -> None:
    faulty = FaultyStore(world.memory)
    faulty.fail("put", Fault(store_error(StoreKind.UNAVAILABLE), times=-1, skip=0))
    world.store = faulty
    async with world.agent() as agent:
        operation = await world.back_up(agent)
        assert operation.error is not None
        assert (operation.error.reason, operation.error.retryable) == ("StorageUnreachable", True)
        assert len(world.data.snapshots("co-t1")) > 0
        world.store = world.memory
        again = await world.do(agent, "b-again", Kind.BACKUP, world.backup_spec())
    assert again.state is State.SUCCEEDED
    assert world.data.snapshots("co-t1") == []


async def test_no_credentials_at_all_have_their_own_reason(world: World) -> None:
    faulty = FaultyStore(world.memory)
    message = "no credentials found: set AWS_ACCESS_KEY_ID"
    faulty.fail("put", Fault(StoreError(StoreKind.UNAUTHENTICATED, "open", "s3://b", "", message)))
    world.store = faulty
    async with world.agent() as agent:
        operation = await world.back_up(agent)
    assert operation.error is not None
    assert operation.error.reason == "CredentialsMissing"


async def test_the_manifest_of_a_backup_that_never_completed_makes_way(world: World) -> None:
    async with world.agent() as agent:
        await world.back_up(agent)
        await world.do(agent, "s-again", Kind.SNAPSHOT, {"tag": "t1"})
        other = await world.do(agent, "b-again", Kind.BACKUP, world.backup_spec(backup_id="uid-2", epoch="e2"))
    assert other.state is State.SUCCEEDED
    found = await records.find_manifest(world.memory, PATH, "t1")
    assert found is not None
    assert found[0].backup_id == "uid-2"


async def test_a_tag_of_another_backup_is_refused_and_its_manifest_stays(world: World) -> None:
    async with world.agent() as agent:
        done = await world.back_up(agent)
        first = await manifest_of(world, done)
        await world.do(agent, "c", Kind.COMMIT, commit([digest_of(done)]))
        await world.do(agent, "s-again", Kind.SNAPSHOT, {"tag": "t1"})
        other = await world.do(agent, "b-again", Kind.BACKUP, world.backup_spec(backup_id="uid-2", epoch="e2"))
    assert other.error is not None
    assert other.error.reason == "SnapshotTagExists"
    found = await records.find_manifest(world.memory, PATH, "t1")
    assert found is not None
    assert found[0].backup_id == first.backup_id


async def test_the_same_backup_again_is_the_same_manifest(world: World) -> None:
    async with world.agent() as agent:
        first = await world.back_up(agent)
        again = await world.do(agent, "b-again", Kind.BACKUP, world.backup_spec())
    assert again.state is State.SUCCEEDED
    assert again.result == first.result


async def test_without_a_snapshot_it_says_so(world: World) -> None:
    async with world.agent() as agent:
        operation = await world.do(agent, "b", Kind.BACKUP, world.backup_spec())
    assert operation.error is not None
    assert (operation.error.reason, operation.error.retryable) == ("SnapshotGone", False)


async def test_a_cancelled_backup_clears_its_snapshot_and_commits_nothing(world: World) -> None:
    held = asyncio.Event()

    class Slow(FaultyStore):
        async def put(self, key: str, body: Any, *, if_absent: bool = False) -> Any:
            if "/data/" in key:
                held.set()
                await asyncio.Event().wait()
            return await super().put(key, body, if_absent=if_absent)

    world.store = Slow(world.memory)
    async with world.agent() as agent:
        await world.do(agent, "s", Kind.SNAPSHOT, {"tag": "t1"})
        await agent.operations.put("b", request(Kind.BACKUP, world.backup_spec()))
        await held.wait()
        operation = await agent.operations.cancel("b")
        assert operation.state is State.CANCELLED
    assert world.data.snapshots("co-t1") == []
    assert await world.keys() == []


class Dying(FaultyStore):
    """The process dies at the ``at``-th request: before it, or (``after``) when it was done and the answer is lost."""

    def __init__(self, world: World, at: int, *, after: bool) -> None:
        super().__init__(world.memory)
        self.left = at
        self.after = after
        self.died = asyncio.Event()

    async def _do(self, verb: str, key: str, call: Any) -> Any:
        self.left -= 1
        if self.left == 0:
            if self.after:
                await call()
            self.died.set()
            await asyncio.Event().wait()
        return await super()._do(verb, key, call)


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True])
async def test_a_process_may_die_at_every_request_of_a_backup(world: World, after: bool) -> None:
    """Its successor ends the backup, once, with every byte."""
    for relative in world.data.tables[:6]:
        shutil.rmtree(world.data.data_dirs[0] / relative)
    del world.data.tables[:6]
    world.data.table("app", "one", 8, size=3000)
    world.data.table("system_schema", "tables", 4, ("nb-7-big",), without=("Filter.db", "Summary.db"))
    step = 0
    while True:
        step += 1
        tag, backup = f"t{step}", {"epoch": f"e{step}", "backup_id": f"uid-{step}", "full": True}
        dying = Dying(world, step, after=after)
        world.store = dying
        async with world.agent() as agent:
            await world.do(agent, f"s-{tag}", Kind.SNAPSHOT, {"tag": tag})
            await agent.operations.put(f"b-{tag}", request(Kind.BACKUP, world.backup_spec(tag=tag, **backup)))
            over = asyncio.create_task(agent.operations.over(f"b-{tag}"))
            died = asyncio.create_task(dying.died.wait())
            await asyncio.wait([over, died], return_when=asyncio.FIRST_COMPLETED)
            over.cancel()
            died.cancel()
            if not dying.died.is_set():
                break
        world.store = world.memory
        async with world.agent() as agent:
            await agent.operations.over(f"b-{tag}")
            operation = agent.operations.get(f"b-{tag}")
            assert operation.attempts == 2
            assert await content(world, await manifest_of(world, operation, tag)) == expected(world)
            assert world.data.snapshots(f"co-{tag}") == []
            assert await agent.snapshots.sweep([]) == []
    assert step > 15, "the backup makes more requests than that"


async def test_a_process_may_die_while_cassandra_takes_the_snapshot(world: World) -> None:
    world.cassandra.hold = asyncio.Event()
    async with world.agent() as agent:
        await agent.operations.put("s", request(Kind.SNAPSHOT, {"tag": "t1"}))
        await until(lambda: world.cassandra.executed)
    world.data.snapshot("co-t1")  # Cassandra goes on without us, and gets half through
    world.data.snapshots("co-t1")[0].joinpath("manifest.json").unlink()
    world.cassandra.hold = None
    async with world.agent() as agent:
        await agent.operations.over("s")
        assert agent.operations.get("s").state is State.SUCCEEDED
        await agent.snapshots.scan("t1")


async def test_a_failure_stays_that_failure_when_the_process_dies_while_it_tidies(world: World) -> None:
    faulty = FaultyStore(world.memory)
    faulty.fail("put", Fault(store_error(StoreKind.FORBIDDEN), times=-1))
    world.store = faulty
    async with world.agent() as agent:
        await world.do(agent, "s-t1", Kind.SNAPSHOT, {"tag": "t1"})
        tidying = asyncio.Event()

        async def stuck(tag: str) -> None:
            tidying.set()
            await asyncio.Event().wait()

        agent.snapshots.clear = stuck  # type: ignore[method-assign]
        await agent.operations.put("b", request(Kind.BACKUP, world.backup_spec()))
        await tidying.wait()
    world.store = world.memory
    async with world.agent() as agent:
        await agent.operations.over("b")
        operation = agent.operations.get("b")
    assert operation.error is not None
    assert operation.error.reason == "AccessDenied"
    assert world.data.snapshots("co-t1") == []


def commit(nodes: list[NodeDigest], **more: Any) -> CommitSpec:
    values: dict[str, Any] = {
        "location": LOCATION,
        "cluster": "my cluster",
        "datacenter": "dc1",
        "tag": "t1",
        "backup_id": "uid-1",
    }
    return CommitSpec(nodes=nodes, **(values | more))


async def test_commit_writes_the_record_and_the_schema_once(world: World) -> None:
    async with world.agent() as agent:
        node = digest_of(await world.back_up(agent))
        first = await world.do(agent, "c1", Kind.COMMIT, commit([node]))
        again = await world.do(agent, "c2", Kind.COMMIT, commit([node]))
        other = await world.do(agent, "c3", Kind.COMMIT, commit([node], backup_id="uid-2"))
    assert first.state is again.state is State.SUCCEEDED
    assert first.result == again.result
    record = await records.find_record(world.memory, "my cluster", "t1", "dc1")
    assert record is not None
    assert [found.digest for found in record.nodes] == [node.digest]
    assert record.cassandra_version == "5.0.6"
    schema = await read_all(world.memory, catalog.schema_key("my cluster", "t1", "dc1"), 1 << 20)
    assert b"CREATE TABLE app.users" in schema
    assert other.error is not None
    assert other.error.reason == "SnapshotTagExists"


@pytest.mark.parametrize("wrong", ["digest", "node"])
async def test_commit_refuses_what_is_not_there(world: World, wrong: str) -> None:
    async with world.agent() as agent:
        node = digest_of(await world.back_up(agent))
        false = msgspec.structs.replace(node, **({"digest": "0" * 64} if wrong == "digest" else {"node": "c-1"}))
        operation = await world.do(agent, "c", Kind.COMMIT, commit([node, false] if wrong == "node" else [false]))
    assert operation.error is not None
    assert operation.error.reason == ("ManifestChanged" if wrong == "digest" else "ManifestMissing")
    assert await records.find_record(world.memory, "my cluster", "t1", "dc1") is None
