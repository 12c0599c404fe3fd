"""What a backup would send, found out without writing anything, neither to the bucket nor to the disk."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from agent import catalog, integrity, records, sstables
from agent.catalog import NodePath
from agent.cli import live
from agent.errors import AgentError, Reason
from agent.plan import Plan
from agent.protocol import Wire
from backends.streams import closing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.cache import Known
    from agent.cli.node import Node
    from agent.coding import Coding
    from agent.protocol import Location
    from agent.sstables import Snapshot
    from agent.stores import Opener


class Planned(Wire, omit_defaults=False):
    """Components and their bytes."""

    send_files: int
    send_bytes: int
    reuse_files: int
    reuse_bytes: int
    dropped_sstables: int = 0


async def plan(
    open_store: Opener,
    location: Location,
    node: Node,
    tag: str,
    *,
    snapshot: str | None,
    full: bool,
    coding: Coding,
    entities: Sequence[str] = (),
) -> Planned:
    """Of ``snapshot``, else of what the tables have now. SnapshotTagExists when the backup could not be made."""
    path = NodePath(node.cluster, node.datacenter, node.name)
    async with open_store(location) as store:
        if await records.find_record(store, node.cluster, tag, node.datacenter) is not None:
            message = f"{store.name} has a backup {tag} of {node.datacenter} already: give another --tag"
            raise AgentError(Reason.SNAPSHOT_TAG_EXISTS, message)
        if snapshot is None:
            scanned = await asyncio.to_thread(live.scan, node.data_dirs, entities)
        else:
            scanned = await asyncio.to_thread(sstables.scan, node.data_dirs, snapshot)
        known = await asyncio.to_thread(node.snapshots.checksums.load)
        found = await asyncio.to_thread(_fill, scanned, node.facts.host_id, known, full=full, coding=coding)
        async with closing(store.list(path.root + catalog.data_prefix(node.facts.host_id))) as listing:
            async for meta in listing:
                found.see(meta.key.removeprefix(path.root), meta.size)
    send, reuse = await asyncio.to_thread(found.settle)
    return Planned(
        send_files=sum(item.count for item in send), send_bytes=sum(item.size for item in send),
        reuse_files=reuse.files, reuse_bytes=reuse.size,
        dropped_sstables=scanned.dropped,
    )  # fmt: skip


def _fill(snapshot: Snapshot, host_id: str, known: Known, *, full: bool, coding: Coding) -> Plan:
    if not any(table.sstables for table in snapshot.tables):
        message = "there is no SSTable at all: this is no running node's data"
        raise AgentError(Reason.NOTHING_TO_BACK_UP, message)
    found = Plan(host_id, "none", full=full, coding=coding)
    for table in snapshot.tables:
        for sstable in table.sstables.values():
            try:
                crcs = integrity.identities(sstable, known)
            except AgentError as error:
                if error.reason != Reason.SNAPSHOT_GONE:
                    raise
                continue  # compacted away while we looked
            found.add(table, sstable, crcs)
    return found
