"""The ``forget`` operation: takes a backup out of the bucket. Its data goes by the collector's two cycles.

    nobody backs up under that tag ─> cluster record ─> each node's manifest ─> schema

The record goes first: from then on there is no backup, and none that is there lacks a manifest. Done again, it goes on
where it stopped: which nodes there are is seen in the bucket.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from agent import catalog, records
from agent.catalog import NodePath
from agent.errors import AgentError, Reason
from agent.lease import store_time
from agent.protocol import ForgetSpec, Forgotten, Kind, State
from agent.tasks import uses
from backends.errors import NotFound
from backends.streams import closing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from agent.job import Job
    from agent.operations import Operations
    from agent.stores import Opener
    from backends.base import ObjectStore

QUIET = 3600.0  # seconds without a heartbeat, or since a manifest, after which nothing runs or is just being committed


class ForgetHandler:
    """``result`` is a ``Forgotten``."""

    spec_type = ForgetSpec

    def __init__(self, open_store: Opener, operations: Callable[[], Operations]) -> None:
        self._open_store = open_store
        self._operations = operations

    def check(self, spec: ForgetSpec) -> None:
        catalog.record_key(spec.cluster, spec.tag, spec.datacenter)

    async def run(self, job: Job, spec: ForgetSpec) -> dict[str, Any]:
        await job.enter("Checking")
        if any(uses(other, spec.tag, Kind.BACKUP, Kind.COMMIT) for other in self._operations().unfinished()):
            raise _running(spec, "this agent")
        async with self._open_store(spec.location) as store:
            record = await records.find_record(store, spec.cluster, spec.tag, spec.datacenter)
            if record is not None and record.backup_id != spec.backup_id:
                message = (
                    f"the tag {spec.tag} in {store.name} is another backup's than {spec.backup_id}: that one stays"
                )
                raise AgentError(Reason.SNAPSHOT_TAG_EXISTS, message)
            nodes = [NodePath(spec.cluster, spec.datacenter, name) async for name in _nodes(store, spec)]
            now = await store_time(store, NodePath(spec.cluster, spec.datacenter, "_clock"))
            found = [await _look(store, path, spec, now, whole=record is not None) for path in nodes]
            await job.enter("Forgetting", files=len(nodes))
            if record is not None:
                await store.delete([catalog.record_key(spec.cluster, spec.tag, spec.datacenter)])
            count = 0
            for keys in found:
                if keys:
                    await store.delete(keys)
                    count += 1
                job.file_done()
            if record is not None or count:
                await store.delete([catalog.schema_key(spec.cluster, spec.tag, spec.datacenter)])
            left = [path.node for path in nodes if await _is_empty(store, path)]
            return dict(msgspec.to_builtins(Forgotten(manifests=count, empty=left)))

    async def finish(self, _job: Job, spec: ForgetSpec, state: State) -> None:
        pass


async def _nodes(store: ObjectStore, spec: ForgetSpec) -> AsyncIterator[str]:
    """Every node that ever wrote under the datacenter's path, one request each."""
    prefix = f"{catalog.escape(spec.cluster)}/{catalog.escape(spec.datacenter)}/"
    after = ""
    while True:
        async with closing(store.list(prefix, start_after=after)) as listing:
            key = await anext(aiter(listing), None)
        if key is None:
            return
        segment, slash, _ = key.key.removeprefix(prefix).partition("/")
        if slash:
            yield catalog.unescape(segment)
        after = f"{prefix}{segment}0" if slash else key.key  # "0" follows "/"


async def _look(store: ObjectStore, path: NodePath, spec: ForgetSpec, now: float, *, whole: bool) -> list[str]:
    """What is to go of one node: the manifest, if it is this backup's or nobody can tell whose, and pending records.

    BackupRunning when a try of the tag has no manifest and had a heartbeat lately, and when the manifest is so young
    that the cluster record (``whole``: it is there) may be on its way.
    """
    keys: list[str] = []
    committed, modified = await _manifest(store, path, spec)
    if committed == spec.backup_id:
        if not whole and now - modified < QUIET:
            raise _running(spec, path.node)
        keys.append(path.manifest(spec.tag))
    async with closing(store.list(path.pendings_of(spec.tag))) as listing:
        pendings = [meta async for meta in listing]
    for meta in pendings:
        if (backup_id := await _claimed(store, meta.key)) is None:
            continue
        if backup_id != committed and now - meta.modified < QUIET:
            raise _running(spec, path.node)
        if backup_id == spec.backup_id:
            keys.append(meta.key)
    return keys


async def _is_empty(store: ObjectStore, path: NodePath) -> bool:
    async with closing(store.list(path.manifests)) as listing:
        return await anext(aiter(listing), None) is None


async def _manifest(store: ObjectStore, path: NodePath, spec: ForgetSpec) -> tuple[str, float]:
    """(whose it is, since when), ("", 0) where there is none. One that cannot be read is taken for this backup's: no
    other one that is complete has the tag.
    """
    try:
        meta = await store.head(path.manifest(spec.tag))
    except NotFound:
        return "", 0.0
    if (data := await records.find(store, meta.key)) is None:
        return "", 0.0
    try:
        return await asyncio.to_thread(catalog.read_references, data, lambda _key: None), meta.modified
    except AgentError:
        return spec.backup_id, meta.modified


async def _claimed(store: ObjectStore, key: str) -> str | None:
    """Whose pending record it is; None for one that went, or cannot be read: the collector says what is wrong there."""
    if (data := await records.find(store, key)) is None:
        return None
    try:
        return (await asyncio.to_thread(catalog.decode_pending, data)).backup_id
    except AgentError:
        return None


def _running(spec: ForgetSpec, where: str) -> AgentError:
    message = (
        f"the backup {spec.tag} runs on {where}, or has just ended there: cancel it, or forget it an hour after its end"
    )
    return AgentError(Reason.BACKUP_RUNNING, message, retryable=True)
