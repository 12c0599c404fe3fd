"""A restore: exactly once, every byte, and from wherever the last try died."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from agent import catalog, records, restore, volume
from agent.catalog import Component, Manifest, NodePath, StoredObject
from agent.errors import AgentError
from agent.journal import Journal
from agent.operations import Operations
from agent.protocol import Kind, Operation, RestorePlan, State
from agent.restore import RestoreHandler
from backends.base import BytesBody
from tests.fakes.faulty_store import Fault, FaultyStore
from tests.fakes.faulty_store import error as store_error
from tests.fakes.sstables import live_files
from tests.unit.agent.conftest import LOCATION, digest_of, request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from backends.base import ObjectStore
    from tests.unit.agent.conftest import World

RESTORED = ("app/", "system_schema/", "system_auth/")


class Target:
    """Another pod's empty volume."""

    def __init__(self, world: World, plan: RestorePlan, name: str = "target") -> None:
        self.world = world
        self.plan = plan
        self.data = world.root / name / "data"
        self.state = world.root / name / ".agent"
        self.store: ObjectStore = world.memory
        self.slept: list[float] = []

    @asynccontextmanager
    async def _open(self, _location: Any) -> AsyncIterator[ObjectStore]:
        yield self.store

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    @asynccontextmanager
    async def process(self) -> AsyncIterator[Operations]:
        handler = RestoreHandler(self._open, (self.data,), self.state, sleep=self._sleep)
        operations = Operations(Journal(self.state / "operations"), {Kind.RESTORE: handler})
        await operations.load(resume=False)
        try:
            yield operations
        finally:
            await operations.stop()

    async def restore(self) -> Operation:
        async with self.process() as operations:
            await operations.put("r", request(Kind.RESTORE, self.plan), retry=True)
            await operations.over("r")
            return operations.get("r")

    def expected(self) -> dict[str, bytes]:
        files = live_files(self.world.data.data_dirs[0])
        return {name: data for name, data in files.items() if name.startswith(RESTORED)}


PATH = NodePath("my cluster", "dc1", "c-0")


async def unbundled(world: World) -> str:
    """The backup as an earlier agent wrote it, an object a component; the digest of its manifest."""
    found = await records.find_manifest(world.memory, PATH, "t1")
    assert found is not None
    manifest, objects = found[0], []
    for table in manifest.tables:
        prefix = catalog.table_prefix(manifest.host_id, table.path)
        for sstable in table.sstables:
            for component in [component for component in sstable.components if component.size]:
                content = await stored(world, manifest, component)
                key = catalog.identity(prefix, sstable.name, component.name, component.size, component.crc) + "-e1"
                await world.memory.put(PATH.root + key, BytesBody(content))
                component.object, component.offset = len(objects), 0
                objects.append(StoredObject(key, component.size))
    await world.memory.delete([PATH.root + one.key for one in manifest.objects] + [PATH.manifest("t1")])
    manifest.objects, manifest.format = objects, 1
    return (await records.write_manifest(world.memory, PATH, manifest))[1]


async def stored(world: World, manifest: Manifest, component: Component) -> bytes:
    whole = await content_of(world, PATH.root + manifest.objects[component.object].key)
    return whole[component.offset : component.offset + component.size]


async def content_of(world: World, key: str) -> bytes:
    return b"".join([chunk async for chunk in world.memory.get(key)])


@pytest.fixture(params=["bundles", "an object a component"])
async def target(world: World, request: pytest.FixtureRequest) -> Target:
    async with world.agent() as agent:
        node = digest_of(await world.back_up(agent))
    if request.param != "bundles":
        node.digest = await unbundled(world)
    plan = RestorePlan(
        restore_id="rid", location=LOCATION, cluster="my cluster", datacenter="dc1", node="c-0", tag="t1",
        digest=node.digest,
    )  # fmt: skip
    return Target(world, plan)


async def test_every_byte_of_what_belongs_and_nothing_else(target: Target) -> None:
    operation = await target.restore()
    assert operation.state is State.SUCCEEDED, operation.error
    assert live_files(target.data) == target.expected()
    found = volume.read_restored(target.state)
    assert found is not None
    assert found.tokens == target.world.cassandra.attributes["Tokens"]
    assert found.uuid_ids
    assert operation.progress.bytes == operation.progress.bytes_done == sum(map(len, target.expected().values()))
    assert not [path for path in target.data.iterdir() if path.name.startswith(".")]


async def test_roles_stay_behind_when_they_are_not_wanted(target: Target) -> None:
    target.plan.include_auth = False
    assert (await target.restore()).state is State.SUCCEEDED
    assert not (target.data / "system_auth").exists()
    assert (target.data / "system_schema").exists()


