"""What a backup left in the bucket, read as a restore would, and restored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent import catalog, records, volume
from agent.catalog import NodePath
from agent.journal import Journal
from agent.operations import Operations
from agent.protocol import Kind, RestorePlan, State
from agent.restore import RestoreHandler
from agent.sstables import SKIPPED
from backends.helpers import read_all
from tests.fakes.sstables import live_files
from tests.unit.agent.conftest import LOCATION, digest_of, request

if TYPE_CHECKING:
    from pathlib import Path

    from agent.catalog import Manifest
    from agent.protocol import Operation
    from backends.base import ObjectStore
    from tests.unit.agent.conftest import World

PATH = NodePath("my cluster", "dc1", "c-0")
SECOND = {"epoch": "e2", "backup_id": "uid-2"}  # of the backup after the first one


async def manifest_of(world: World, operation: Operation, tag: str = "t1") -> Manifest:
    """Of a backup that went well."""
    assert operation.state is State.SUCCEEDED, operation.error
    return await records.read_manifest(world.memory, PATH, tag, digest_of(operation).digest)


async def content(store: ObjectStore, manifest: Manifest) -> dict[str, bytes]:
    """Path below the data directory -> bytes."""
    objects = [await read_all(store, PATH.root + stored.key, 64 << 20) for stored in manifest.objects]
    found = {}
    for table in manifest.tables:
        for sstable in table.sstables:
            for component in sstable.components:
                name = f"{table.path.relative}/{catalog.file_name(sstable.name, component.name)}"
                whole = objects[component.object] if component.size else b""
                found[name] = whole[component.offset : component.offset + component.size]
    return found


def expected(world: World) -> dict[str, bytes]:
    files = live_files(world.data.data_dirs[0])
    return {name: data for name, data in files.items() if name.partition("/")[0] not in SKIPPED}


def components(world: World) -> int:
    """With bytes."""
    return sum(bool(data) for data in expected(world).values())


async def restore(world: World, backup: Operation, data_dirs: tuple[Path, ...]) -> volume.Restored:
    """Into these directories, which have one parent; what the node's configuration is told of it."""
    state = data_dirs[0].parent / ".agent"
    plan = RestorePlan(
        restore_id="rid", location=LOCATION, cluster=PATH.cluster, datacenter=PATH.datacenter, node=PATH.node, tag="t1",
        digest=digest_of(backup).digest,
    )  # fmt: skip
    operations = Operations(
        Journal(state / "operations"), {Kind.RESTORE: RestoreHandler(world.open_store, data_dirs, state)}
    )
    await operations.load(resume=False)
    await operations.put("r", request(Kind.RESTORE, plan))
    await operations.over("r")
    assert operations.get("r").state is State.SUCCEEDED, operations.get("r").error
    await operations.stop()
    found = volume.read_restored(state)
    assert found is not None
    return found
