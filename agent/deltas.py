"""What older bundles hold: their names are hashes, so the node's newest readable manifest has to tell.

It is asked only where a bundle is missing and others of its SSTable are there. It may lie after somebody deleted
objects: the listing says which of them are there. Without it whole bundles are sent, which costs bytes alone.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from agent import catalog, records
from agent.errors import AgentError
from backends.errors import StoreError
from backends.streams import closing

if TYPE_CHECKING:
    from agent.catalog import NodePath, Table
    from agent.plan import Plan
    from backends.base import ObjectMeta, ObjectStore

_TRIES = 3  # manifests that are looked at until one can be read

log = structlog.get_logger(__name__)


async def learn(store: ObjectStore, path: NodePath, host_id: str, plan: Plan) -> None:
    """Lays SSTables out over older bundles where they can be. A plan that lacks nothing asks nothing."""
    if not await asyncio.to_thread(plan.lacking):
        return
    try:
        for meta in await _newest(store, path):
            data = await records.find(store, meta.key)
            if data is not None and await asyncio.to_thread(_read, meta.key, data, host_id, plan):
                return
    except StoreError as error:
        log.warning("no older manifest can be read: changed SSTables' bundles are sent whole", error=str(error))


async def _newest(store: ObjectStore, path: NodePath) -> list[ObjectMeta]:
    async with closing(store.list(f"{path.root}manifests/")) as found:
        manifests = [meta async for meta in found]
    return sorted(manifests, key=lambda meta: (-meta.modified, meta.key))[:_TRIES]


def _read(key: str, data: bytes, host_id: str, plan: Plan) -> bool:
    """Blocks. False for a manifest that cannot be read."""

    def wants(table: Table, sstable: str) -> bool:
        return plan.wants(catalog.table_prefix(host_id, table.path), sstable)

    try:
        found = catalog.find_sstables(data, wants)
    except AgentError as error:
        log.warning("an older manifest is passed over", key=key, error=error.message)
        return False
    for table, sstable, keys in found:
        plan.learn(catalog.table_prefix(host_id, table.path), sstable, keys)
    return True
