"""The ``collect`` operation: frees the space of what no backup needs any more, over two cycles. agent.md §7.

    lease ─> evidence (evidence.py) ─> LIST ─> judge (collect.py) ─> list of candidates ─> delete ─> tidy

Every step may be the last one: a list that was written condemns and deletes nothing, and what a dead process left
undeleted is on that list for the next one. The list is in the bucket before the first delete, so that a backup which
begins from then on does not count on what goes.
"""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from agent import catalog, clock, evidence
from agent.candidates import read_lists
from agent.catalog import NodePath
from agent.collect import Lists, Sweep
from agent.errors import AgentError, Reason
from agent.lease import taken
from agent.protocol import CollectSpec, State
from agent.reservation import new_attempt
from backends.base import BytesBody
from backends.errors import StoreError
from backends.streams import closing

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.evidence import Evidence
    from agent.job import Job
    from agent.lease import Lease
    from agent.stores import Opener
    from agent.turns import Turns
    from backends.base import ObjectStore

_BATCH = 1_000  # keys of one request

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Cycle:
    """What was looked at, at the time ``now``, and what was found."""

    store: ObjectStore
    path: NodePath
    spec: CollectSpec
    now: float
    lists: Lists
    seen: Evidence
    found: Sweep


class CollectHandler:
    """``holder`` names this agent. A dry run has no lease and no store's clock: it takes this machine's."""

    spec_type = CollectSpec

    def __init__(
        self,
        open_store: Opener,
        turns: Turns,
        *,
        holder: str = "",
        least_grace: int = 3600,
        now: Callable[[], float] = clock.wall,
        elapsed: Callable[[], float] = clock.elapsed,
        name: Callable[[], str] = new_attempt,
    ) -> None:
        self._open_store = open_store
        self._turns = turns
        self._holder = holder
        self._least_grace = least_grace
        self._now = now
        self._elapsed = elapsed
        self._name = name  # of a cycle's list, after its time

    def check(self, spec: CollectSpec) -> None:
        for name in (spec.cluster, spec.datacenter, spec.node):
            catalog.escape(name)
        for epoch in spec.ended:
            catalog.check_epoch(epoch)
        if spec.grace < self._least_grace or not 0 < spec.limit <= 1 or spec.expected < 0:
            least = self._least_grace
            message = f"grace must be {least} seconds or more, limit more than 0 and at most 1, expected 0 or more"
            raise AgentError(Reason.INVALID_SPEC, message)

    async def run(self, job: Job, spec: CollectSpec) -> dict[str, Any]:
        await job.enter("Waiting")
        path = NodePath(spec.cluster, spec.datacenter, spec.node)
        async with self._turns.collecting(path), self._open_store(spec.location) as store:
            if spec.dry_run:
                cycle = await _look(job, store, path, spec, now=self._now())
                result, delete = cycle.found.result, cycle.found.delete
                result.deleted, result.deleted_bytes = delete.count, delete.size
                result.uploads = len(await _stale(cycle))
                return _result(cycle)
            async with taken(store, path, f"{self._holder}/{job.id}", elapsed=self._elapsed) as lease:
                cycle = await _look(job, store, path, spec, now=lease.now)
                await _condemn(cycle, self._name())
                await _delete(job, cycle, lease)
                await _tidy(cycle, lease)
                return _result(cycle)

    async def finish(self, _job: Job, spec: CollectSpec, state: State) -> None:
        pass


async def _look(job: Job, store: ObjectStore, path: NodePath, spec: CollectSpec, *, now: float) -> _Cycle:
    """Reads only."""
    await job.enter("Reading")
    lists = await asyncio.to_thread(Lists.of, await read_lists(store, path), now, spec.grace)
    seen = await evidence.gather(store, path, spec, now)
    await job.enter("Listing")
    found = Sweep(spec, seen.needed, lists, now, clock.now())
    async with closing(store.list(path.root)) as listing:
        async for meta in listing:
            found.see(meta.key.removeprefix(path.root), meta.size, meta.modified)
    found.judge()
    await asyncio.to_thread(found.done)
    return _Cycle(store, path, spec, now, lists, seen, found)


async def _condemn(cycle: _Cycle, name: str) -> None:
    """Writes this cycle's list, unless the last one is younger than the grace. An empty one overtakes its elders."""
    if cycle.lists.newest is not None or not (cycle.found.candidates.count or cycle.lists.base):
        return
    at = datetime.fromtimestamp(cycle.now, UTC).strftime("%Y%m%dT%H%M%SZ")
    cycle.found.result.cycle = f"{at}-{name}"
    await cycle.store.put(cycle.path.candidates(f"{at}-{name}"), BytesBody(cycle.found.candidates.data))


async def _delete(job: Job, cycle: _Cycle, lease: Lease) -> None:
    """In batches, each only while the lease is ours: who was stopped for long must look anew."""
    result, delete = cycle.found.result, cycle.found.delete
    await job.enter("Deleting", files=delete.count, size=delete.size)
    remaining = iter(delete)
    while batch := await asyncio.to_thread(lambda: list(itertools.islice(remaining, _BATCH))):
        if not await lease.held():
            break
        await cycle.store.delete([cycle.path.root + key for key in batch])
        size = sum(catalog.size_in(catalog.split_key(key)[0]) for key in batch)
        result.deleted += len(batch)
        result.deleted_bytes += size
        job.file_done(len(batch))
        job.count(size)
    result.left = delete.count - result.deleted


async def _tidy(cycle: _Cycle, lease: Lease) -> None:
    """What costs space or time and nobody needs. A failure is no reason to fail: the next cycle comes."""
    try:
        for key, upload in await _stale(cycle):
            await cycle.store.abort_upload(key, upload)
            cycle.found.result.uploads += 1
        gone = [one.key for one in cycle.lists.old]
        gone += [one.key for one in cycle.seen.claims if one.over(cycle.seen.committed, cycle.spec, cycle.now)]
        if gone and await lease.held():
            await cycle.store.delete(gone)
    except StoreError as error:
        log.warning("a collector did not tidy up", node=cycle.path.node, error=str(error))


async def _stale(cycle: _Cycle) -> list[tuple[str, str]]:
    """Uploads in parts that were begun longer than the grace ago, by no backup that still runs."""
    stale = []
    try:
        async with closing(cycle.store.list_uploads(cycle.path.root)) as uploads:
            async for upload in uploads:
                epoch = catalog.split_key(upload.key.removeprefix(cycle.path.root))[1]
                old = upload.started and cycle.now - upload.started > cycle.spec.grace
                if epoch and old and not cycle.found.owned(epoch):
                    stale.append((upload.key, upload.id))
    except StoreError as error:
        log.warning("uploads in parts cannot be listed", node=cycle.path.node, error=str(error))
    return stale


def _result(cycle: _Cycle) -> dict[str, Any]:
    return dict(msgspec.to_builtins(cycle.found.result))
