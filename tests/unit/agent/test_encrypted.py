"""Encrypted backups: every byte comes back with the key and none without, reuse goes on, and no encoding is another."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from agent import catalog, coding, keys, records
from agent.catalog import MANIFEST_FORMAT, PLAIN_FORMAT
from agent.coding import Coding
from agent.errors import AgentError, Reason
from agent.protocol import Fault, Healing, Kind, Level, State
from backends.base import BytesBody
from backends.checksums import crc32c
from backends.helpers import read_all
from tests.fakes.sstables import live_files, write_sstable
from tests.unit.agent.backups import PATH
from tests.unit.agent.conftest import LOCATION, digest_of
from tests.unit.agent.test_bundle import expected, restored
from tests.unit.agent.verifying import LARGE, LARGE_DATA, Verifications, bundle_of, complete, cut, data_of, flip, users

if TYPE_CHECKING:
    from pathlib import Path

    from agent.catalog import Manifest
    from agent.protocol import Operation
    from tests.unit.agent.conftest import World


def add_key(world: World, name: str = "1") -> str:
    """Of the directory that the agent is given from now on; the key's id."""
    directory = world.root / "keys"
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(os.urandom(32).hex())
    world.settings = replace(world.settings, encryption_keys=directory)
    return Coding(keys.read(directory / name)).key_ids[0]


@pytest.fixture
def key_id(world: World) -> str:
    write_sstable(users(world), LARGE, size=(2 << 20) + 5)
    return add_key(world)


async def back_up(world: World, number: int = 1, **more: Any) -> tuple[Manifest, Operation]:
    async with world.agent() as agent:
        done = await world.back_up(agent, f"t{number}", epoch=f"e{number}", backup_id=f"uid-{number}", **more)
    assert done.state is State.SUCCEEDED, done.error
    return await records.read_manifest(world.memory, PATH, f"t{number}", digest_of(done).digest), done


async def restore(world: World, done: Operation, path: Path | None, number: int = 1) -> tuple[Operation, Path]:
    target = world.root / f"target-{os.urandom(4).hex()}"
    codings = coding.from_files(path)
    return await restored(world.memory, digest_of(done).digest, target, f"t{number}", codings=codings), target / "data"


async def restores(world: World, done: Operation, number: int = 1, files: dict[str, bytes] | None = None) -> bool:
    operation, data = await restore(world, done, world.settings.encryption_keys, number)
    assert operation.state is State.SUCCEEDED, operation.error
    return live_files(data) == (files or expected(world))


def new(manifest: Manifest, number: int) -> list[str]:
    return [one.key for one in manifest.objects if one.key.endswith(f"-e{number}")]


async def test_every_byte_comes_back_and_the_bucket_has_none_of_them(world: World, key_id: str) -> None:
    manifest, done = await back_up(world)
    assert await restores(world, done)
    assert manifest.key_ids == [key_id]
    assert manifest.format == MANIFEST_FORMAT
    files = [data for data in expected(world).values() if len(data) >= 16]
    bucket = b"".join([await read_all(world.memory, key, 64 << 20) for key in await world.keys()])
    assert not [data for data in files if data[:16] in bucket]