async def test_it_is_done_once(target: Target) -> None:
    await target.restore()
    shutil.rmtree(target.data / "app")  # Cassandra's own business by now
    shutil.rmtree(target.state / "operations")  # not even the journal is needed
    target.store = FaultyStore(target.world.memory)
    operation = await target.restore()
    assert (operation.state, operation.result) == (State.SUCCEEDED, {"restored": False})
    assert not (target.data / "app").exists()
    assert not target.store.keys


@pytest.mark.parametrize(
    "what", ["data/system/local-1/nb-1-big-Data.db", "data/app/t-1/x", "commitlog/CommitLog-7-1.log"]
)
async def test_a_volume_with_data_is_refused_and_left_alone(target: Target, what: str) -> None:
    there = target.data.parent / what
    there.parent.mkdir(parents=True)
    there.write_text("precious")
    operation = await target.restore()
    assert operation.error is not None
    assert operation.error.reason == "VolumeNotEmpty"
    assert there.read_text() == "precious"
    assert not target.slept
    assert [path for path in target.data.parent.rglob("*.db") if path != there] == []


@pytest.mark.parametrize("more", [{"concurrent_transfers": -1}, {"concurrent_transfers": 65}, {"bandwidth": -1}])
def test_numbers_that_no_transfer_could_keep_are_refused(tmp_path: Path, more: dict[str, int]) -> None:
    plan = RestorePlan(
        restore_id="rid", location=LOCATION, cluster="c", datacenter="d", node="n", tag="t", digest="", **more
    )
    with pytest.raises(AgentError, match="concurrentTransfers must be 0 to 64"):
        RestoreHandler(opened_nowhere, (tmp_path,), tmp_path).check(plan)


def opened_nowhere(_location: Any) -> Any:
    raise AssertionError


async def test_a_changed_manifest_is_refused(target: Target) -> None:
    target.plan.digest = "0" * 64
    operation = await target.restore()
    assert operation.error is not None
    assert operation.error.reason == "ManifestChanged"


async def damage(target: Target, name: str) -> tuple[str, str]:
    """Another content of the same size for one component of one SSTable. (its object's key, its file)."""
    found = await records.find_manifest(target.world.memory, PATH, "t1")
    assert found is not None
    table = next(table for table in found[0].tables if table.keyspace == "system_schema")
    component = next(component for component in table.sstables[0].components if component.name == name)
    key = PATH.root + found[0].objects[component.object].key
    content = bytearray(await content_of(target.world, key))
    content[component.offset] ^= 1
    await target.world.memory.put(key, BytesBody(bytes(content)))
    return key, f"{table.sstables[0].name}-{name}"


@pytest.mark.parametrize("component", ["Data.db", "Statistics.db", "Digest.crc32"])
async def test_a_damaged_object_is_noticed_and_nothing_is_placed(target: Target, component: str) -> None:
    key, file = await damage(target, component)
    operation = await target.restore()
    assert operation.error is not None
    assert operation.error.reason == "Corrupt"
    assert key in operation.error.message
    assert f"the checksum of {file} is" in operation.error.message
    assert len(target.slept) == restore.DAMAGED_TRIES - 1
    assert [path.name for path in target.data.iterdir()] == [".restore-rid"]
    assert volume.read_restored(target.state) is None


async def test_a_missing_object_fails_at_once(target: Target) -> None:
    key = next(key for key in await target.world.keys() if "/data/app/users-" in key)
    await target.world.memory.delete([key])
    operation = await target.restore()
    assert operation.error is not None
    assert operation.error.reason == "ObjectMissing"
    assert not target.slept


async def test_a_store_that_is_away_is_waited_for_and_what_is_staged_is_kept(target: Target) -> None:
    faulty = FaultyStore(target.world.memory)
    faulty.fail("get", Fault(store_error(), skip=4, times=4))
    target.plan.concurrent_transfers = 1  # more would lose what is under way as well
    target.store = faulty
    operation = await target.restore()
    assert operation.state is State.SUCCEEDED, operation.error
    assert operation.error is None
    assert target.slept
    assert live_files(target.data) == target.expected()
    fetched = [key for verb, key in faulty.keys if verb == "get" and "/data/" in key]
    assert len(fetched) - len(set(fetched)) == 1, "the request that broke; the other tries did not get that far"


async def test_patience_ends(target: Target) -> None:
    faulty = FaultyStore(target.world.memory)
    faulty.fail("get", Fault(store_error(), times=-1))
    target.store = faulty
    operation = await target.restore()
    assert operation.error is not None
    assert operation.error.reason == "StorageUnreachable"
    assert len(target.slept) == restore.TRIES - 1
    target.store = target.world.memory
    again = await target.restore()  # the container's next start
    assert (again.state, again.attempts) == (State.SUCCEEDED, 2)


