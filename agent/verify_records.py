"""Which backups of a node are complete, by their cluster records."""

from __future__ import annotations

import asyncio
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from agent import catalog, records
from agent.errors import AgentError
from agent.protocol import Fault
from backends.streams import closing

if TYPE_CHECKING:
    from agent.protocol import ClusterRecord, VerifySpec
    from backends.base import ObjectStore


class Lost(NamedTuple):
    """A record or a manifest that cannot be used."""

    tag: str
    key: str
    fault: Fault
    detail: str


async def complete(store: ObjectStore, spec: VerifySpec) -> tuple[dict[str, str], list[Lost]]:
    """(tag -> digest of the node's manifest, the newest first; records that cannot be used)."""
    found: list[ClusterRecord] = []
    lost: list[Lost] = []
    for tag, key in await record_keys(store, spec):
        data = await records.find(store, key)
        if data is None:
            continue  # deleted since
        try:
            record = await asyncio.to_thread(catalog.decode_record, data)
        except AgentError as error:
            lost.append(Lost(tag, key, Fault.RECORD_INVALID, error.message))
            continue
        if (record.tag, record.datacenter) != (tag, spec.datacenter):
            detail = f"it is the record of the backup {record.tag} of {record.datacenter}"
            lost.append(Lost(tag, key, Fault.RECORD_INVALID, detail))
        else:
            found.append(record)
    found.sort(key=attrgetter("created_at", "tag"), reverse=True)
    return {one.tag: node.digest for one in found for node in one.nodes if node.node == spec.node}, lost


async def record_keys(store: ObjectStore, spec: VerifySpec) -> list[tuple[str, str]]:
    """(tag, key) of the datacenter's records, as they are listed now."""
    above = catalog.backups_prefix(spec.cluster)
    found = []
    async with closing(store.list(catalog.backups_prefix(spec.cluster, spec.tag or None))) as listing:
        async for meta in listing:
            try:
                tag = catalog.check_tag(catalog.unescape(meta.key.removeprefix(above).partition("/")[0]))
            except (AgentError, ValueError):
                continue  # nothing that we wrote
            if meta.key == catalog.record_key(spec.cluster, tag, spec.datacenter):
                found.append((tag, meta.key))
    return found
