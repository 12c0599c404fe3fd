"""Self-healing: what is still on the node's disk goes back under its own name, and nothing else ever does."""

from __future__ import annotations

import asyncio
import os
import shutil
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from agent import catalog, records
from agent.catalog import Component, TablePath
from agent.protocol import Fault, Healing, Kind, Level, State, VerifySpec
from agent.sources import Sources
from agent.verify import Use
from agent.verify_find import users_of
from backends.base import BytesBody
from backends.errors import AlreadyExists
from backends.errors import Kind as StoreKind
from backends.helpers import read_all
from tests.fakes.faulty_store import Fault as StoreFault
from tests.fakes.faulty_store import FaultyStore
from tests.fakes.faulty_store import error as store_error
from tests.unit.agent.backups import PATH, content, expected
from tests.unit.agent.conftest import World, until
from tests.unit.agent.conftest import request as operation_request
from tests.unit.agent.verifying import (
    LARGE,
    LARGE_DATA,
    NODE,
    Verifications,
    bundle_of,
    complete,
    cut,
    data_of,
    flip,
    users,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from agent.catalog import Manifest
    from agent.protocol import Verified
    from agent.serve import Agent


@pytest.fixture
def verify(world: World) -> Verifications:
    return Verifications(world)


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Data.db of 2 MiB goes up in parts."""
    monkeypatch.setattr(
        "agent.upload.Uploader.__init__.__kwdefaults__", {"single": 1 << 20, "part": 1 << 19, "journal": None}
    )


async def damage(world: World, key: str, how: str) -> None:
    match how:
        case "missing":
            await world.memory.delete([PATH.root + key])
        case "cut":
            await cut(world.memory, key)
        case _:
            await flip(world.memory, key)


def key_of(manifest: Manifest, kind: str) -> str:
    return bundle_of(manifest, "nb-1-big") if kind == "bundle" else data_of(manifest)


async def stored(world: World, key: str) -> bytes:
    return await read_all(world.memory, PATH.root + key, 64 << 20)


def outcomes(result: Verified) -> list[tuple[str, Healing]]:
    return [(finding.object, finding.healing) for finding in result.findings]


@pytest.mark.parametrize("how", ["missing", "cut", "flipped"])
@pytest.mark.parametrize("kind", ["bundle", "data", "data in parts"])
async def test_what_is_still_on_disk_is_sent_again_under_its_own_name(
    world: World, verify: Verifications, how: str, kind: str, request: pytest.FixtureRequest
) -> None:
    if kind == "data in parts":
        request.getfixturevalue("in_parts")
    async with world.agent() as agent:
        manifest = await complete(world, agent)
        keys = await world.keys()
        key = key_of(manifest, kind)
        await damage(world, key, how)
        store = world.store = FaultyStore(world.memory)
        result = await verify(agent, level=Level.READ, heal=True)
        assert outcomes(result) == [(PATH.root + key, Healing.HEALED)]
        assert (result.healed, result.missing, result.damaged) == (1, 0, 0)
        assert result.intact
        sent = {key for verb, key in store.keys if verb in {"put", "complete_upload"}}
        assert sent == {PATH.root + key}, "and nothing else is touched"
        assert (await verify(agent, level=Level.READ)).findings == []
    assert await content(world.memory, manifest) == expected(world)
    assert await world.keys() == keys
    assert [upload async for upload in world.memory.list_uploads("")] == []


@pytest.mark.parametrize("kind", ["bundle", "data"])
async def test_a_missing_object_is_put_only_where_there_is_none(world: World, verify: Verifications, kind: str) -> None:
    asked: list[bool] = []

    class Spy(FaultyStore):
        async def put(self, key: str, body: Any, *, if_absent: bool = False) -> Any:
            asked.append(if_absent)
            return await super().put(key, body, if_absent=if_absent)

    async with world.agent() as agent:
        manifest = await complete(world, agent)
        world.store = Spy(world.memory)
        await damage(world, key_of(manifest, kind), "missing")
        assert (await verify(agent, heal=True)).healed == 1
        await damage(world, key_of(manifest, kind), "cut")
        assert (await verify(agent, heal=True)).healed == 1
    assert asked == [True, False]


@pytest.mark.parametrize("kind", ["bundle", "data"])
async def test_what_was_compacted_away_is_found_in_a_snapshot(world: World, verify: Verifications, kind: str) -> None:
    async with world.agent() as agent:
        manifest = await complete(world, agent)
        world.data.snapshot("somebody's own")
        for path in users(world).glob("nb-*"):
            path.unlink()
        key = key_of(manifest, kind)
        before = await stored(world, key)
        await damage(world, key, "flipped")
        assert (await verify(agent, level=Level.READ, heal=True)).healed == 1
    assert await stored(world, key) == before


@pytest.mark.parametrize("how", ["missing", "flipped"])
@pytest.mark.parametrize("kind", ["bundle", "data"])
async def test_what_is_on_no_disk_stays_as_it_is_and_is_said(
    world: World, verify: Verifications, how: str, kind: str
) -> None:
    async with world.agent() as agent:
        manifest = await complete(world, agent)
        key = key_of(manifest, kind)
        await damage(world, key, how)
        before = await stored(world, key) if how == "flipped" else None
        shutil.rmtree(users(world))
        result = await verify(agent, level=Level.READ, heal=True)
        assert outcomes(result) == [(PATH.root + key, Healing.NOT_ON_DISK)]
        assert (result.missing, result.damaged) == ((1, 0) if how == "missing" else (0, 1))
        assert "this node has no nb-" in result.findings[0].healing_detail
    assert (await stored(world, key) if before else None) == before


@pytest.mark.parametrize("how", ["missing", "flipped"])
@pytest.mark.parametrize("kind", ["bundle", "data", "data in parts"])
async def test_a_file_of_the_same_name_and_size_and_other_bytes_is_never_sent(
    world: World, verify: Verifications, how: str, kind: str, request: pytest.FixtureRequest
) -> None:
    """Names and sizes prove nothing: neither is what is there overwritten, nor is it put where there is none."""
    if kind == "data in parts":
        request.getfixturevalue("in_parts")
    async with world.agent() as agent:
        manifest = await complete(world, agent)
        file = users(world) / ("nb-1-big-Statistics.db" if kind == "bundle" else LARGE_DATA)
        other = file.with_name("other")
        other.write_bytes(file.read_bytes()[:-1] + b"!")
        other.replace(file)
        key = key_of(manifest, kind)
        await damage(world, key, how)
        before = await stored(world, key) if how == "flipped" else None
        result = await verify(agent, level=Level.READ, heal=True)
        assert outcomes(result) == [(PATH.root + key, Healing.NOT_ON_DISK)]
    assert (await stored(world, key) if before else None) == before
    assert PATH.root + key in await world.keys() if before else PATH.root + key not in await world.keys()
    assert [upload async for upload in world.memory.list_uploads("")] == []


@pytest.mark.parametrize("kind", ["bundle", "data"])
async def test_of_two_files_of_one_name_the_one_with_the_right_bytes_is_sent(
    world: World, verify: Verifications, kind: str
) -> None:
    async with world.agent() as agent:
        manifest = await complete(world, agent)
        world.data.snapshot("old")
        file = users(world) / ("nb-1-big-Statistics.db" if kind == "bundle" else LARGE_DATA)
        other = file.with_name("other")
        other.write_bytes(file.read_bytes()[:-1] + b"!")
        other.replace(file)  # the live one comes first
        await damage(world, key_of(manifest, kind), "missing")
        assert (await verify(agent, heal=True)).healed == 1
        assert (await verify(agent, level=Level.READ)).intact


@pytest.mark.parametrize("kind", ["data", "data in parts"])
async def test_a_file_that_is_compacted_away_while_it_is_sent_is_sent_to_its_end(
    world: World, verify: Verifications, kind: str, request: pytest.FixtureRequest
) -> None:
    if kind == "data in parts":
        request.getfixturevalue("in_parts")

    class Compacting(FaultyStore):
        async def _do(self, verb: str, key: str, call: Any) -> Any:
            if verb in {"put", "upload_part"} and (users(world) / LARGE_DATA).exists():
                (users(world) / LARGE_DATA).unlink()
            return await super()._do(verb, key, call)

    async with world.agent() as agent:
        manifest = await complete(world, agent)
        before = await stored(world, data_of(manifest))
        await damage(world, data_of(manifest), "missing")
        world.store = Compacting(world.memory)
        assert (await verify(agent, heal=True)).healed == 1
    assert not (users(world) / LARGE_DATA).exists()
    assert await stored(world, data_of(manifest)) == before


async def test_a_file_that_is_cut_while_it_is_sent_is_not_sent(world: World, verify: Verifications) -> None:
    class Cutting(FaultyStore):
        async def put(self, key: str, body: Any, *, if_absent: bool = False) -> Any:
            os.truncate(users(world) / LARGE_DATA, 5)
            return await super().put(key, body, if_absent=if_absent)

    async with world.agent() as agent:
        manifest = await complete(world, agent)
        await damage(world, data_of(manifest), "flipped")
        before = await stored(world, data_of(manifest))
        world.store = Cutting(world.memory)
        result = await verify(agent, level=Level.READ, heal=True)
    assert outcomes(result) == [(PATH.root + data_of(manifest), Healing.NOT_ON_DISK)]
    assert "shorter" in result.findings[0].healing_detail
    assert await stored(world, data_of(manifest)) == before


async def test_a_store_that_lets_nobody_overwrite_is_asked_once(world: World, verify: Verifications) -> None:
    """As of a bucket with a retention or a hold."""
    async with world.agent() as agent:
        manifest = await complete(world, agent)
        key = bundle_of(manifest, "nb-1-big")
        await flip(world.memory, key)
        before = await stored(world, key)
        locked = world.store = FaultyStore(world.memory)
        locked.fail("put", StoreFault(store_error(StoreKind.FORBIDDEN), times=-1))
        result = await verify(agent, level=Level.READ, heal=True)
    assert outcomes(result) == [(PATH.root + key, Healing.REFUSED)]
    assert "as the test told" in result.findings[0].healing_detail
    assert locked.calls["put"] == 1
    assert await stored(world, key) == before


async def test_a_store_that_is_away_ends_the_healing(world: World, verify: Verifications) -> None:
    async with world.agent() as agent:
        manifest = await complete(world, agent)
        await world.memory.delete([PATH.root + stored.key for stored in manifest.objects])
        faulty = world.store = FaultyStore(world.memory)
        faulty.fail("put", StoreFault(store_error(StoreKind.UNAVAILABLE), times=-1))
        operation = await verify.operation(agent, heal=True)
    assert operation.error is not None
    assert (operation.error.reason, operation.error.retryable) == ("StorageUnreachable", True)


async def test_what_is_healed_is_looked_at_again(world: World, verify: Verifications) -> None:
    class Losing(FaultyStore):
        async def put(self, key: str, body: Any, *, if_absent: bool = False) -> Any:
            meta = await super().put(key, body, if_absent=if_absent)
            await flip(world.memory, key, root="")
            return meta

    async with world.agent() as agent:
        manifest = await complete(world, agent)
        await damage(world, data_of(manifest), "missing")
        world.store = Losing(world.memory)
        result = await verify(agent, heal=True)
    assert outcomes(result) == [(PATH.root + data_of(manifest), Healing.FAILED)]
    assert not result.intact


@pytest.mark.parametrize(("right", "healing"), [(True, Healing.HEALED), (False, Healing.FAILED)])
async def test_another_who_puts_it_meanwhile_is_not_overwritten(
    world: World, verify: Verifications, right: bool, healing: Healing
) -> None:
    class Raced(FaultyStore):
        async def put(self, key: str, body: Any, *, if_absent: bool = False) -> Any:
            await world.memory.put(key, BytesBody(there))
            with pytest.raises(AlreadyExists):
                await super().put(key, body, if_absent=if_absent)
            raise store_error(StoreKind.ALREADY_EXISTS)

    async with world.agent() as agent:
        manifest = await complete(world, agent)
        key = bundle_of(manifest, "nb-1-big")
        there = await stored(world, key)
        there = there if right else bytes(reversed(there))
        await damage(world, key, "missing")
        world.store = Raced(world.memory)
        result = await verify(agent, heal=True)
    assert outcomes(result) == [(PATH.root + key, healing)]
    assert await stored(world, key) == there


async def test_what_another_put_right_is_left_alone(world: World, verify: Verifications) -> None:
    """Found damaged, and whole when it is looked at again: a versioned bucket gets no needless version."""
    async with world.agent() as agent:
        manifest = await complete(world, agent)
        key = bundle_of(manifest, "nb-1-big")
        good = await stored(world, key)
        await cut(world.memory, key)

        class Righting(FaultyStore):
            async def list(self, prefix: str, **more: Any) -> AsyncIterator[Any]:
                async for meta in super().list(prefix, **more):
                    yield meta
                if prefix == PATH.root:
                    await world.memory.put(PATH.root + key, BytesBody(good))

        store = world.store = Righting(world.memory)
        result = await verify(agent, heal=True)
    assert outcomes(result) == [(PATH.root + key, Healing.HEALED)]
    assert store.calls["put"] == 0


@pytest.mark.parametrize("how", ["missing", "flipped"])
async def test_two_agents_may_heal_at_once(world: World, verify: Verifications, how: str) -> None:
    @asynccontextmanager
    async def another() -> AsyncIterator[Agent]:
        settings = world.settings
        world.settings = settings.__class__(**(settings.__dict__ | {"state_dir": world.root / ".other"}))
        async with world.agent() as agent:
            yield agent
        world.settings = settings

    async with world.agent() as one, another() as other:
        manifest = await complete(world, one)
        for stored_ in manifest.objects:
            await damage(world, stored_.key, how)
        results = await asyncio.gather(
            verify(one, level=Level.READ, heal=True), verify(other, level=Level.READ, heal=True)
        )
        assert all(result.intact for result in results)
        assert (await verify(one, level=Level.READ)).findings == []
    assert await content(world.memory, manifest) == expected(world)


@pytest.mark.parametrize("verb", ["put", "create_upload", "upload_part", "complete_upload"])
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("how", ["missing", "flipped"])
async def test_an_agent_that_dies_while_it_heals_leaves_the_object_as_it_was_or_right(
    world: World, verb: str, moment: str, how: str, request: pytest.FixtureRequest
) -> None:
    """The next one ends it, and no parts are left."""
    if verb != "put":
        request.getfixturevalue("in_parts")
    async with world.agent() as agent:
        manifest = await complete(world, agent)
        key = data_of(manifest)
        good = await stored(world, key)
        await damage(world, key, how)
        bad = await stored(world, key) if how == "flipped" else None
        dying = Dying(world, verb, after=moment == "after")
        world.store = dying
        spec = VerifySpec(**NODE, level=Level.READ, heal=True)  # type: ignore[arg-type]
        await agent.operations.put("v", operation_request(Kind.VERIFY, spec))
        await until(lambda: dying.dead)
        # What an abort would do in time is not done: the process is gone.
    there = await stored(world, key) if PATH.root + key in await world.keys() else None
    assert there in {bad, good}
    world.store = world.memory
    async with world.agent() as agent:
        await agent.operations.over("v")
        assert agent.operations.get("v").state is State.SUCCEEDED
        assert (await Verifications(world)(agent, level=Level.READ)).findings == []
    assert await stored(world, key) == good
    assert [upload async for upload in world.memory.list_uploads("")] == []


class Dying(FaultyStore):
    """The process is gone at the verb, before it or after: nothing that it asks for is done any more."""

    def __init__(self, world: World, verb: str, *, after: bool) -> None:
        super().__init__(world.memory)
        self.verb = verb
        self.after = after
        self.dead = False

    async def _do(self, verb: str, key: str, call: Any) -> Any:
        if self.dead and verb == "abort_upload":  # which an agent that ends in order would still do
            raise store_error(StoreKind.UNAVAILABLE)
        if self.dead or verb == self.verb:
            if self.after and not self.dead:
                await call()
            self.dead = True
            await asyncio.Event().wait()
        return await super()._do(verb, key, call)


async def test_what_no_backup_needs_any_more_is_not_put_again(world: World, verify: Verifications) -> None:
    """Its last backup was deleted, and the collector may be at it."""
    async with world.agent() as agent:
        manifest = await complete(world, agent)

        class Deleting(FaultyStore):
            async def list(self, prefix: str, **more: Any) -> AsyncIterator[Any]:
                async for meta in super().list(prefix, **more):
                    yield meta
                if prefix == PATH.root:
                    await world.memory.delete(["my!20cluster/_backups/t1/dc1.json"])

        await damage(world, data_of(manifest), "missing")
        store = world.store = Deleting(world.memory)
        result = await verify(agent, heal=True)
    assert result.findings == []
    assert store.calls["put"] == 0


async def test_a_disk_that_does_not_read_is_no_source(
    world: World, verify: Verifications, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world.agent() as agent:
        manifest = await complete(world, agent)
        await damage(world, data_of(manifest), "missing")
        real = os.pread

        def broken(descriptor: int, *more: Any) -> Any:
            if Path(f"/proc/self/fd/{descriptor}").readlink().name == LARGE_DATA:
                raise OSError(5, "Input/output error")
            return real(descriptor, *more)

        with monkeypatch.context() as patch:
            patch.setattr("os.pread", broken)
            result = await verify(agent, heal=True)
        assert outcomes(result) == [(PATH.root + data_of(manifest), Healing.NOT_ON_DISK)]
        assert "Input/output error" in result.findings[0].healing_detail
        assert (await verify(agent, heal=True)).healed == 1


async def test_an_older_manifest_may_name_what_a_newer_one_does_not(world: World, verify: Verifications) -> None:
    """Of a bundle a newer backup may need a part only, and it can be made again by all of its members."""
    async with world.agent() as agent:
        first = await complete(world, agent)
        key = bundle_of(first, "nb-1-big")
        await complete(world, agent, "t2", 2)
        await forget_component(world, "t2", key)
        await damage(world, key, "missing")
        result = await verify(agent, heal=True)
    assert outcomes(result) == [(PATH.root + key, Healing.HEALED)]


async def forget_component(world: World, tag: str, key: str) -> None:
    """The manifest of ``tag`` names one component less in the object; its record knows."""
    found = await records.find_manifest(world.memory, PATH, tag)
    assert found is not None
    manifest = found[0]
    for table in manifest.tables:
        for sstable in table.sstables:
            inside = [one for one in sstable.components if one.size and manifest.objects[one.object].key == key]
            if inside:
                sstable.components.remove(inside[0])
    data = catalog.encode(manifest)
    await world.memory.put(PATH.manifest(tag), BytesBody(data))
    where = catalog.record_key("my cluster", tag, "dc1")
    record = catalog.decode_record(await read_all(world.memory, where, 1 << 20))
    record.nodes[0].digest = catalog.digest(data)
    record.created_at = "2099-01-01T00:00:00Z"
    await world.memory.put(where, BytesBody(msgspec.json.encode(record)))


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_no_descriptor_stays_open(world: World, verify: Verifications) -> None:
    async with world.agent() as agent:
        manifest = await complete(world, agent)
        world.data.snapshot("old")
        await verify(agent, heal=True)
        before = descriptors()
        for stored_ in manifest.objects:
            await damage(world, stored_.key, "missing")
        assert (await verify(agent, heal=True)).intact
        assert descriptors() == before


@pytest.mark.parametrize("what", ["a link", "a pipe", "a directory", "gone", "larger"])
async def test_only_plain_files_of_the_right_size_are_sources(world: World, what: str, tmp_path: Path) -> None:
    async with world.agent() as agent:
        manifest = await complete(world, agent)
    (use,) = users_of(manifest, {data_of(manifest)})[data_of(manifest)]
    file = users(world) / LARGE_DATA
    file.rename(tmp_path / "elsewhere")
    match what:
        case "a link":
            file.symlink_to(tmp_path / "elsewhere")
        case "a pipe":
            os.mkfifo(file)
        case "a directory":
            file.mkdir()
        case "larger":
            file.write_bytes((tmp_path / "elsewhere").read_bytes() + b"x")
    sources = Sources(world.data.data_dirs, data_of(manifest), use.component.size, [use])
    assert (sources.items, sources._descriptors) == ([], [])
    assert LARGE in sources.why


def test_a_bundle_larger_than_any_of_ours_is_not_made_in_memory(tmp_path: Path) -> None:
    size = (16 << 20) + 1
    use = Use(TablePath("ks", "t", "0" * 32), "nb-1-big", Component("Index.db", size, 1, 0))
    sources = Sources([tmp_path], f"h/data/ks/t-1/nb-1-big/b~{size}-{'0' * 32}-e1", size, [use])
    assert sources.items == []
    assert "larger" in sources.why


async def test_nothing_is_healed_unless_it_is_asked_for(world: World, verify: Verifications) -> None:
    async with world.agent() as agent:
        manifest = await complete(world, agent)
        await damage(world, data_of(manifest), "flipped")
        store = world.store = FaultyStore(world.memory)
        result = await verify(agent, level=Level.READ)
    assert [(finding.fault, finding.healing) for finding in result.findings] == [(Fault.DAMAGED, Healing.NOT_TRIED)]
    assert set(store.calls) <= {"list", "get", "head"}
