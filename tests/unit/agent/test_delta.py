"""Delta bundles: of an SSTable that changed a little, only what changed is sent, and every byte comes back."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import zstandard

from agent import catalog
from agent.catalog import Component, SSTable
from agent.layout import CHAIN
from agent.protocol import Kind, State
from backends.base import BytesBody
from backends.errors import Kind as StoreKind
from tests.fakes.faulty_store import Fault, FaultyStore
from tests.fakes.faulty_store import error as store_error
from tests.fakes.sstables import live_files
from tests.unit.agent.backups import PATH, content, expected, manifest_of
from tests.unit.agent.conftest import digest_of
from tests.unit.agent.test_bundle import expected as expected_restored
from tests.unit.agent.test_bundle import restored
from tests.unit.agent.test_plan import PREFIX, plan

if TYPE_CHECKING:
    from pathlib import Path

    from agent.catalog import Manifest
    from agent.plan import Plan
    from tests.unit.agent.conftest import World

REWRITTEN = ("Statistics.db", "Summary.db", "Filter.db", "Index.db", "TOC.txt", "CompressionInfo.db")
TABLE = PREFIX.removesuffix("nb-1-big/")


def rewrite(world: World, component: str = "Statistics.db", data: bytes | None = None) -> Path:
    """As Cassandra does: another file under the old name."""
    path = world.data.data_dirs[0] / world.data.tables[0] / f"nb-1-big-{component}"
    replacement = path.with_name("tmp")
    replacement.write_bytes(os.urandom(60) if data is None else data)
    replacement.replace(path)
    return path


async def back_up(world: World, number: int, **more: Any) -> Manifest:
    async with world.agent() as agent:
        spec = {"epoch": f"e{number}", "backup_id": f"uid-{number}"} | more
        manifest = await manifest_of(world, await world.back_up(agent, f"t{number}", **spec), f"t{number}")
    assert await content(world.memory, manifest) == expected(world)
    return manifest


def new_objects(manifest: Manifest, number: int) -> list[tuple[str, int]]:
    """(SSTable, size) of what was sent."""
    keys = [stored for stored in manifest.objects if stored.key.endswith(f"-e{number}")]
    return [(stored.key.split("/")[-2], stored.size) for stored in keys]


async def test_a_changed_component_is_all_that_is_sent(world: World) -> None:
    await back_up(world, 1)
    rewrite(world)
    second = await back_up(world, 2)
    assert new_objects(second, 2) == [("nb-1-big", 60)]
    assert second.totals.new_bytes == 60
    assert second.totals.bytes == sum(len(data) for data in expected(world).values())
    third = await back_up(world, 3)
    assert new_objects(third, 3) == []
    assert third.totals.new_bytes == 0


async def test_a_component_that_came_later_is_all_that_is_sent(world: World) -> None:
    """As an index that was made: its files, and the TOC that names them."""
    await back_up(world, 1)
    rewrite(world, "SAI+aa+new+TermsData.db", b"terms")
    toc = rewrite(world, "TOC.txt", b"Data.db\nIndex.db\nStatistics.db\nSAI+aa+new+TermsData.db\n")
    second = await back_up(world, 2)
    assert new_objects(second, 2) == [("nb-1-big", 5 + toc.stat().st_size)]


async def test_one_that_went_leaves_the_rest_where_it_is(world: World) -> None:
    await back_up(world, 1)
    world.data.data_dirs[0].joinpath(world.data.tables[0], "nb-1-big-Summary.db").unlink()
    second = await back_up(world, 2)
    assert new_objects(second, 2) == []


async def test_a_chain_is_restored_byte_for_byte_and_has_an_end(world: World) -> None:
    await back_up(world, 1)
    chains = []
    for number in range(2, 8):
        rewrite(world, REWRITTEN[number - 2], b"Data.db\nIndex.db\nStatistics.db\n" if number == 6 else None)
        async with world.agent() as agent:
            operation = await world.back_up(agent, f"t{number}", epoch=f"e{number}", backup_id=f"uid-{number}")
        manifest = await manifest_of(world, operation, f"t{number}")
        assert await content(world.memory, manifest) == expected(world)
        (table,) = [table for table in manifest.tables if table.name == "users" and not table.index]
        (sstable,) = [one for one in table.sstables if one.name == "nb-1-big"]
        chains.append(len({component.object for component in sstable.components if component.size}))
        target = world.root / f"target{number}"
        done = await restored(world.memory, digest_of(operation).digest, target, f"t{number}")
        assert done.state is State.SUCCEEDED, done.error
        assert live_files(target / "data") == expected_restored(world)
    assert chains == [2, 3, 4, 1, 2, 3]
    assert max(chains) == CHAIN


async def test_a_retry_sends_the_same_delta_once(world: World) -> None:
    """The process died after the delta was sent and before the manifest."""
    await back_up(world, 1)
    rewrite(world)
    world.store = store = FaultyStore(world.memory)
    store.fail("put", Fault(store_error(StoreKind.UNAVAILABLE), key=PATH.manifest("t2"), times=1))
    async with world.agent() as agent:
        operation = await world.back_up(agent, "t2", epoch="e2", backup_id="uid-2")
        assert operation.error is not None
    before = await world.keys(PATH.root)
    world.store = world.memory
    async with world.agent() as agent:
        spec = world.backup_spec(tag="t2", epoch="e2", backup_id="uid-2")
        second = await manifest_of(world, await world.do(agent, "again", Kind.BACKUP, spec), "t2")
    assert await content(world.memory, second) == expected(world)
    assert new_objects(second, 2) == [("nb-1-big", 60)]
    assert [key for key in await world.keys(PATH.root) if "/data/" in key] == [key for key in before if "/data/" in key]


@pytest.mark.parametrize("how", ["deleted", "unreadable", "forbidden", "truncated", "from before lines"])
async def test_without_a_manifest_the_whole_bundle_is_sent(world: World, how: str) -> None:
    first = await back_up(world, 1)
    rewrite(world)
    key = PATH.manifest("t1")
    data = catalog.encode(first)
    world.store = store = FaultyStore(world.memory)
    match how:
        case "deleted":
            await world.memory.delete([key])
        case "unreadable":
            await world.memory.put(key, BytesBody(b"garbage"))
        case "forbidden":
            store.fail("get", Fault(store_error(StoreKind.FORBIDDEN), key=key))
        case "truncated":
            await world.memory.put(key, BytesBody(data[: len(data) // 2]))
        case _:
            await world.memory.put(key, BytesBody(zstandard.compress(msgspec.json.encode(first))))
    second = await back_up(world, 2)
    ((name, size),) = new_objects(second, 2)
    assert name == "nb-1-big"
    assert (size == 60) == (how == "from before lines")


async def test_an_older_manifest_tells_where_the_newest_cannot(world: World) -> None:
    await back_up(world, 1)
    rewrite(world)
    await back_up(world, 2)
    rewrite(world, "Summary.db")
    await world.memory.put(PATH.manifest("t2"), BytesBody(b"garbage"))
    third = await back_up(world, 3)
    assert new_objects(third, 3) == [("nb-1-big", 120)]  # t1 knows nothing of the second delta


async def test_bundles_that_somebody_deleted_are_not_relied_upon(world: World) -> None:
    first = await back_up(world, 1)
    rewrite(world)
    (gone,) = [stored.key for stored in first.objects if "/users-" in stored.key and "/nb-1-big/b~" in stored.key
               and ".by_name" not in stored.key]  # fmt: skip
    await world.memory.delete([PATH.root + gone])
    second = await back_up(world, 2)
    assert new_objects(second, 2)[0][1] > 60


async def test_an_old_bundle_that_goes_before_the_commit_makes_the_new_one_whole(world: World) -> None:
    """And the large component beside it, which went too, is sent again."""
    rewrite(world, "Index.db", os.urandom((1 << 20) + 1))
    first = await back_up(world, 1)
    rewrite(world)
    gone = [PATH.root + stored.key for stored in first.objects
            if "/users-" in stored.key and "/nb-1-big/" in stored.key and ".by_name" not in stored.key]  # fmt: skip
    assert len(gone) == 2

    class Sweeping(FaultyStore):
        async def put(self, key: str, body: Any, *, if_absent: bool = False) -> Any:
            meta = await super().put(key, body, if_absent=if_absent)
            if key.endswith("-e2"):
                await world.memory.delete(gone)
            return meta

    world.store = Sweeping(world.memory)
    second = await back_up(world, 2)
    assert not {stored.key for stored in second.objects} & {key.removeprefix(PATH.root) for key in gone}


async def test_a_full_backup_has_no_deltas(world: World) -> None:
    await back_up(world, 1)
    rewrite(world)
    second = await back_up(world, 2, full=True)
    assert second.totals.reused_bytes == 0


async def test_nothing_is_asked_where_nothing_changed(world: World) -> None:
    await back_up(world, 1)
    world.store = store = FaultyStore(world.memory)
    await back_up(world, 2)
    assert store.calls["get"] == 1  # for a manifest of its own
    assert store.calls["list"] == 5  # the collector's lists twice, the data twice, the pending records at the end


def changed(olds: dict[str, str], *components: Component, keys: dict[int, str]) -> Plan:
    """A plan of A (10 bytes) and B (20), which was told of these bundles and of an older manifest's words."""
    found, _ = plan(A=10, B=20)
    for name, epoch in olds.items():
        found.see(f"{PREFIX}{name}-{epoch}", catalog.size_in(f"x/{name}"))
    found.learn(TABLE, SSTable("nb-1-big", list(components)), keys)
    return found


