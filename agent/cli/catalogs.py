"""What a bucket holds, found without a word of its names: clusters, nodes, the records and manifests of backups."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from agent import catalog, records
from agent.errors import AgentError, Reason
from backends.errors import StoreError
from backends.streams import closing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from agent.protocol import ClusterRecord
    from backends.base import ObjectStore


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
                    yield catalog.decode_record(data)
            except AgentError as error:
                yield Broken(meta.key, str(error.reason), error.message)
            except StoreError as error:
                if error.retryable:
                    raise
                yield Broken(meta.key, str(error.kind), error.message)


async def one_cluster(store: ObjectStore, named: str | None) -> str:
    """``named``, else the only one there is. BackupNotFound, or InvalidSpec where a choice is to be made."""
    if named is not None:
        return named
    found = await clusters(store)
    if not found:
        raise AgentError(Reason.BACKUP_NOT_FOUND, f"{store.name} has no backup of any cluster")
    if len(found) > 1:
        message = f"{store.name} has backups of several clusters, name one with --cluster: {', '.join(found)}"
        raise AgentError(Reason.INVALID_SPEC, message)
    return found[0]


async def one_record(store: ObjectStore, cluster: str | None, tag: str, datacenter: str | None) -> ClusterRecord:
    """BackupNotFound; InvalidSpec where the backup has several datacenters and none is named."""
    cluster = await one_cluster(store, cluster)
    found: list[ClusterRecord] = []
    async for record in find_records(store, cluster, tag):
        if isinstance(record, Broken):
            raise AgentError(Reason.MANIFEST_INVALID, f"{store.name}/{record.key}: {record.message}")
        if datacenter in {None, record.datacenter}:
            found.append(record)
    if not found:
        place = f"datacenter {datacenter} of the cluster {cluster}" if datacenter else f"the cluster {cluster}"
        raise AgentError(Reason.BACKUP_NOT_FOUND, f"{store.name} has no backup {tag} of {place}")
    if len(found) > 1:
        names = ", ".join(record.datacenter for record in found)
        message = f"the backup {tag} has several datacenters, name one with --datacenter: {names}"
        raise AgentError(Reason.INVALID_SPEC, message)
    return found[0]


async def _any(store: ObjectStore, prefix: str) -> bool:
    async with closing(store.list(prefix)) as listing:
        async for _ in listing:
            return True
    return False