async def test_a_full_disk_is_told_before_anything_is_fetched(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.files.free_bytes", lambda _path: (100, 1000))
    target.store = FaultyStore(target.world.memory)
    operation = await target.restore()
    assert operation.error is not None
    assert operation.error.reason == "DiskFull"
    assert not [key for verb, key in target.store.keys if verb == "get" and "/data/" in key]


async def test_large_files_come_in_ranges(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that lies in a bundle, behind others."""
    monkeypatch.setattr("agent.download.Downloader.__init__.__kwdefaults__", {"part": 600})
    monkeypatch.setattr("agent.download.SMALL", 1000)
    target.store = faulty = FaultyStore(target.world.memory)
    operation = await target.restore()
    assert operation.state is State.SUCCEEDED, operation.error
    assert live_files(target.data) == target.expected()
    large = [key for verb, key in faulty.keys if verb == "get" and "/data/app/users-" in key and "/nb-1" in key]
    assert len(large) >= 5000 // 600
    assert operation.progress.bytes_done == sum(map(len, target.expected().values()))


async def test_an_older_try_of_another_restore_is_out_of_the_way(target: Target) -> None:
    (target.data / ".restore-older" / "app").mkdir(parents=True)
    assert (await target.restore()).state is State.SUCCEEDED
    assert not (target.data / ".restore-older").exists()


@pytest.mark.slow
async def test_a_process_may_die_at_every_fetch(target: Target) -> None:
    """Files that were whole are not fetched again; in the end there is every byte."""
    fetched: list[str] = []
    target.plan.concurrent_transfers = 1  # more would lose what is under way as well
    for step in range(1, 100):
        dying = Dying(target.world, step)
        target.store = dying
        async with target.process() as operations:
            await operations.put("r", request(Kind.RESTORE, target.plan), retry=True)
            over = asyncio.create_task(operations.over("r"))
            died = asyncio.create_task(dying.died.wait())
            await asyncio.wait([over, died], return_when=asyncio.FIRST_COMPLETED)
            over.cancel()
            died.cancel()
        fetched += [key for verb, key in dying.keys if verb == "get" and "/data/" in key]
        if not dying.died.is_set():
            break
    assert live_files(target.data) == target.expected()
    assert len(fetched) == len(set(fetched))


class Dying(FaultyStore):
    def __init__(self, world: World, at: int) -> None:
        super().__init__(world.memory)
        self.left = at
        self.died = asyncio.Event()

    async def get(self, key: str, *, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        self.left -= 1
        if self.left == 0:
            self.died.set()
            await asyncio.Event().wait()
        async for chunk in super().get(key, offset=offset, length=length):
            yield chunk


@pytest.mark.slow
async def test_a_process_may_die_between_any_two_renames(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """Placing is repeated until it is through, and only then is there a marker."""
    real_rename = volume._rename
    left = 0

    def rename(source: Path, to: Path) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise RuntimeError("died before a rename")
        real_rename(source, to)

    monkeypatch.setattr(volume, "_rename", rename)
    for step in range(1, 20):
        left = step
        operation = await target.restore()
        if operation.state is State.SUCCEEDED:
            break
        assert not list((target.state / "restore").glob("*.done"))
    assert step > 1
    assert live_files(target.data) == target.expected()
    assert list((target.state / "restore").iterdir()) == [target.state / "restore" / "rid.done"]


@pytest.mark.parametrize("which", ["restore.json", "rid.done"])
async def test_a_process_may_die_before_each_last_file(
    target: Target, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    from agent import files

    real = files.write_atomic

    def write(path: Path, data: bytes, **more: Any) -> None:
        if path.name == which:
            raise RuntimeError("died")
        real(path, data, **more)

    monkeypatch.setattr("agent.files.write_atomic", write)
    assert (await target.restore()).state is State.FAILED
    monkeypatch.undo()
    target.store = FaultyStore(target.world.memory)
    assert (await target.restore()).state is State.SUCCEEDED
    assert live_files(target.data) == target.expected()
    assert not [key for verb, key in target.store.keys if "/data/" in key]


async def test_tables_spread_over_data_directories_and_stay_together(target: Target, tmp_path: Path) -> None:
    found = await records.find_manifest(target.world.memory, NodePath("my cluster", "dc1", "c-0"), "t1")
    assert found is not None
    sizes = {table.path: 100 for table in restore.wanted(found[0], include_auth=True)}
    where = volume.spread(sizes, [tmp_path / "a", tmp_path / "b"])
    assert set(where.values()) == {tmp_path / "a", tmp_path / "b"}
    assert not [table for table in where if table.index]
