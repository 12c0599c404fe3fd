"""Manifests and records in a bucket: read with a cap, written once and never over another's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import structlog

from agent import catalog
from agent.catalog import MAX_OBJECT, Manifest, NodePath, Owner
from agent.errors import AgentError, Reason
from backends.base import BytesBody
from backends.errors import AlreadyExists, NotFound
from backends.helpers import read_all

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from agent.protocol import BackupSpec, ClusterRecord
    from backends.base import ObjectStore

log = structlog.get_logger(__name__)


async def find(store: ObjectStore, key: str, limit: int = MAX_OBJECT) -> bytes | None:
    try:
        return await read_all(store, key, limit)
    except NotFound:
        return None


async def write_once(store: ObjectStore, key: str, data: bytes) -> bytes:
    """What is under ``key`` now: ``data``, or what another writer put there before."""
    try:
        await store.put(key, BytesBody(data), if_absent=True)
    except AlreadyExists:
        return await read_all(store, key, MAX_OBJECT)
    return data


async def find_manifest(store: ObjectStore, path: NodePath, tag: str) -> tuple[Manifest, str] | None:
    """(manifest, sha256 of the object)."""
    data = await find(store, path.manifest(tag))
    if data is None:
        return None
    return await asyncio.to_thread(catalog.decode_manifest, data), catalog.digest(data)


async def find_own_manifest(store: ObjectStore, path: NodePath, spec: BackupSpec) -> tuple[Manifest, str] | None:
    """The manifest that an earlier try of this backup committed. Another backup's is SnapshotTagExists, unless that one
    never got its cluster record: it failed, nothing can be restored from it, and its manifest makes way.
    """
    found = await find_manifest(store, path, spec.tag)
    if found is None or found[0].backup_id == spec.backup_id:
        return found
    if await find_record(store, spec.cluster, spec.tag, spec.datacenter) is not None:
        check_same(found[0].backup_id, spec.backup_id, spec.tag, store.name)
    log.warning("the manifest of a backup that was never completed makes way", key=path.manifest(spec.tag))
    await store.delete([path.manifest(spec.tag)])
    return None


async def read_committed(store: ObjectStore, path: NodePath, tag: str, digest: str) -> bytes:
    """The manifest's object, which has this digest: ManifestMissing or ManifestChanged when it has not."""
    data = await find(store, path.manifest(tag))
    if data is None:
        message = f"the backup has no manifest of {path.node}: {store.name}/{path.manifest(tag)} is not there"
        raise AgentError(Reason.MANIFEST_MISSING, message)
    if catalog.digest(data) != digest:
        message = f"the manifest of {path.node} in {store.name} is not the one that the backup recorded"
        raise AgentError(Reason.MANIFEST_CHANGED, message)
    return data


async def read_manifest(store: ObjectStore, path: NodePath, tag: str, digest: str) -> Manifest:
    """As :func:`read_committed`; ManifestInvalid when its names or sizes are odd."""
    data = await read_committed(store, path, tag, digest)
    return await asyncio.to_thread(catalog.decode_manifest, data)


async def write_manifest(store: ObjectStore, path: NodePath, manifest: Manifest) -> tuple[Manifest, str]:
    """The node's commit point: ours, or the one that an earlier try of this backup wrote. Else SnapshotTagExists."""
    data = await asyncio.to_thread(catalog.encode, manifest)
    there = await write_once(store, path.manifest(manifest.tag), data)
    if there is data:
        return manifest, catalog.digest(data)
    found = await asyncio.to_thread(catalog.decode_manifest, there)
    check_same(found.backup_id, manifest.backup_id, manifest.tag, store.name)
    return found, catalog.digest(there)


def check_same(found: str, ours: str, tag: str, store: str) -> None:
    """A tag belongs to the backup that wrote it first."""
    if found != ours:
        message = f"{store} holds another backup with the tag {tag}: name this one differently, or delete that one"
        raise AgentError(Reason.SNAPSHOT_TAG_EXISTS, message)


async def claim(store: ObjectStore, path: NodePath, owner: Owner) -> Owner:
    """Who writes under this path: the first one who said so."""
    there = await write_once(store, path.owner(), msgspec.json.encode(owner))
    try:
        return msgspec.json.decode(there, type=Owner)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Owner(owner="unknown")


async def find_record(store: ObjectStore, cluster: str, tag: str, datacenter: str) -> ClusterRecord | None:
    data = await find(store, catalog.record_key(cluster, tag, datacenter))
    return None if data is None else catalog.decode_record(data)


async def records(store: ObjectStore, cluster: str, tag: str | None = None) -> AsyncIterator[ClusterRecord]:
    """Every cluster record, in order of tag. One that cannot be read must not hide the others."""
    async for meta in store.list(catalog.backups_prefix(cluster, tag)):
        if meta.key.endswith(".json") and (data := await find(store, meta.key)) is not None:
            try:
                record = catalog.decode_record(data)
            except AgentError as error:
                log.warning("a cluster record is skipped", key=meta.key, error=error.message)
                continue
            yield record
