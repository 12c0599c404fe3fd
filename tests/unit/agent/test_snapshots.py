from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from agent.errors import AgentError
from agent.files import remove_tree, write_atomic
from agent.protocol import Kind, State
from agent.snapshots import Taken
from backends.errors import Kind as StoreKind
from tests.fakes.faulty_store import FaultyStore
from tests.fakes.faulty_store import error as store_error
from tests.unit.agent.conftest import request

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.agent.conftest import World


def taken(world: World) -> int:
    return sum(1 for name, _ in world.cassandra.executed if name == "takeSnapshot")


async def test_one_operation_takes_it_once(world: World) -> None:
    async with world.agent() as agent:
        first = await agent.snapshots.take("s1", "t")
    async with world.agent() as agent:
        assert await agent.snapshots.take("s1", "t") == first
    assert taken(world) == 1
    assert first.facts.tokens


async def test_another_operation_takes_it_anew(world: World) -> None:
    async with world.agent() as agent:
        await agent.snapshots.take("s1", "t")
        await agent.snapshots.take("s2", "t")
    assert taken(world) == 2


async def test_a_snapshot_that_is_not_whole_is_taken_again(world: World) -> None:
    def damage(name: str) -> None:
        world.data.snapshots(name)[0].joinpath("manifest.json").unlink()

    world.cassandra.after_snapshot = [damage]
    async with world.agent() as agent:
        operation = await world.do(agent, "s", Kind.SNAPSHOT, {"tag": "t"})
        assert operation.state is State.SUCCEEDED
        assert taken(world) == 2
        await agent.snapshots.scan("t")


async def test_one_that_never_gets_whole_fails_and_is_cleared(world: World) -> None:
    def damage(name: str) -> None:
        world.data.snapshots(name)[0].joinpath("manifest.json").unlink()

    world.cassandra.after_snapshot = [damage] * 9
    async with world.agent() as agent:
        operation = await world.do(agent, "s", Kind.SNAPSHOT, {"tag": "t"})
    assert operation.error is not None
    assert operation.error.reason == "SnapshotFailed"
    assert world.data.snapshots("co-t") == []


async def test_one_that_the_agent_does_not_understand_is_not_taken_again(world: World) -> None:
    def older(name: str) -> None:
        manifest = world.data.snapshots(name)[0] / "manifest.json"
        manifest.write_text('{"files":["app-users-ka-1-Data.db"]}')

    world.cassandra.after_snapshot = [older] * 9
    async with world.agent() as agent:
        operation = await world.do(agent, "s", Kind.SNAPSHOT, {"tag": "t"})
    assert operation.error is not None
    assert (operation.error.reason, operation.error.retryable) == ("SnapshotFailed", False)
    assert "nodetool upgradesstables" in operation.error.message
    assert taken(world) == 1
    assert world.data.snapshots("co-t") == []


async def test_a_node_without_tokens_has_nothing_to_back_up_yet(world: World) -> None:
    world.cassandra.attributes |= {"Tokens": [], "OperationMode": "JOINING"}
    async with world.agent() as agent:
        operation = await world.do(agent, "s", Kind.SNAPSHOT, {"tag": "t"})
    assert operation.error is not None
    assert operation.error.reason == "CassandraUnavailable"
    assert "JOINING" in operation.error.message
    assert world.data.snapshots("co-t") == []


async def test_clearing_does_without_cassandra_and_without_a_snapshot(world: World) -> None:
    async with world.agent() as agent:
        await agent.snapshots.take("s", "t")
        world.data.snapshot("users")
        world.cassandra.down = True
        await agent.snapshots.clear("t")
        await agent.snapshots.clear("t")
        assert await agent.snapshots.taken("t") is None
    assert world.data.snapshots("co-t") == []
    assert world.data.snapshots("users")


async def test_the_operation_clears_and_is_content_with_nothing(world: World) -> None:
    async with world.agent() as agent:
        await world.do(agent, "s", Kind.SNAPSHOT, {"tag": "t"})
        assert (await world.do(agent, "x", Kind.CLEAR_SNAPSHOTS, {"tag": "t"})).state is State.SUCCEEDED
        assert (await world.do(agent, "y", Kind.CLEAR_SNAPSHOTS, {"tag": "never"})).state is State.SUCCEEDED
    assert world.data.snapshots("co-t") == []