async def test_a_large_manifest_is_revealed_where_it_is_read(
    world: World, key_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its SSTables stay packed, so their checksums are unmasked at each look."""
    monkeypatch.setattr("agent.catalog.stream._LEAN", 0)
    _, done = await back_up(world)
    assert await restores(world, done)
    async with world.agent() as agent:
        await complete(world, agent, "t2", 2)
        assert (await Verifications(world)(agent, level=Level.READ)).intact


async def test_neither_names_nor_manifests_tell_a_checksum(world: World, key_id: str) -> None:
    manifest, _ = await back_up(world)
    files = expected(world)
    told = "\n".join(await world.keys()) + catalog.decompress(catalog.encode(manifest)).decode()
    crcs = {crc32c(data) for data in files.values() if data}
    assert not {one for one in crcs if f"{one:08x}" in told or f",{one}," in told}
    Coding(keys.read(world.settings.encryption_keys)).reveal(manifest)
    revealed = {one.crc for table in manifest.tables for s in table.sstables for one in s.components if one.size}
    assert crcs - revealed <= {crc32c(data) for name, data in files.items() if name.endswith("Data.db")}
    assert all(key_id in one.key for one in manifest.objects)


async def test_nothing_changed_is_nothing_sent(world: World, key_id: str) -> None:
    first, _ = await back_up(world)
    second, done = await back_up(world, 2)
    assert [one.key for one in first.objects] == [one.key for one in second.objects]
    assert await restores(world, done, 2)


async def test_a_changed_component_is_a_delta_of_that_alone(world: World, key_id: str) -> None:
    await back_up(world)
    changed = users(world) / "nb-1-big-Statistics.db"
    changed.unlink()
    changed.write_bytes(os.urandom(70))
    second, done = await back_up(world, 2)
    (sent,) = new(second, 2)
    assert "/b~70-" in sent
    assert await restores(world, done, 2)


async def test_another_key_sends_anew_and_the_older_backup_stays(world: World, key_id: str) -> None:
    _, first_done = await back_up(world)
    other = add_key(world, "2")
    second, done = await back_up(world, 2)
    assert len(new(second, 2)) == len(second.objects)
    assert second.key_ids == [other] != [key_id]
    assert all(other in one.key for one in second.objects)
    assert await restores(world, done, 2)
    assert await restores(world, first_done)


async def test_on_and_off_again_reuses_each_of_its_own(world: World, key_id: str) -> None:
    encrypted = world.settings
    world.settings = replace(encrypted, encryption_keys=None)
    plain, _ = await back_up(world)
    assert plain.format == PLAIN_FORMAT  # an older agent still restores it
    assert not plain.key_ids
    world.settings = encrypted
    second, second_done = await back_up(world, 2)
    assert len(new(second, 2)) == len(second.objects)
    world.settings = replace(encrypted, encryption_keys=None)
    third, done = await back_up(world, 3)
    assert [one.key for one in third.objects] == [one.key for one in plain.objects]
    assert await restores(world, done, 3)
    world.settings = encrypted
    assert await restores(world, second_done, 2)


async def test_no_bundle_of_another_encoding_is_built_upon(world: World, key_id: str) -> None:
    """A plain one has what does not change, and stays where it is."""
    encrypted = world.settings
    world.settings = replace(encrypted, encryption_keys=None)
    await back_up(world)
    world.settings = encrypted
    changed = users(world) / "nb-1-big-Statistics.db"
    changed.unlink()
    changed.write_bytes(os.urandom(70))
    second, done = await back_up(world, 2)
    assert all(key_id in one.key for one in second.objects)
    assert await restores(world, done, 2)


@pytest.mark.parametrize("which", ["none", "another"])
async def test_without_the_key_a_restore_says_so_and_touches_nothing(world: World, key_id: str, which: str) -> None:
    _, done = await back_up(world)
    other = world.root / "other"
    other.write_text(os.urandom(32).hex())
    operation, data = await restore(world, done, None if which == "none" else other)
    assert operation.state is State.FAILED
    assert operation.error is not None
    assert operation.error.reason == Reason.ENCRYPTION_KEY_MISSING
    assert key_id in operation.error.message
    assert not data.exists()


async def test_a_key_that_is_none_is_said_before_a_snapshot_is_needed(world: World, key_id: str) -> None:
    (world.root / "keys" / "1").write_text("short")
    async with world.agent() as agent:
        probe = await world.do(agent, "p", Kind.PROBE, PROBE)
    assert probe.state is State.FAILED
    assert probe.error is not None
    assert probe.error.reason == Reason.ENCRYPTION_KEY_INVALID
    assert not await world.keys()


async def test_a_probe_tells_the_key_that_will_write(world: World, key_id: str) -> None:
    async with world.agent() as agent:
        probe = await world.do(agent, "p", Kind.PROBE, PROBE)
    assert probe.result["encryptionKey"] == key_id


PROBE = {"location": LOCATION, "cluster": "my cluster", "datacenter": "dc1", "tag": "t1", "backupId": "uid-1"}


@pytest.mark.parametrize("which", ["bundle", "large"])
@pytest.mark.parametrize("how", ["flipped", "cut", "swapped", "plain"])
async def test_a_damaged_object_is_no_restore(world: World, key_id: str, which: str, how: str) -> None:
    manifest, done = await back_up(world)
    key = bundle_of(manifest, LARGE) if which == "bundle" else data_of(manifest)
    size = next(one.size for one in manifest.objects if one.key == key)
    if how == "flipped":
        await flip(world.memory, key, at=size - 3)
    elif how == "cut":
        await cut(world.memory, key)
    elif how == "plain":
        content = (users(world) / LARGE_DATA).read_bytes() if which == "large" else bytes(size)
        await world.memory.put(PATH.root + key, BytesBody(content.ljust(size, b"\0")))
    else:
        other = bundle_of(manifest, "nb-1-big")
        await world.memory.copy(PATH.root + other, PATH.root + key)
    operation, data = await restore(world, done, world.settings.encryption_keys)
    assert operation.state is State.FAILED
    assert operation.error is not None
    assert operation.error.reason == Reason.CORRUPT
    assert not (data / "app").exists()


@pytest.mark.parametrize("level", list(Level))
async def test_what_is_sound_verifies(world: World, key_id: str, level: Level) -> None:
    async with world.agent() as agent:
        await complete(world, agent)
        found = await Verifications(world)(agent, level=level)
    assert found.intact
    if level is Level.HASH:
        assert found.compared == found.objects


@pytest.mark.parametrize("which", ["bundle", "large"])
@pytest.mark.parametrize("how", ["flipped", "gone"])
async def test_what_is_healed_is_the_same_bytes_again(world: World, key_id: str, which: str, how: str) -> None:
    async with world.agent() as agent:
        manifest = await complete(world, agent)
        key = bundle_of(manifest, LARGE) if which == "bundle" else data_of(manifest)
        before = await read_all(world.memory, PATH.root + key, 64 << 20)
        await (flip(world.memory, key) if how == "flipped" else world.memory.delete([PATH.root + key]))
        verify = Verifications(world)
        (finding,) = (await verify(agent, level=Level.READ, heal=True)).findings
        assert finding.fault is (Fault.DAMAGED if how == "flipped" else Fault.MISSING)
        assert finding.healing is Healing.HEALED, finding.healing_detail
        assert await read_all(world.memory, PATH.root + key, 64 << 20) == before
        assert (await verify(agent, level=Level.HASH)).intact


async def test_without_its_key_an_object_is_unreadable_and_left_alone(world: World, key_id: str) -> None:
    async with world.agent() as agent:
        manifest = await complete(world, agent)
    world.settings = replace(world.settings, encryption_keys=None)
    key = data_of(manifest)
    await world.memory.delete([PATH.root + key])
    before = await world.keys()
    async with world.agent() as agent:
        verify = Verifications(world)
        assert (await verify(agent, level=Level.HASH)).compared == len(manifest.objects) - 1
        found = await verify(agent, level=Level.READ, heal=True)
    faults = {finding.object.removeprefix(PATH.root): finding for finding in found.findings}
    assert faults.pop(key).healing is Healing.NOT_TRIED
    assert {finding.fault for finding in faults.values()} == {Fault.UNREADABLE}
    assert key_id in next(iter(faults.values())).detail
    assert await world.keys() == before


async def test_a_wrong_file_never_heals(world: World, key_id: str) -> None:
    async with world.agent() as agent:
        manifest = await complete(world, agent)
        key = data_of(manifest)
        await world.memory.delete([PATH.root + key])
        path = users(world) / LARGE_DATA
        content = bytearray(path.read_bytes())
        content[7] ^= 1
        path.unlink()
        path.write_bytes(content)
        found = await Verifications(world)(agent, level=Level.SIZE, heal=True)
    (finding,) = found.findings
    assert finding.healing is Healing.NOT_ON_DISK
    assert PATH.root + key not in await world.keys()


async def test_a_checksum_that_no_manifest_has_any_more_is_not_made_of_the_contents(world: World, key_id: str) -> None:
    """What a later backup reuses has its own checksum in the first one's manifest alone."""
    async with world.agent() as agent:
        await complete(world, agent)
        second = await complete(world, agent, "t2", 2)
        await world.memory.delete([catalog.record_key("my cluster", "t1", "dc1"), PATH.manifest("t1")])
        found = await Verifications(world)(agent, level=Level.HASH)
    assert found.intact
    assert found.not_comparable == len(second.objects)


def test_a_manifest_is_masked_for_each_component_alone() -> None:
    made = Coding(keys.KeyRing([keys.Key(bytes(range(32)))]))
    identity = made.name(f"h/data/ks/t-1/nb-1-big/b~10-{'0' * 32}", made.encoding(10))
    sums = made.sums(identity)
    assert sums("A", sums("A", 77)) == 77
    assert len({sums(name, 0) for name in "ABCDEFGH"}) == 8
    with pytest.raises(AgentError):
        Coding().sums(identity)