OLD = f"b~30-{'0a' * 16}"


def test_an_old_bundle_is_reused_where_it_is_listed() -> None:
    keys = {0: f"{PREFIX}{OLD}-e1"}
    found = changed({OLD: "e3"}, Component("A", 10, 7, 0, 0), Component("B", 20, 8, 0, 10), keys=keys)
    send, reuse = found.settle()
    assert [(one.size, one.count) for one in send] == [(20, 1)]
    assert [(one.key, one.size) for one in reuse] == [(f"{PREFIX}{OLD}-e3", 10)]


@pytest.mark.parametrize(
    ("components", "key"),
    [
        ([Component("A", 10, 7, 0, 0), Component("B", 20, 7, 0, 5)], OLD),  # over each other
        ([Component("A", 10, 7, 0, 0), Component("B", 20, 7, 0, 11)], OLD),  # past the end
        ([Component("A", 10, 7, 0, -1), Component("B", 20, 7, 0, 10)], OLD),
        ([Component("A", 10, 8, 0, 0)], OLD),  # other bytes
        ([Component("A", 10, 7, 1, 0)], OLD),  # no such object
        ([Component("A", 10, 7, 0, 0)], f"b~31-{'0a' * 16}"),  # one that is not listed
        ([Component("A", 10, 7, 0, 0)], "../../x"),
        ([Component("A", 10, 7, 0, 0)], f"../nb-2-big/{OLD}"),
    ],
)
def test_a_manifest_that_cannot_be_right_is_not_believed(components: list[Component], key: str) -> None:
    found = changed({OLD: "e1"}, *components, keys={0: f"{PREFIX}{key}-e1"})
    send, reuse = found.settle()
    assert [(one.size, one.key.startswith(f"{PREFIX}b~30-")) for one in send] == [(30, True)]
    assert not reuse


def test_the_newest_epoch_of_an_old_bundle_is_used_but_ours_is_better() -> None:
    for epochs, chosen in [(["e1", "e3", "e2"], "e3"), (["e9", "e5"], "e5")]:
        found, _ = plan(A=10, B=20)
        for epoch in epochs:
            found.see(f"{PREFIX}{OLD}-{epoch}", 30)
        found.learn(TABLE, SSTable("nb-1-big", [Component("A", 10, 7, 0, 0)]), {0: f"{PREFIX}{OLD}-e1"})
        assert [one.epoch for one in found.settle()[1]] == [chosen]


def test_an_old_bundle_of_another_size_is_none() -> None:
    found, _ = plan(A=10, B=20)
    found.see(f"{PREFIX}{OLD}-e1", 29)
    assert not found.lacking()
