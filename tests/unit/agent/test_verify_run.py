"""A verification: each fault is found by the level that must find it, and named by all that needs it."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
import zstandard

from agent import catalog, records, verify_find
from agent.errors import AgentError
from agent.flow import Flow
from agent.protocol import Fault, Healing, Kind, Level, State, VerifySpec
from backends.base import BytesBody
from backends.errors import Kind as StoreKind
from backends.helpers import read_all
from tests.fakes.faulty_store import Fault as StoreFault
from tests.fakes.faulty_store import FaultyStore
from tests.fakes.faulty_store import error as store_error
from tests.fakes.sstables import write_sstable
from tests.unit.agent.backups import PATH
from tests.unit.agent.conftest import LOCATION, World, digest_of, request, until
from tests.unit.agent.verifying import (
    LARGE_DATA,
    NODE,
    Verifications,
    bundle_of,
    complete,
    cut,
    data_of,
    file_names,
    flip,
    users,
)

RECORD = catalog.record_key("my cluster", "t1", "dc1")


@pytest.fixture
def verify(world: World) -> Verifications:
    return Verifications(world)


@pytest.mark.parametrize("level", Level)
async def test_what_is_whole_is_intact(world: World, verify: Verifications, level: Level) -> None:
    async with world.agent() as agent:
        manifest = await complete(world, agent)
        result = await verify(agent, level=level)
    assert result.intact
    assert result.findings == []
    assert (result.backups, result.objects) == (1, len(manifest.objects))
    assert result.bytes == sum(stored.size for stored in manifest.objects)
    assert result.read_bytes == (result.bytes if level is Level.READ else 0)
    # What was sent by this agent has a checksum that the store can be held to, a Data.db too.
    assert (result.compared, result.not_comparable) == ((len(manifest.objects), 0) if level is Level.HASH else (0, 0))


@pytest.mark.parametrize("level", Level)
@pytest.mark.parametrize("kind", ["bundle", "data"])
async def test_a_missing_object_is_named_with_all_that_needs_it(
    world: World, verify: Verifications, level: Level, kind: str
) -> None:
    async with world.agent() as agent:
        manifest = await complete(world, agent)
        await complete(world, agent, "t2", 2)
        key = bundle_of(manifest, "nb-1-big") if kind == "bundle" else data_of(manifest)
        await world.memory.delete([PATH.root + key])
        result = await verify(agent, level=level)
    assert (result.missing, result.damaged, result.backups) == (1, 0, 2)
    (finding,) = result.findings
    assert (finding.object, finding.fault, finding.table) == (PATH.root + key, Fault.MISSING, "app.users")
    assert sorted(finding.backups) == ["t1", "t2"]
    assert finding.backups_in_all == 2
    assert set(finding.components) == file_names(manifest, key)
    assert finding.healing is Healing.NOT_TRIED
    assert not await world.keys(PATH.root + key), "nothing was healed, as nobody asked for it"


@pytest.mark.parametrize("level", Level)
async def test_a_cut_object_is_found_by_every_level(world: World, verify: Verifications, level: Level) -> None:
    async with world.agent() as agent:
        manifest = await complete(world, agent)
        await cut(world.memory, data_of(manifest))
        result = await verify(agent, level=level)
    assert [finding.fault for finding in result.findings] == [Fault.WRONG_SIZE]
    assert result.damaged == 1
    assert f"{(2 << 20) + 4} bytes" in result.findings[0].detail


@pytest.mark.parametrize(("level", "found"), [(Level.SIZE, False), (Level.HASH, True), (Level.READ, True)])
@pytest.mark.parametrize("kind", ["bundle", "data"])
async def test_a_flipped_bit_is_found_by_checksums(
    world: World, verify: Verifications, level: Level, found: bool, kind: str
) -> None:
    async with world.agent() as agent:
        manifest = await complete(world, agent)
        key = bundle_of(manifest, "nb-1-big") if kind == "bundle" else data_of(manifest)
        await flip(world.memory, key)
        result = await verify(agent, level=level)
    assert [(finding.fault, finding.object) for finding in result.findings] == (
        [(Fault.DAMAGED, PATH.root + key)] if found else []
    )
    if level is Level.READ:  # only what is damaged in a bundle
        (component,) = result.findings[0].components
        assert component == (LARGE_DATA if kind == "data" else "nb-1-big-CompressionInfo.db")


async def test_two_objects_in_each_others_place_are_found(world: World, verify: Verifications) -> None:
    async with world.agent() as agent:
        manifest = await complete(world, agent)
        keys = [PATH.root + bundle_of(manifest, "nb-1-big"), PATH.root + bundle_of(manifest, "nb-9-big")]
        # Of one size: as it is for a table's small files.
        one, other = [await read_all(world.memory, key, 1 << 20) for key in keys]
        await world.memory.put(keys[0], BytesBody(other[: len(one)].ljust(len(one), b"x")))
        await world.memory.put(keys[1], BytesBody(one[: len(other)].ljust(len(other), b"x")))
        assert (await verify(agent, level=Level.SIZE)).intact
        assert (await verify(agent, level=Level.HASH)).damaged == 2
        assert (await verify(agent, level=Level.READ)).damaged == 2


async def test_a_checksum_that_the_store_lost_is_said(world: World, verify: Verifications) -> None:
    """As of a store that keeps none: it is not a fault, and not a proof either."""

    class Silent(FaultyStore):
        async def head(self, key: str) -> Any:
            return msgspec.structs.replace(await super().head(key), crc32c=None)

    async with world.agent() as agent:
        manifest = await complete(world, agent)
        await flip(world.memory, data_of(manifest))
        world.store = Silent(world.memory)
        result = await verify(agent, level=Level.HASH)
    assert result.intact
    assert (result.compared, result.not_comparable) == (0, len(manifest.objects))


async def test_noise_on_the_way_is_no_damage(world: World, verify: Verifications) -> None:
    class Noisy(FaultyStore):
        times = 0

        async def get(self, key: str, **more: Any) -> Any:
            async for chunk in super().get(key, **more):
                if "Data.db~" in key and self.times == 0:
                    self.times += 1
                    yield b"x" + chunk[1:]
                else:
                    yield chunk

    async with world.agent() as agent:
        await complete(world, agent)
        store = world.store = Noisy(world.memory)
        result = await verify(agent, level=Level.READ)
    assert store.times == 1
    assert result.intact


async def test_one_object_that_cannot_be_read_does_not_hide_the_others(world: World, verify: Verifications) -> None:
    async with world.agent() as agent:
        manifest = await complete(world, agent)
        archived, damaged = data_of(manifest), bundle_of(manifest, "nb-1-big")
        await flip(world.memory, damaged)
        faulty = FaultyStore(world.memory)
        faulty.fail("get", StoreFault(store_error(StoreKind.FORBIDDEN), times=-1, key=PATH.root + archived))
        world.store = faulty
        result = await verify(agent, level=Level.READ, heal=True)
    found = {finding.object: (finding.fault, finding.healing) for finding in result.findings}
    assert found == {
        PATH.root + archived: (Fault.UNREADABLE, Healing.NOT_TRIED),
        PATH.root + damaged: (Fault.DAMAGED, Healing.HEALED),
    }


@pytest.mark.parametrize("level", Level)
async def test_a_store_that_is_away_fails_the_verification(world: World, verify: Verifications, level: Level) -> None:
    verb = {Level.SIZE: "list", Level.HASH: "head", Level.READ: "get"}[level]
    async with world.agent() as agent:
        manifest = await complete(world, agent)
        faulty = FaultyStore(world.memory)
        key = PATH.root if verb == "list" else PATH.root + data_of(manifest)
        faulty.fail(verb, StoreFault(store_error(StoreKind.UNAVAILABLE), times=-1, key=key))
        world.store = faulty
        operation = await verify.operation(agent, level=level)
    assert operation.error is not None
    assert (operation.error.reason, operation.error.retryable) == ("StorageUnreachable", True)


async def damage_manifest(world: World, how: str) -> None:
    key = PATH.manifest("t1")
    data = await read_all(world.memory, key, 1 << 20)
    match how:
        case "deleted":
            await world.memory.delete([key])
        case "cut":
            await world.memory.put(key, BytesBody(data[:-1]))
        case "other":
            await world.memory.put(key, BytesBody(zstandard.compress(catalog.decompress(data))))
        case "record":
            await world.memory.put(RECORD, BytesBody(b"{"))
        case "record of another":
            record = json.loads(await read_all(world.memory, RECORD, 1 << 20))
            await world.memory.put(RECORD, BytesBody(json.dumps(record | {"tag": "t9"}).encode()))
        case _:  # hostile, and recorded so
            text = zstandard.compress(catalog.decompress(data).replace(b'"format":2', b'"format":99'))
            await world.memory.put(key, BytesBody(text))
            record = json.loads(await read_all(world.memory, RECORD, 1 << 20))
            record["nodes"][0]["digest"] = catalog.digest(text)
            await world.memory.put(RECORD, BytesBody(json.dumps(record).encode()))


@pytest.mark.parametrize(
    ("how", "fault"),
    [
        ("deleted", Fault.MANIFEST_MISSING),
        ("cut", Fault.MANIFEST_CHANGED),
        ("other", Fault.MANIFEST_CHANGED),
        ("of the future", Fault.MANIFEST_INVALID),
        ("record", Fault.RECORD_INVALID),
        ("record of another", Fault.RECORD_INVALID),
    ],
)
async def test_a_manifest_or_record_that_cannot_be_used_is_a_finding_and_the_others_are_verified(
    world: World, verify: Verifications, how: str, fault: Fault
) -> None:
    async with world.agent() as agent:
        await complete(world, agent)
        await complete(world, agent, "t2", 2)
        await damage_manifest(world, how)
        result = await verify(agent)
        alone = await verify(agent, tag="t1")
    assert (result.manifests, result.missing) == (1, 0)
    assert not result.intact
    (finding,) = result.findings
    assert (finding.fault, finding.backups) == (fault, ["t1"])
    assert finding.object == (RECORD if fault is Fault.RECORD_INVALID else PATH.manifest("t1"))
    assert result.objects > 0
    assert alone.findings == result.findings


async def test_what_has_no_record_is_no_backup(world: World, verify: Verifications) -> None:
    async with world.agent() as agent:
        await world.back_up(agent)
        assert (await verify(agent)).backups == 0
        operation = await verify.operation(agent, tag="t1")
    assert operation.error is not None
    assert operation.error.reason == "BackupNotFound"


async def test_one_backup_is_verified_alone(world: World, verify: Verifications) -> None:
    async with world.agent() as agent:
        await complete(world, agent)
        write_sstable(users(world), "nb-11-big", size=700)
        second = await complete(world, agent, "t2", 2)
        await world.memory.delete([PATH.root + bundle_of(second, "nb-11-big")])
        assert (await verify(agent, tag="t1")).intact
        assert (await verify(agent, tag="t2")).missing == 1


async def test_a_backup_that_is_deleted_meanwhile_is_no_finding(world: World, verify: Verifications) -> None:
    """The record goes first, then the manifest, then data that nobody else needs."""

    class Deleting(FaultyStore):
        sweep: list[str]

        async def list(self, prefix: str, **more: Any) -> Any:
            if prefix == PATH.root:
                await world.memory.delete([RECORD, PATH.manifest("t1"), *self.sweep])
            async for meta in super().list(prefix, **more):
                yield meta

    async with world.agent() as agent:
        old = await complete(world, agent)
        compact(world)
        new = await complete(world, agent, "t2", 2)
        store = world.store = Deleting(world.memory)
        needed = {stored.key for stored in new.objects}
        store.sweep = [PATH.root + one.key for one in old.objects if one.key not in needed]
        assert store.sweep
        result = await verify(agent)
    assert result.intact
    assert result.findings == []


def compact(world: World) -> None:
    """An SSTable is compacted away."""
    for path in users(world).glob("nb-1-big-*"):
        path.unlink()


async def test_findings_are_bounded_and_counts_are_whole(
    world: World, verify: Verifications, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify_find, "LISTED", 3)
    async with world.agent() as agent:
        manifest = await complete(world, agent)
        await world.memory.delete([PATH.root + stored.key for stored in manifest.objects])
        result = await verify(agent)
    assert result.missing == len(manifest.objects)
    assert (len(result.findings), result.findings_not_listed) == (3, len(manifest.objects) - 3)


async def test_a_rolling_reading_reads_all_in_as_many_runs_as_its_share_goes_into_one(
    world: World, verify: Verifications
) -> None:
    async with world.agent() as agent:
        manifest = await complete(world, agent)
        store = world.store = FaultyStore(world.memory)
        for _ in range(4):
            await verify(agent, level=Level.READ, share=0.25)
    read = {key for verb, key in store.keys if verb == "get" and "/data/" in key}
    assert read == {PATH.root + stored.key for stored in manifest.objects}


async def test_the_place_is_kept_over_a_restart_and_may_be_lost(world: World, verify: Verifications) -> None:
    store = FaultyStore(world.memory)

    async def read(**more: Any) -> set[str]:
        store.keys.clear()
        async with world.agent() as agent:
            await verify(agent, level=Level.READ, share=1e-6, **more)
        return {key for verb, key in store.keys if verb == "get" and "/data/" in key}

    async with world.agent() as agent:
        await complete(world, agent)
    world.store = store
    first = await read()
    assert len(first) == 1
    assert await read() != first
    (place,) = (world.settings.state_dir / "verify").iterdir()
    for damage in (b"", b"{", b"\xff", b"[" * 100_000):
        place.write_bytes(damage)
        assert await read() == first, damage


async def test_an_agent_that_dies_goes_on_behind_what_it_had_read(world: World, verify: Verifications) -> None:
    """And a limit of one request at a time is kept, so that what was read is known."""
    async with world.agent() as agent:
        manifest = await complete(world, agent)
        keys = sorted(PATH.root + stored.key for stored in manifest.objects)
        store = Holding(world, keys[3])
        world.store = store
        spec = NODE | {"level": Level.READ, "share": 0.5, "concurrent_transfers": 1}
        await agent.operations.put("v", request(Kind.VERIFY, VerifySpec(**spec)))
        await until(lambda: store.held)
    world.store = after = FaultyStore(world.memory)
    async with world.agent() as agent:
        await agent.operations.over("v")
        assert agent.operations.get("v").state is State.SUCCEEDED
    read = [key for verb, key in after.keys if verb == "get" and "/data/" in key]
    assert not set(keys[:3]) & set(read)
    assert keys[3] in read


class Holding(FaultyStore):
    """The process dies while it reads ``key``."""

    def __init__(self, world: World, key: str) -> None:
        super().__init__(world.memory)
        self.key = key
        self.held = False

    async def get(self, key: str, **more: Any) -> Any:
        if key == self.key:
            self.held = True
            await until(lambda: False)
        async for chunk in super().get(key, **more):
            yield chunk


async def test_what_was_damaged_is_read_in_every_run_until_it_is_not(world: World, verify: Verifications) -> None:
    """Else a rolling reading would call the node sound as soon as it is past the damage."""
    async with world.agent() as agent:
        manifest = await complete(world, agent)
        key = min(stored.key for stored in manifest.objects)
        data = await read_all(world.memory, PATH.root + key, 4 << 20)
        await flip(world.memory, key)
        for _ in range(3):
            result = await verify(agent, level=Level.READ, share=0.01)
            assert [finding.object for finding in result.findings] == [PATH.root + key]
        await world.memory.put(PATH.root + key, BytesBody(data))
        for _ in range(2):
            assert (await verify(agent, level=Level.READ, share=0.01)).intact


async def test_reading_goes_by_the_bandwidth_of_what_is_received(world: World, verify: Verifications) -> None:
    asked: list[Any] = []
    real = Flow.of

    def of(*values: Any, **more: Any) -> Flow:
        asked.append((values, more))
        return real(*values, **more)

    async with world.agent() as agent:
        await complete(world, agent)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("agent.verify_run.Flow.of", of)
            await verify(agent, level=Level.READ, bandwidth=1 << 30, concurrentTransfers=3)
    told = [(values, str(more.get("direction", "send"))) for values, more in asked]
    assert told == [((3, 1 << 30), "receive"), ((3, 1 << 30), "send")]


@pytest.mark.parametrize(
    "more",
    [
        {"share": 0}, {"share": -1}, {"share": 1.01}, {"share": float("nan")}, {"bandwidth": -1},
        {"concurrentTransfers": 65}, {"tag": "a/b"}, {"node": ""}, {"cluster": ""}, {"level": "Sniff"}, {"share": "x"},
    ],
)  # fmt: skip
async def test_what_no_verification_could_do_is_refused(world: World, more: dict[str, Any]) -> None:
    async with world.agent() as agent:
        with pytest.raises(AgentError) as caught:
            await agent.operations.put("v", request(Kind.VERIFY, NODE | more))
        assert caught.value.reason == "InvalidSpec"


@pytest.mark.parametrize("level", Level)
async def test_a_backup_without_a_record_by_its_digest(world: World, verify: Verifications, level: Level) -> None:
    """As the operator has it read before it writes the record."""
    write_sstable(users(world), "nb-9-big", size=(2 << 20) + 5)
    async with world.agent() as agent:
        operation = await world.back_up(agent)
        digest = digest_of(operation).digest
        result = await verify(agent, tag="t1", digest=digest, level=level)
        assert result.intact
        assert result.backups == 1
        assert result.objects > 0
        manifest = await records.read_manifest(world.memory, PATH, "t1", digest)
        await world.memory.delete([PATH.root + data_of(manifest)])
        found = await verify(agent, tag="t1", digest=digest, level=level)
        assert (found.missing, found.healed) == (1, 0)
        healed = await verify(agent, tag="t1", digest=digest, level=level, heal=True)
        assert (healed.missing, healed.healed, healed.intact) == (0, 1, True)


async def test_a_digest_that_is_not_the_manifests(world: World, verify: Verifications) -> None:
    async with world.agent() as agent:
        await world.back_up(agent)
        result = await verify(agent, tag="t1", digest="0" * 64)
        gone = await verify(agent, tag="t2", digest="0" * 64)
    assert [one.fault for one in (*result.findings, *gone.findings)] == [Fault.MANIFEST_CHANGED, Fault.MANIFEST_MISSING]
    assert not result.intact
    assert not gone.intact


async def test_a_digest_needs_a_tag(world: World) -> None:
    async with world.agent() as agent:
        with pytest.raises(AgentError, match="the tag"):
            await agent.operations.put(
                "v",
                request(
                    Kind.VERIFY,
                    VerifySpec(location=LOCATION, cluster="c", datacenter="d", node="n", digest="0" * 64),
                ),
            )