async def test_the_janitor_clears_what_nobody_waits_for(world: World) -> None:
    world.data.snapshot("co-crashed")
    world.data.snapshot("co-busy")
    world.data.snapshot("users")
    async with world.agent() as agent:
        await agent.snapshots.take("s", "fresh")
        old = await agent.snapshots.take("s", "old")
        file: Path = world.settings.state_dir / "snapshots" / "old.json"
        write_atomic(file, msgspec.json.encode(msgspec.structs.replace(old, at="2020-01-01T00:00:00Z")))
        assert await agent.snapshots.sweep(["busy"]) == ["crashed", "old"]
    assert {path.name for path in world.data.snapshots("*")} == {"co-busy", "co-fresh", "users"}
    assert msgspec.json.decode((file.parent / "fresh.json").read_bytes(), type=Taken).operation == "s"


async def test_the_janitor_does_without_cassandra(world: World) -> None:
    world.data.snapshot("co-crashed")
    async with world.agent() as agent:
        old = await agent.snapshots.take("s", "old")
        file: Path = world.settings.state_dir / "snapshots" / "old.json"
        write_atomic(file, msgspec.json.encode(msgspec.structs.replace(old, at="2020-01-01T00:00:00Z")))
        world.cassandra.down = True
        assert await agent.snapshots.sweep([]) == ["crashed", "old"]
    assert world.data.snapshots("*") == []
    assert list(file.parent.iterdir()) == []


async def test_what_is_said_of_a_snapshot_goes_with_it_and_not_before(world: World) -> None:
    """Somebody cleared both by hand; one is so young that it may just be in the making."""
    async with world.agent() as agent:
        old = await agent.snapshots.take("s", "old")
        await agent.snapshots.take("s", "young")
        file: Path = world.settings.state_dir / "snapshots" / "old.json"
        write_atomic(file, msgspec.json.encode(msgspec.structs.replace(old, at="2020-01-01T00:00:00Z")))
        for path in world.data.snapshots("*"):
            remove_tree(path)
        assert await agent.snapshots.sweep([]) == []
        assert [path.name for path in file.parent.iterdir()] == ["young.json"]


@pytest.mark.parametrize("end", ["Succeeded", "Failed", "Cancelled"])
async def test_every_end_of_a_backup_clears_its_snapshot_though_cassandra_is_away(world: World, end: str) -> None:
    class Slow(FaultyStore):
        async def put(self, key: str, body: Any, *, if_absent: bool = False) -> Any:
            if end == "Cancelled" and "/data/" in key:
                await agent.operations.cancel("b")
            return await super().put(key, body, if_absent=if_absent)

    world.store = store = Slow(world.memory)
    async with world.agent() as agent:
        await world.do(agent, "s", Kind.SNAPSHOT, {"tag": "t1"})
        world.cassandra.down = True
        if end == "Failed":
            store.fail("list", store_error(StoreKind.FORBIDDEN))
        operation = await world.do(agent, "b", Kind.BACKUP, world.backup_spec())
        assert operation.state == end, operation.error
        assert world.data.snapshots("co-t1") == []
        assert await agent.snapshots.taken("t1") is None


async def test_a_snapshot_that_waits_for_another_try_is_swept_when_nobody_comes(world: World) -> None:
    world.store = store = FaultyStore(world.memory)
    store.fail("list", store_error(StoreKind.UNAVAILABLE))
    async with world.agent() as agent:
        operation = await world.back_up(agent)
        assert operation.state is State.FAILED
        assert await agent.snapshots.sweep([]) == []
        taken = await agent.snapshots.taken("t1")
        assert taken is not None
        file: Path = world.settings.state_dir / "snapshots" / "t1.json"
        write_atomic(file, msgspec.json.encode(msgspec.structs.replace(taken, at="2020-01-01T00:00:00Z")))
        world.cassandra.down = True
        assert await agent.snapshots.sweep([]) == ["t1"]
    assert world.data.snapshots("co-t1") == []


@pytest.mark.parametrize("tag", ["../x", ""])
async def test_odd_tags_never_become_paths(world: World, tag: str) -> None:
    async with world.agent() as agent:
        for kind in (Kind.SNAPSHOT, Kind.CLEAR_SNAPSHOTS):
            with pytest.raises(AgentError):
                await agent.operations.put("s", request(kind, {"tag": tag}))
