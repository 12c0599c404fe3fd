"""Who owns a tag, and the cluster record, which makes a backup one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from agent import catalog, records
from agent.protocol import CommitSpec, Kind, NodeDigest, State
from backends.helpers import read_all
from tests.unit.agent.backups import PATH, manifest_of
from tests.unit.agent.conftest import LOCATION, digest_of

if TYPE_CHECKING:
    from tests.unit.agent.conftest import World


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
