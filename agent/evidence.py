"""What a collector reads before it looks at the data, in the order that makes its answer safe: agent.md §7, rule 2.

    lists of candidates ─> pending records ─> cluster records ─> manifests ─> (LIST data)

A backup puts its pending record before it reads the lists, and takes it away after its manifest is there. So for each
that could need a candidate of ours, one of the two is seen here.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from agent import catalog, records
from agent.catalog import MAX_OBJECT
from agent.claims import Claim, Needed
from agent.errors import AgentError, Reason
from backends.errors import NotFound
from backends.helpers import read_all
from backends.streams import closing

if TYPE_CHECKING:
    from agent.catalog import NodePath
    from agent.protocol import ClusterRecord, CollectSpec
    from backends.base import ObjectMeta, ObjectStore


class Evidence(NamedTuple):
    """``claims`` are all pending records; ``committed`` the backups that have a manifest here."""

    needed: Needed
    claims: list[Claim]
    committed: set[str]


async def gather(store: ObjectStore, path: NodePath, spec: CollectSpec, now: float) -> Evidence:
    """CollectRefused for anything that cannot be read, CollectBlocked by a backup that has just begun."""
    claims = await _claims(store, path)
    recorded = await _recorded(store, path)
    needed = Needed()
    committed: set[str] = set()
    digests: dict[str, str] = {}  # by key
    for meta in await _metas(store, path.manifests):
        if (data := await _get(store, meta.key)) is not None:
            committed.add(await asyncio.to_thread(_manifest, store.name, meta.key, data, needed))
            digests[meta.key] = catalog.digest(data)
    for tag, (backup_id, digest) in recorded.items():
        if digests.get(path.manifest(tag)) != digest:
            await _check_gone(store, path, tag, backup_id)
    needed.claim(claims, committed, spec, now)
    await asyncio.to_thread(needed.live.settle)
    return Evidence(needed, claims, committed)


async def _claims(store: ObjectStore, path: NodePath) -> list[Claim]:
    found = []
    for meta in await _metas(store, path.pendings):
        if (data := await _get(store, meta.key)) is None:
            continue  # its manifest is there by now, or it failed
        try:
            pending = await asyncio.to_thread(catalog.decode_pending, data)
        except AgentError as error:
            raise _unreadable(store.name, meta.key, error, "delete it if no backup runs") from error
        found.append(await asyncio.to_thread(Claim.of, meta.key, meta.modified, pending))
    return found


async def _recorded(store: ObjectStore, path: NodePath) -> dict[str, tuple[str, str]]:
    """Tag -> (backup, digest of this node's manifest), of every complete backup that has this node."""
    prefix = catalog.backups_prefix(path.cluster)
    found = {}
    for meta in await _metas(store, prefix):
        if not meta.key.endswith(f"/{catalog.escape(path.datacenter)}.json"):
            continue
        if (data := await _get(store, meta.key)) is None:
            continue
        try:
            record = catalog.decode_record(data)
        except AgentError as error:
            raise _unreadable(store.name, meta.key, error, "delete it if that backup is lost") from error
        if (digest := _digest_of(record, path)) is not None:
            found[record.tag] = (record.backup_id, digest)
    return found


async def _check_gone(store: ObjectStore, path: NodePath, tag: str, backup_id: str) -> None:
    """A backup whose manifest is not there is being forgotten; else somebody took what tells which data it needs."""
    record = await records.find_record(store, path.cluster, tag, path.datacenter)
    if record is None or record.backup_id != backup_id:
        return
    message = (
        f"the backup {tag} is complete, but its manifest of {path.node}, {store.name}/{path.manifest(tag)}, is not the"
        " one that it recorded: nothing was deleted; bring the manifest back, or forget the backup"
    )
    raise AgentError(Reason.COLLECT_REFUSED, message)


def _manifest(store: str, key: str, data: bytes, needed: Needed) -> str:
    """The backup that it is of."""
    try:
        backup_id = catalog.read_references(data, needed.live.add)
    except AgentError as error:
        raise _unreadable(store, key, error, "bring it back, or forget its backup") from error
    needed.live.settle()  # most backups name the same objects
    return backup_id


def _digest_of(record: ClusterRecord, path: NodePath) -> str | None:
    return next((node.digest for node in record.nodes if node.node == path.node), None)


def _unreadable(store: str, key: str, error: AgentError, what: str) -> AgentError:
    message = f"{store}/{key} cannot be read, so what it needs is not known: nothing was deleted; {what}"
    return AgentError(Reason.COLLECT_REFUSED, f"{message} ({error.message})")


async def _metas(store: ObjectStore, prefix: str) -> list[ObjectMeta]:
    async with closing(store.list(prefix)) as listing:
        return [meta async for meta in listing]


async def _get(store: ObjectStore, key: str) -> bytes | None:
    try:
        return await read_all(store, key, MAX_OBJECT)
    except NotFound:
        return None
