"""From a node's disk into a bucket and onto another disk: with bundles, and from before there were any."""

from __future__ import annotations

import random
import zlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from agent import catalog
from agent.catalog import Component, Manifest, SSTable, StoredObject, Table
from agent.coding import Coding
from agent.journal import Journal
from agent.operations import Operations
from agent.protocol import Kind, Operation, RestorePlan, State
from agent.restore import RestoreHandler
from backends.base import BytesBody
from backends.checksums import crc32c
from backends.prefix import PrefixStore
from tests.contract.conftest import aws, bucket, minio
from tests.fakes.faulty_store import FaultyStore
from tests.fakes.sstables import live_files, table_id, write_sstable
from tests.unit.agent.backups import PATH, SECOND
from tests.unit.agent.conftest import LOCATION, digest_of, request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from agent.coding import Codings
    from backends.base import ObjectStore
    from backends.s3 import S3Store
    from tests.unit.agent.conftest import World

__all__ = ["aws", "bucket", "minio"]

RESTORED = ("app/", "system_schema/", "system_auth/")


async def restored(
    store: ObjectStore, digest: str, target: Path, tag: str = "t1", *, codings: Codings = Coding
) -> Operation:
    """Into ``target/data``."""

    @asynccontextmanager
    async def opened(_location: Any) -> AsyncIterator[ObjectStore]:
        yield store

    async def at_once(_seconds: float) -> None:
        pass

    handler = RestoreHandler(opened, (target / "data",), target / "state", sleep=at_once, codings=codings)
    operations = Operations(Journal(target / "state" / "operations"), {Kind.RESTORE: handler})
    await operations.load(resume=False)
    plan = RestorePlan(
        restore_id="rid", location=LOCATION, cluster=PATH.cluster, datacenter=PATH.datacenter, node=PATH.node, tag=tag,
        digest=digest,
    )  # fmt: skip
    await operations.put("r", request(Kind.RESTORE, plan))
    await operations.over("r")
    await operations.stop()
    return operations.get("r")


def expected(world: World) -> dict[str, bytes]:
    return {name: data for name, data in live_files(world.data.data_dirs[0]).items() if name.startswith(RESTORED)}


def grow(world: World) -> None:
    """A Data.db of three parts, one of one PUT, a large Index, and components at both sides of the bound."""
    users = world.data.data_dirs[0] / world.data.tables[0]
    write_sstable(users, "nb-8-big", size=(33 << 20) + 5)
    write_sstable(users, "nb-9-big", size=2 << 20)
    chance = random.Random(1)
    (users / "nb-8-big-Index.db").write_bytes(chance.randbytes((1 << 20) + 1))
    (users / "nb-8-big-Filter.db").write_bytes(chance.randbytes(1 << 20))
    (users / "nb-8-big-Summary.db").write_bytes(chance.randbytes((1 << 20) - 1))


@pytest.mark.slow
async def test_a_real_store_gives_every_byte_back(world: World, bucket: S3Store) -> None:
    grow(world)
    prefixed = PrefixStore(bucket, "some/where")
    store = world.store = FaultyStore(prefixed)  # counts
    async with world.agent() as agent:
        first = await world.back_up(agent)
        assert first.state is State.SUCCEEDED, first.error
        assert (store.calls["create_upload"], store.calls["upload_part"]) == (1, 3)
        write_sstable(world.data.data_dirs[0] / world.data.tables[0], "nb-7-big", size=3000)
        store.calls.clear()
        second = await world.back_up(agent, "t2", **SECOND)
        assert second.state is State.SUCCEEDED, second.error
        assert store.calls["put"] == 5  # pending three times, one bundle, the manifest
    operation = await restored(prefixed, digest_of(second).digest, world.root / "target", "t2")
    assert operation.state is State.SUCCEEDED, operation.error
    assert live_files(world.root / "target" / "data") == expected(world)


async def test_a_damaged_bundle_is_noticed(world: World) -> None:
    async with world.agent() as agent:
        operation = await world.back_up(agent)
    key = next(key for key in await world.keys() if "/app/" in key and "/b~" in key)
    size = (await world.memory.head(key)).size
    await world.memory.put(key, BytesBody(bytes(size)))
    failed = await restored(world.memory, digest_of(operation).digest, world.root / "target")
    assert failed.error is not None
    assert failed.error.reason == "Corrupt"


FIRST_FORMAT = {
    "Data.db": b"d" * 3000,
    "Index.db": b"i" * 70,
    "Statistics.db": b"s" * 80,
    "Rows.db": b"",
    "Digest.crc32": str(zlib.crc32(b"d" * 3000)).encode(),
    "TOC.txt": b"Data.db\nIndex.db\nStatistics.db\nRows.db\nDigest.crc32\nTOC.txt\n",
}


async def test_a_backup_of_the_first_format_is_still_restored(world: World) -> None:
    """One object a component: written by hand, as the agent wrote them before there were bundles."""
    directory = f"h/data/app/users-{table_id(1)}/nb-1-big"
    components, objects = [], []
    for name, data in sorted(FIRST_FORMAT.items()):
        if not data:
            components.append(Component(name, 0))
            continue
        crc = zlib.crc32(data) if name == "Data.db" else crc32c(data)
        key = f"{directory}/{name}~{len(data)}-{crc:08x}-e0"
        components.append(Component(name, len(data), crc, len(objects)))
        objects.append(StoredObject(key, len(data)))
        await world.memory.put(PATH.root + key, BytesBody(data))
    manifest = Manifest(
        format=1, agent_version="0.1.0", backup_id="uid-0", tag="t1", cluster=PATH.cluster, datacenter=PATH.datacenter,
        rack="r1", node=PATH.node, host_id="h", tokens=["1", "2"], started="", finished="", objects=objects,
        tables=[Table(keyspace="app", name="users", id=table_id(1), sstables=[SSTable("nb-1-big", components)])],
    )  # fmt: skip
    data = catalog.encode(manifest)
    assert catalog.decode_manifest(data) == manifest
    await world.memory.put(PATH.manifest("t1"), BytesBody(data))
    operation = await restored(world.memory, catalog.digest(data), world.root / "target")
    assert operation.state is State.SUCCEEDED, operation.error
    found = live_files(world.root / "target" / "data")
    assert found == {f"app/users-{table_id(1)}/nb-1-big-{name}": data for name, data in FIRST_FORMAT.items()}
