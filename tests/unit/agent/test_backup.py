"""A backup: what is in the bucket afterwards, and what is reused."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agent.flow import Flow
from agent.protocol import Kind, State
from backends.base import BytesBody
from tests.fakes.faulty_store import FaultyStore
from tests.fakes.jolokia import HOST_ID
from tests.fakes.sstables import write_sstable
from tests.unit.agent.backups import PATH, SECOND, components, content, expected, manifest_of

if TYPE_CHECKING:
    from tests.unit.agent.conftest import World


def age(world: World) -> None:
    """Every file is old enough to be remembered."""
    for path in world.data.data_dirs[0].rglob("*.*"):
        os.utime(path, (1_700_000_000, 1_700_000_000))


class Reads:
    """Counts the bytes of SSTables that are read, by file name."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bytes: Counter[str] = Counter()
        for name in ("read", "readv", "pread", "preadv"):
            monkeypatch.setattr(os, name, self._counting(getattr(os, name)))

    def _counting(self, real: Any) -> Any:
        def read(descriptor: int, *more: Any) -> Any:
            found = real(descriptor, *more)
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            if "snapshots" in path.parts:
                self.bytes[path.name] += found if isinstance(found, int) else len(found)
            return found

        return read


async def test_every_byte_is_there_and_the_snapshot_is_cleared(world: World) -> None:
    async with world.agent() as agent:
        operation = await world.back_up(agent)
    manifest = await manifest_of(world, operation)
    assert await content(world.memory, manifest) == expected(world)
    assert world.data.snapshots("co-t1") == []
    assert manifest.host_id == HOST_ID
    assert manifest.tokens == world.cassandra.attributes["Tokens"]
    assert manifest.cassandra_version == "5.0.6"
    assert {table.name for table in manifest.tables} >= {"users", "empty", "tables"}  # tables without rows count too
    assert operation.progress.files == operation.progress.files_done == components(world)
    assert (
        operation.progress.bytes == operation.progress.bytes_done == manifest.totals.bytes == manifest.totals.new_bytes
    )
    assert operation.result["files"] == manifest.totals.files == len(expected(world))
    assert not [key for key in await world.keys() if "/pending/" in key]


async def test_small_components_are_one_object_and_large_ones_their_own(world: World) -> None:
    users = world.data.data_dirs[0] / world.data.tables[0]
    write_sstable(users, "nb-9-big", size=(1 << 20) + 1)
    (users / "nb-9-big-Index.db").write_bytes(os.urandom(1 << 20))
    async with world.agent() as agent:
        manifest = await manifest_of(world, await world.back_up(agent))
    assert await content(world.memory, manifest) == expected(world)
    names = Counter(stored.key.rpartition("/")[2].partition("~")[0] for stored in manifest.objects)
    assert names == {"Data.db": 1, "b": sum(name.endswith("-TOC.txt") for name in expected(world))}
    keys = [PATH.root + stored.key for stored in manifest.objects]
    assert await world.keys(f"{PATH.root}{HOST_ID}/data/") == sorted(keys)


async def test_a_second_backup_sends_only_what_is_new(world: World) -> None:
    async with world.agent() as agent:
        await manifest_of(world, await world.back_up(agent))
        before = await world.keys(f"{PATH.root}{HOST_ID}/data/")
        write_sstable(world.data.data_dirs[0] / world.data.tables[0], "nb-9-big", size=700)
        operation = await world.back_up(agent, "t2", **SECOND)
    manifest = await manifest_of(world, operation, "t2")
    assert await content(world.memory, manifest) == expected(world)
    new = set(await world.keys(f"{PATH.root}{HOST_ID}/data/")) - set(before)
    assert new
    assert all("/nb-9-big/" in key and key.endswith("-e2") for key in new)
    assert operation.progress.bytes_reused == manifest.totals.reused_bytes > 0
    assert operation.progress.files == operation.progress.files_done == components(world)
    assert manifest.totals.new_bytes == sum(stored.size for stored in manifest.objects if stored.key.endswith("-e2"))


