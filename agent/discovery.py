"""What a bucket holds, found without a word of its names: clusters, nodes, the records and manifests of backups."""

from __future__ import annotations

import heapq
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from agent import catalog, records
from agent.errors import AgentError, Reason
from agent.flow import each
from agent.protocol import BackupName, BackupNames, ClusterRecord
from backends.errors import NotFound, StoreError
from backends.streams import closing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from agent.protocol import RecordedNode
    from backends.base import ObjectStore

_LOOKERS = 16  # manifests that are looked for at once
_AGE = itemgetter(0, 1)


class Broken(NamedTuple):
    """A record that is there and cannot be used."""

    key: str
    reason: str
    message: str


async def segments(store: ObjectStore, prefix: str = "") -> AsyncIterator[str]:
    """The names right below ``prefix`` ("" or ending with ``/``), unescaped: one request each, whatever they hold."""
    after = ""
    while True:
        segment = None
        async with closing(store.list(prefix, start_after=after)) as listing:
            async for meta in listing:
                segment, separator, _ = meta.key.removeprefix(prefix).partition("/")
                if separator:
                    break
                segment = None
        if segment is None:
            return
        after = f"{prefix}{segment}0"  # the character after the slash: behind all of them
        try:
            yield catalog.unescape(segment)
        except ValueError:
            continue  # not ours


async def clusters(store: ObjectStore) -> list[str]:
    """Those with a backup."""
    return [name async for name in segments(store) if await _any(store, catalog.backups_prefix(name))]


async def nodes(store: ObjectStore, cluster: str, datacenter: str, tag: str) -> list[str]:
    """Those with a manifest of that tag."""
    prefix = f"{catalog.escape(cluster)}/{catalog.escape(datacenter)}/"
    return [
        name
        async for name in segments(store, prefix)
        if await _any(store, catalog.NodePath(cluster, datacenter, name).manifest(tag))
    ]


async def find_records(
    store: ObjectStore, cluster: str, tag: str | None = None
) -> AsyncIterator[ClusterRecord | Broken]:
    """Every record in order of tag; one that cannot be read hides no other."""
    async with closing(store.list(catalog.backups_prefix(cluster, tag))) as listing:
        async for meta in listing:
            if not meta.key.endswith(".json"):
                continue
            try:
                data = await records.find(store, meta.key)
                if data is not None:  # else deleted meanwhile
                    yield _placed(catalog.decode_record(data), meta.key)
            except AgentError as error:
                yield Broken(meta.key, str(error.reason), error.message)
            except StoreError as error:
                if error.retryable:
                    raise
                yield Broken(meta.key, str(error.kind), error.message)


async def find_tag(
    store: ObjectStore, tag: str, cluster: str | None = None, datacenter: str | None = None
) -> list[ClusterRecord]:
    """The records of one backup; without ``cluster`` of every cluster that has one of this tag, two requests each.

    Raises ManifestInvalid where one of them cannot be read: it may be the one that is meant.
    """
    if cluster is not None and datacenter is not None:
        only = await records.find_record(store, cluster, tag, datacenter)
        return [] if only is None else [_placed(only, catalog.record_key(cluster, tag, datacenter))]
    found = list[ClusterRecord]()
    for name in [name async for name in segments(store)] if cluster is None else [cluster]:
        async for record in find_records(store, name, tag):
            if isinstance(record, Broken):
                raise AgentError(Reason.MANIFEST_INVALID, f"{store.name}/{record.key}: {record.message}")
            if datacenter in {None, record.datacenter}:
                found.append(record)
    return found


async def find_names(store: ObjectStore, limit: int) -> BackupNames:
    """What every record is called, by its key alone: a page of the listing for each five hundred or so. Of more than
    ``limit`` the newest.
    """
    total, newest = 0, list[tuple[float, str, BackupName]]()
    async for cluster in segments(store):
        above = catalog.backups_prefix(cluster)
        async with closing(store.list(above)) as listing:
            async for meta in listing:
                if (name := _name(cluster, meta.key, above)) is None:
                    continue
                total += 1
                entry = (meta.modified, meta.key, name)
                if len(newest) < limit:
                    heapq.heappush(newest, entry)
                else:
                    heapq.heappushpop(newest, entry)
    return BackupNames(total=total, names=[name for *_, name in sorted(newest, key=_AGE, reverse=True)])


async def check_manifests(store: ObjectStore, record: ClusterRecord) -> None:
    """Every node's manifest is there, by one request a node; what is in it is seen by a restore. ManifestMissing."""

    async def check(node: RecordedNode) -> None:
        key = catalog.NodePath(record.cluster, record.datacenter, node.node).manifest(record.tag)
        try:
            await store.head(key)
        except NotFound as error:
            message = f"the backup has no manifest of {node.node}: {store.name}/{key} is not there"
            raise AgentError(Reason.MANIFEST_MISSING, message) from error

    await each(record.nodes, _LOOKERS, check)


def _placed(record: ClusterRecord, key: str) -> ClusterRecord:
    """A record is what its key says, or nobody's: whoever reads it goes on to the names that are in it."""
    if catalog.record_key(record.cluster, record.tag, record.datacenter) == key:
        return record
    said = f"the backup {record.tag} of {record.cluster}/{record.datacenter}"
    raise AgentError(Reason.MANIFEST_INVALID, f"{key} says that it is {said}")


def _name(cluster: str, key: str, above: str) -> BackupName | None:
    """None for a key that is no record's."""
    tag, _, file = key.removeprefix(above).partition("/")
    try:
        name = BackupName(
            cluster=cluster, datacenter=catalog.unescape(file.removesuffix(".json")), tag=catalog.unescape(tag)
        )
        return name if catalog.record_key(name.cluster, name.tag, name.datacenter) == key else None
    except (AgentError, ValueError):
        return None


async def _any(store: ObjectStore, prefix: str) -> bool:
    async with closing(store.list(prefix)) as listing:
        async for _ in listing:
            return True
    return False
