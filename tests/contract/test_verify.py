"""Verifying and healing on real servers: each damage, the level that must find it, and a restore byte for byte."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from agent import catalog
from agent.protocol import Fault, Healing, Level, State
from backends.base import BytesBody
from backends.helpers import read_all
from backends.prefix import PrefixStore
from backends.retry import RetryStore
from tests.contract.conftest import AT_ONCE
from tests.fakes.sstables import live_files, write_sstable
from tests.unit.agent.backups import PATH
from tests.unit.agent.conftest import World, node_data, world
from tests.unit.agent.test_bundle import expected, restored
from tests.unit.agent.verifying import Verifications, bundle_of, complete, cut, data_of, flip, users

if TYPE_CHECKING:
    from agent.catalog import Manifest
    from backends.base import ObjectStore

__all__ = ["node_data", "world"]

SERVERS = ("file", "s3", "gcs", "azure")
PARTS, PUT = "nb-8-big", "nb-9-big"


def on(world: World, store: ObjectStore) -> PrefixStore:
    """The world's bucket is a real one, as an agent opens it."""
    opened = PrefixStore(RetryStore(store, AT_ONCE), "some/where")
    world.store = opened
    world.memory = opened  # type: ignore[assignment]  # of which the tests' helpers use the verbs only
    return opened


def grow(world: World) -> None:
    """A Data.db that goes up in parts, one in one PUT, and a large component that is none."""
    write_sstable(users(world), PARTS, size=(33 << 20) + 5)
    write_sstable(users(world), PUT, size=2 << 20)
    (users(world) / f"{PARTS}-Index.db").write_bytes(random.Random(1).randbytes((1 << 20) + 1))


async def swap(store: ObjectStore, *keys: str) -> None:
    """Two objects of one size change places."""
    one, other = [await read_all(store, PATH.root + key, 64 << 20) for key in keys]
    assert len(one) == len(other)
    await store.put(PATH.root + keys[0], BytesBody(other))
    await store.put(PATH.root + keys[1], BytesBody(one))


async def damage(store: ObjectStore, manifest: Manifest, how: str) -> dict[str, Fault]:
    """Object -> the fault that it has now."""
    bundle, put, parts = bundle_of(manifest, "nb-1-big"), data_of(manifest, PUT), data_of(manifest, PARTS)
    index = next(one.key for one in manifest.objects if f"/{PARTS}/Index.db~" in one.key)
    match how:
        case "deleted":
            await store.delete([PATH.root + key for key in (bundle, put, parts)])
            return dict.fromkeys((bundle, put, parts), Fault.MISSING)
        case "cut":
            for key in (bundle, put):
                await cut(store, key)
            return dict.fromkeys((bundle, put), Fault.WRONG_SIZE)
        case "flipped":
            for at, key in enumerate((bundle, put, parts, index)):
                await flip(store, key, at * 7)
            return dict.fromkeys((bundle, put, parts, index), Fault.DAMAGED)
        case _:
            pair = twins(manifest)
            await swap(store, *pair)
            return dict.fromkeys(pair, Fault.DAMAGED)


def twins(manifest: Manifest) -> tuple[str, str]:
    """Two objects of one size."""
    seen: dict[int, str] = {}
    for stored in manifest.objects:
        if stored.size in seen:
            return seen[stored.size], stored.key
        seen[stored.size] = stored.key
    raise AssertionError("no two objects have one size")


LEVELS = {"deleted": Level.SIZE, "cut": Level.SIZE, "flipped": Level.HASH, "swapped": Level.HASH}
KEPT = {"s3", "gcs", "azure"}  # a directory keeps no checksum of what is in it


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("store", SERVERS, indirect=True)
async def test_every_damage_is_found_by_its_level_healed_and_restored(
    world: World, store: ObjectStore, request: pytest.FixtureRequest
) -> None:
    kind = request.node.callspec.params["store"]
    bucket = on(world, store)
    grow(world)
    verify = Verifications(world)
    async with world.agent() as agent:
        manifest = await complete(world, agent)
        assert (await verify(agent, level=Level.READ)).findings == []
        compared = await verify(agent, level=Level.HASH)
        assert compared.findings == []
        assert compared.compared == (len(manifest.objects) if kind in KEPT else 0)
        for how, level in LEVELS.items():
            faults = await damage(bucket, manifest, how)
            if level is Level.HASH:
                assert (await verify(agent, level=Level.SIZE)).intact, "a listing cannot see it"
            needs = level if kind in KEPT or level is Level.SIZE else Level.READ
            found = await verify(agent, level=needs)
            assert {one.object.removeprefix(PATH.root): one.fault for one in found.findings} == faults, how
            assert all(one.backups == ["t1"] and one.table for one in found.findings)
            read = await verify(agent, level=Level.READ)
            assert {one.object for one in read.findings} == {one.object for one in found.findings}, how
            healed = await verify(agent, level=needs, heal=True)
            assert healed.healed == len(faults)
            assert {one.healing for one in healed.findings} == {Healing.HEALED}, how
            assert (await verify(agent, level=Level.READ)).findings == [], how
        assert [upload async for upload in bucket.list_uploads("")] == []
    digest = catalog.digest(await read_all(bucket, PATH.manifest("t1"), 1 << 20))
    operation = await restored(bucket, digest, world.root / "target")
    assert operation.state is State.SUCCEEDED, operation.error
    assert live_files(world.root / "target" / "data") == expected(world)


@pytest.mark.parametrize("store", SERVERS, indirect=True)
async def test_what_is_on_no_disk_is_left_as_it_is(world: World, store: ObjectStore) -> None:
    bucket = on(world, store)
    verify = Verifications(world)
    async with world.agent() as agent:
        manifest = await complete(world, agent)
        key = bundle_of(manifest, "nb-1-big")
        await flip(bucket, key)
        before = await read_all(bucket, PATH.root + key, 1 << 20)
        for path in users(world).glob("nb-1-big-*"):
            path.unlink()
        result = await verify(agent, level=Level.READ, heal=True)
    assert [one.healing for one in result.findings] == [Healing.NOT_ON_DISK]
    assert await read_all(bucket, PATH.root + key, 1 << 20) == before
