"""A backup of some keyspaces or tables: what is in it, what is not, and what is said where one is not there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from agent import catalog, records, scope
from agent.errors import AgentError
from agent.protocol import CommitSpec, Kind, ProbeSpec, State
from backends.helpers import read_all
from tests.fakes.sstables import live_files
from tests.unit.agent.backups import PATH, content, expected, manifest_of, restore
from tests.unit.agent.conftest import LOCATION, digest_of, request

if TYPE_CHECKING:
    from pathlib import Path

    from agent.protocol import Operation
    from tests.unit.agent.conftest import World

ALWAYS = ["system_auth", "system_schema"]
TABLES = {"app": {"users", "events"}, "bare": set(), "system_auth": {"roles"}, "system_schema": {"tables"}}


async def back_up(world: World, agent: Any, *entities: str, tag: str = "t1", **more: Any) -> Operation:
    snapshot = await world.do(agent, f"s-{tag}", Kind.SNAPSHOT, {"tag": tag, "entities": [*entities]})
    assert snapshot.state is State.SUCCEEDED, snapshot.error
    return await world.do(agent, f"b-{tag}", Kind.BACKUP, world.backup_spec(tag=tag, entities=[*entities], **more))


async def probe(world: World, agent: Any, *entities: str) -> Operation:
    spec = ProbeSpec(
        location=LOCATION, cluster="my cluster", datacenter="dc1", tag="t1", backup_id="u", entities=[*entities]
    )
    return await world.do(agent, f"p-{'-'.join(entities)}", Kind.PROBE, spec)


def of(world: World, *names: str) -> dict[str, bytes]:
    """The files of keyspaces, or of tables."""
    return {
        name: data
        for name, data in expected(world).items()
        if name.partition("/")[0] in names or name.partition("-")[0].replace("/", ".") in names
    }


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ([], []),
        (["app"], ["app", *ALWAYS]),
        (["b", "a", "b"], ["a", "b", *ALWAYS]),
        (["app.users"], ["app.users", *ALWAYS]),
        (["app.users", "app"], ["app", *ALWAYS]),
        (["system_auth.roles"], ALWAYS),
        (["Mixed_1"], ["Mixed_1", *ALWAYS]),
    ],
)
def test_what_is_meant(given: list[str], wanted: list[str]) -> None:
    assert scope.checked(given) == wanted
    assert scope.checked(wanted) == wanted, "twice is once"


@pytest.mark.parametrize("name", ["", "a b", "a.b.c", "../x", "a.", ".a", "a-b", "system", "system.local", "a\n"])
def test_what_nobody_can_mean(name: str) -> None:
    with pytest.raises(AgentError) as caught:
        scope.checked(["app", name])
    assert (caught.value.reason, caught.value.retryable) == ("InvalidSpec", False)


@pytest.mark.parametrize(
    ("entities", "reason", "words"),
    [
        (["app", "bare", *ALWAYS], None, ""),
        (["nope", "app", "nono.t"], "KeyspaceNotFound", "no keyspace nono, nope"),
        (["app.users", "app.gone", "bare.t"], "TableNotFound", "no table app.gone, bare.t"),
        (["app.users", "app", "system_schema", "system_auth"], None, ""),
        ([f"k{n}" for n in range(9)], "KeyspaceNotFound", "k0, k1, k2, k3, k4 and 4 more"),
    ],
)
def test_what_is_not_there_is_named(entities: list[str], reason: str | None, words: str) -> None:
    if reason is None:
        scope.check_there(entities, TABLES)
        return
    with pytest.raises(AgentError, match=words) as caught:
        scope.check_there(entities, TABLES)
    assert (caught.value.reason, caught.value.retryable) == (reason, False)


async def test_a_keyspace_and_what_a_restore_needs_with_it(world: World) -> None:
    world.data.table("other", "big", 9, size=50_000)
    async with world.agent() as agent:
        operation = await back_up(world, agent, "app")
        manifest = await manifest_of(world, operation)
        assert {table.keyspace for table in manifest.tables} == {"app", *ALWAYS}
        assert manifest.entities == ["app", *ALWAYS]
        assert await content(world.memory, manifest) == of(world, "app", *ALWAYS)
        assert not [key for key in await world.keys() if "/other/" in key]
        assert world.cassandra.executed[0] == ("takeSnapshot", ["co-t1", {}, ["app", *ALWAYS]])


async def test_tables_are_asked_for_beside_keyspaces(world: World) -> None:
    async with world.agent() as agent:
        operation = await back_up(world, agent, "app.users", "app.empty")
        manifest = await manifest_of(world, operation)
    assert [args[2] for name, args in world.cassandra.executed if name == "takeSnapshot"] == [
        ALWAYS, ["app.empty", "app.users"],
    ]  # fmt: skip
    assert await content(world.memory, manifest) == of(world, "app.users", "app.empty", *ALWAYS)
    assert {(t.name, t.index) for t in manifest.tables if t.keyspace == "app"} == {
        ("users", ""), ("users", ".by_name"), ("empty", ""),
    }  # fmt: skip
    assert world.data.snapshots("co-t1") == []


async def test_the_record_says_what_it_is_of(world: World) -> None:
    async with world.agent() as agent:
        sent = digest_of(await back_up(world, agent, "app"))
        spec = CommitSpec(
            location=LOCATION, cluster="my cluster", datacenter="dc1", tag="t1", backup_id="uid-1", nodes=[sent]
        )
        await world.do(agent, "c", Kind.COMMIT, spec)
    record = await records.find_record(world.memory, "my cluster", "t1", "dc1")
    assert record is not None
    assert record.entities == ["app", *ALWAYS]


async def test_a_restore_has_what_was_chosen_and_the_whole_schema(world: World, tmp_path: Path) -> None:
    world.data.table("other", "big", 9)
    async with world.agent() as agent:
        operation = await back_up(world, agent, "app.users")
    target = tmp_path / "restored" / "data"
    target.mkdir(parents=True)
    await restore(world, operation, (target,))
    assert live_files(target) == of(world, "app.users", *ALWAYS)


async def test_all_tables_after_some_send_only_the_others(world: World) -> None:
    async with world.agent() as agent:
        await back_up(world, agent, "app")
        whole = await manifest_of(world, await world.back_up(agent, tag="t2", epoch="e2", backup_id="uid-2"), "t2")
    assert whole.entities == []
    assert whole.totals.reused_bytes == sum(map(len, of(world, "app", *ALWAYS).values()))
    assert await content(world.memory, whole) == expected(world)


async def test_the_collector_can_read_what_such_a_manifest_names(world: World) -> None:
    """It reads the text as it comes, by the names of its fields."""
    async with world.agent() as agent:
        manifest = await manifest_of(world, await back_up(world, agent, "app"))
    named: list[str] = []
    catalog.read_references(await read_all(world.memory, PATH.manifest("t1"), 1 << 20), named.append)
    assert named == [stored.key for stored in manifest.objects]


@pytest.mark.parametrize(
    ("entities", "reason", "name"),
    [(["nope", "app"], "KeyspaceNotFound", "nope"), (["app.nope", "app.users"], "TableNotFound", "app.nope")],
)
async def test_the_probe_finds_out_before_anything_is_touched(
    world: World, entities: list[str], reason: str, name: str
) -> None:
    async with world.agent() as agent:
        operation = await probe(world, agent, *entities)
        assert operation.error is not None
        assert (operation.error.reason, operation.error.retryable) == (reason, False)
        assert operation.error.message.endswith(name)
        assert world.opened == 0
        assert world.cassandra.executed == []
        assert (await probe(world, agent, "app", "app.users")).state is State.SUCCEEDED


async def test_a_keyspace_without_a_table_is_there(world: World) -> None:
    world.cassandra.keyspaces = ["bare"]
    async with world.agent() as agent:
        assert (await probe(world, agent, "bare")).state is State.SUCCEEDED
        manifest = await manifest_of(world, await back_up(world, agent, "bare"))
    assert {table.keyspace for table in manifest.tables} == {*ALWAYS}


async def test_cassandra_is_not_asked_for_tables_where_all_are_meant(world: World) -> None:
    world.cassandra.down = True
    async with world.agent() as agent:
        assert (await probe(world, agent)).state is State.SUCCEEDED
        operation = await probe(world, agent, "app")
    assert operation.error is not None
    assert (operation.error.reason, operation.error.retryable) == ("CassandraUnavailable", True)


async def test_a_table_that_is_dropped_after_the_probe(world: World) -> None:
    async with world.agent() as agent:
        operation = await world.do(agent, "s", Kind.SNAPSHOT, {"tag": "t", "entities": ["app.dropped"]})
    assert operation.error is not None
    assert (operation.error.reason, operation.error.retryable) == ("TableNotFound", False)
    assert world.data.snapshots("co-t") == []


async def test_a_snapshot_of_more_than_was_asked_for_is_none(world: World) -> None:
    world.cassandra.deaf = True
    async with world.agent() as agent:
        operation = await world.do(agent, "s", Kind.SNAPSHOT, {"tag": "t", "entities": ["app"]})
    assert operation.error is not None
    assert operation.error.reason == "SnapshotFailed"
    assert "system_distributed.history, which nobody asked for" in operation.error.message
    assert world.data.snapshots("co-t") == []


async def test_a_snapshot_of_less_than_was_asked_for_is_none(world: World) -> None:
    def lose(name: str) -> None:
        for path in world.data.snapshots(name):
            if "events" in str(path):
                for file in path.iterdir():
                    file.unlink()
                path.rmdir()

    world.cassandra.after_snapshot = [lose] * 9
    async with world.agent() as agent:
        operation = await world.do(agent, "s", Kind.SNAPSHOT, {"tag": "t", "entities": ["app"]})
    assert operation.error is not None
    assert "does not hold app.events" in operation.error.message
    assert world.data.snapshots("co-t") == []


async def test_a_backup_of_other_tables_than_its_snapshot(world: World) -> None:
    async with world.agent() as agent:
        await world.do(agent, "s", Kind.SNAPSHOT, {"tag": "t1", "entities": ["app.users"]})
        operation = await world.do(agent, "b", Kind.BACKUP, world.backup_spec(entities=["app"]))
    assert operation.error is not None
    assert operation.error.reason == "SnapshotFailed"
    assert not [key for key in await world.keys() if "/data/" in key]


@pytest.mark.parametrize("kind", [Kind.SNAPSHOT, Kind.BACKUP, Kind.PROBE])
async def test_odd_names_are_refused_at_the_door(world: World, kind: Kind) -> None:
    spec: Any = {"tag": "t1", "entities": ["../x"]}
    if kind is Kind.BACKUP:
        spec = world.backup_spec(entities=["../x"])
    if kind is Kind.PROBE:
        spec = ProbeSpec(location=LOCATION, cluster="c", datacenter="d", tag="t", backup_id="u", entities=["../x"])
    async with world.agent() as agent:
        with pytest.raises(AgentError, match="neither a keyspace nor a table"):
            await agent.operations.put("x", request(kind, spec))
