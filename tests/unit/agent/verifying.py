"""A node's backups, complete, what is done to them, and what a verification says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from agent import catalog, records
from agent.protocol import CommitSpec, Kind, State, Verified
from backends.base import BytesBody
from backends.helpers import read_all
from tests.fakes.sstables import write_sstable
from tests.unit.agent.backups import PATH
from tests.unit.agent.conftest import LOCATION, digest_of

if TYPE_CHECKING:
    from pathlib import Path

    from agent.catalog import Manifest
    from agent.protocol import Operation
    from agent.serve import Agent
    from backends.base import ObjectStore
    from tests.unit.agent.conftest import World

NODE = {"location": LOCATION, "cluster": "my cluster", "datacenter": "dc1", "node": "c-0"}
LARGE = "nb-9-big"
LARGE_DATA = f"{LARGE}-Data.db"


def users(world: World) -> Path:
    """The directory of a table that has bundles, and a Data.db of its own object."""
    return world.data.data_dirs[0] / world.data.tables[0]


async def complete(world: World, agent: Agent, tag: str = "t1", number: int = 1) -> Manifest:
    """A backup with its cluster record."""
    if not (users(world) / LARGE_DATA).exists():
        write_sstable(users(world), LARGE, size=(2 << 20) + 5)
    done = await world.back_up(agent, tag, epoch=f"e{number}", backup_id=f"uid-{number}")
    assert done.state is State.SUCCEEDED, done.error
    spec = CommitSpec(
        location=LOCATION, cluster="my cluster", datacenter="dc1", tag=tag, backup_id=f"uid-{number}",
        nodes=[digest_of(done)],
    )  # fmt: skip
    committed = await world.do(agent, f"c-{tag}", Kind.COMMIT, spec)
    assert committed.state is State.SUCCEEDED, committed.error
    found = await records.find_manifest(world.memory, PATH, tag)
    assert found is not None
    return found[0]


class Verifications:
    """Each under an id of its own."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.count = 0

    async def operation(self, agent: Agent, **more: Any) -> Operation:
        self.count += 1
        return await self.world.do(agent, f"v-{self.count}", Kind.VERIFY, NODE | more)

    async def __call__(self, agent: Agent, **more: Any) -> Verified:
        """Of one that comes to its end."""
        operation = await self.operation(agent, **more)
        assert operation.state is State.SUCCEEDED, operation.error
        return msgspec.convert(operation.result, Verified)


def bundle_of(manifest: Manifest, sstable: str, table: str = "users") -> str:
    """The key of the SSTable's small components."""
    return next(
        stored.key for stored in manifest.objects if f"/{sstable}/b~" in stored.key and f"/{table}-" in stored.key
    )


def data_of(manifest: Manifest, sstable: str = LARGE) -> str:
    """The key of the SSTable's own Data.db."""
    return next(stored.key for stored in manifest.objects if f"/{sstable}/Data.db~" in stored.key)


async def flip(store: ObjectStore, key: str, at: int = 3, *, root: str = PATH.root) -> None:
    """One bit, as a bad disk would."""
    data = bytearray(await read_all(store, root + key, 64 << 20))
    data[at] ^= 1
    await store.put(root + key, BytesBody(bytes(data)))


async def cut(store: ObjectStore, key: str, *, root: str = PATH.root) -> None:
    data = await read_all(store, root + key, 64 << 20)
    await store.put(root + key, BytesBody(data[:-1]))


def file_names(manifest: Manifest, key: str) -> set[str]:
    """Of all that lies in the object."""
    return {
        catalog.file_name(sstable.name, component.name)
        for table in manifest.tables
        for sstable in table.sstables
        for component in sstable.components
        if component.size and manifest.objects[component.object].key == key
    }