async def test_what_is_sent_is_read_once_and_what_is_known_not_at_all(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planning reads what is no Data.db, and every second backup reads only which components an SSTable has."""
    write_sstable(world.data.data_dirs[0] / world.data.tables[0], "nb-9-big", size=3 << 20)
    age(world)
    async with world.agent() as agent:
        with monkeypatch.context() as patched:
            reads = Reads(patched)
            await manifest_of(world, await world.back_up(agent))
        assert reads.bytes["nb-9-big-Data.db"] == 3 << 20
        assert reads.bytes["nb-9-big-Index.db"] == 2 * 60
        with monkeypatch.context() as patched:
            reads = Reads(patched)
            await manifest_of(world, await world.back_up(agent, "t2", **SECOND), "t2")
    assert reads.bytes
    assert all(name.endswith("-TOC.txt") or name in {"manifest.json", "schema.cql"} for name in reads.bytes)


async def test_the_flow_is_told_what_is_to_be_sent_and_by_when(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    real = Flow.of

    def of(*values: int, **more: int) -> Flow:
        asked.append((values, more))
        return real(*values, **more)

    monkeypatch.setattr("agent.backup.Flow.of", of)
    async with world.agent() as agent:
        await manifest_of(world, await world.back_up(agent))
        more = {"concurrent_transfers": 3, "bandwidth": 1 << 30, "finish_within": 60, **SECOND}
        write_sstable(world.data.data_dirs[0] / world.data.tables[0], "nb-9-big", size=700)
        second = await manifest_of(world, await world.back_up(agent, "t2", **more), "t2")
    assert asked[1] == ((3, 1 << 30), {"finish_within": 60, "total": second.totals.new_bytes})


async def test_a_cache_that_lies_fails_the_backup_and_the_next_try_reads(world: World) -> None:
    """Its checksums are of other bytes: what is sent is checked against them, so nothing wrong is ever an object."""
    age(world)
    async with world.agent() as agent:
        await world.do(agent, "s", Kind.SNAPSHOT, {"tag": "t1"})
        snapshot = await agent.snapshots.scan("t1")
        liar = agent.snapshots.checksums.load()
        for file in snapshot.files():
            liar.add(file, 7)
        agent.snapshots.checksums.keep(liar)
        operation = await world.do(agent, "b", Kind.BACKUP, world.backup_spec())
        assert operation.error is not None
        assert (operation.error.reason, operation.error.retryable) == ("SnapshotGone", True)
        assert not [key for key in await world.keys() if "/data/" in key]
        manifest = await manifest_of(world, await world.do(agent, "again", Kind.BACKUP, world.backup_spec()))
    assert await content(world.memory, manifest) == expected(world)


async def test_a_rewritten_statistics_of_the_same_size_is_another_object(world: World) -> None:
    """Medusa's and Esop's defect: name and size do not make an identity."""
    age(world)
    async with world.agent() as agent:
        first = await manifest_of(world, await world.back_up(agent))
        old = await content(world.memory, first)
        statistics = world.data.data_dirs[0] / world.data.tables[0] / "nb-1-big-Statistics.db"
        replacement = statistics.with_name("tmp")
        replacement.write_bytes(bytes(reversed(statistics.read_bytes())))
        os.utime(replacement, (1_700_000_000, 1_700_000_000))
        replacement.replace(statistics)
        second = await manifest_of(world, await world.back_up(agent, "t2", **SECOND), "t2")
    assert await content(world.memory, second) == expected(world)
    assert await content(world.memory, first) == old
    new = [stored for stored in second.objects if stored.key.endswith("-e2")]
    assert [("nb-1-big/b~" in stored.key, stored.size) for stored in new] == [(True, second.totals.new_bytes)]


async def test_full_sends_everything_again_under_other_keys(world: World) -> None:
    async with world.agent() as agent:
        first = await manifest_of(world, await world.back_up(agent))
        second = await manifest_of(world, await world.back_up(agent, "t2", full=True, **SECOND), "t2")
    assert second.totals.reused_bytes == 0
    assert not {stored.key for stored in first.objects} & {stored.key for stored in second.objects}


async def test_an_object_of_the_wrong_size_is_not_reused(world: World) -> None:
    async with world.agent() as agent:
        first = await manifest_of(world, await world.back_up(agent))
        victim = first.objects[0]
        await world.memory.put(PATH.root + victim.key, BytesBody(b"cut"))
        second = await manifest_of(world, await world.back_up(agent, "t2", **SECOND), "t2")
    assert await content(world.memory, second) == expected(world)


@pytest.mark.parametrize("kind", ["Data.db~", "/b~"])
async def test_what_a_faulty_sweep_took_is_sent_again_before_the_commit(world: World, kind: str) -> None:
    class Forgetful(FaultyStore):
        taken = 0

        async def put(self, key: str, body: Any, *, if_absent: bool = False) -> Any:
            meta = await super().put(key, body, if_absent=if_absent)
            if kind in key and self.taken < 2:
                self.taken += 1
                await world.memory.delete([key])
            return meta

    write_sstable(world.data.data_dirs[0] / world.data.tables[0], "nb-9-big", size=2 << 20)
    store = world.store = Forgetful(world.memory)
    async with world.agent() as agent:
        manifest = await manifest_of(world, await world.back_up(agent))
    assert store.taken
    assert await content(world.memory, manifest) == expected(world)


@pytest.mark.parametrize("size", [5000, 2 << 20])
async def test_a_data_file_that_does_not_match_its_digest_is_never_an_object(world: World, size: int) -> None:
    directory = world.data.data_dirs[0] / world.data.tables[0]
    write_sstable(directory, "nb-9-big", size=size)
    data = directory / "nb-9-big-Data.db"
    data.write_bytes(b"x" + data.read_bytes()[1:])
    async with world.agent() as agent:
        operation = await world.back_up(agent)
    assert operation.state is State.FAILED
    assert operation.error is not None
    assert (operation.error.reason, operation.error.retryable) == ("Corrupt", False)
    assert "nb-9-big-Data.db" in operation.error.message
    there = [key for key in await world.keys() if "/nb-9-big/" in key or "/manifests/" in key]
    assert not [key for key in there if size == 5000 or "Data.db" in key]
    assert world.data.snapshots("co-t1") == []
