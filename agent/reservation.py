"""What a running backup has in the bucket so that no collector takes what it needs: agent.md §7, rules 1 and 4.

    start marker ─> lists of candidates ─> LIST, plan ─> pin what is reused ─> send ─> renew ─> LIST, heal ─> commit

Whoever sweeps reads the lists first and the pending records after them. So a sweep whose list we did not see does see
our record, and what is on a list that we saw, we do not reuse: neither clocks nor locks are needed for that.
"""

from __future__ import annotations

import asyncio
import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec
import structlog

from agent import catalog, clock
from agent.candidates import Condemned, read_lists
from agent.catalog import FORMAT, NodePath, Pending
from backends.base import BytesBody
from backends.errors import StoreError
from backends.streams import closing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from agent.protocol import BackupSpec
    from backends.base import ObjectStore

HEARTBEAT = 600.0  # seconds
_FRESH = 3600.0  # seconds from a renewal to the commit; a collector waits for a week

log = structlog.get_logger(__name__)


def new_attempt() -> str:
    return uuid.uuid4().hex[:8]


class Reservation:
    """One try's. Each has a record of its own: a late request of another try, or another agent's, lies over nobody's.

    ``committing``: the manifest may be in the bucket at any time from now on, so the record outlives a failure.
    """

    def __init__(
        self,
        store: ObjectStore,
        spec: BackupSpec,
        *,
        attempt: Callable[[], str] = new_attempt,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        elapsed: Callable[[], float] = clock.elapsed,
    ) -> None:
        self.condemned = Condemned()
        self.committing = False
        self._store = store
        self._spec = spec
        self._path = NodePath(spec.cluster, spec.datacenter, spec.node)
        self._attempt = attempt
        self._sleep = sleep
        self._elapsed = elapsed
        self.key = self._path.pending(spec.tag, spec.epoch, attempt())
        now = clock.now()
        self._record = Pending(
            format=FORMAT, backup_id=spec.backup_id, started=now, heartbeat=now, tag=spec.tag, epoch=spec.epoch
        )
        self._data = b""
        self._turn = asyncio.Lock()
        self._renewed = elapsed()
        self._unreadable: set[str] | None = None

    @asynccontextmanager
    async def held(self) -> AsyncIterator[Reservation]:
        """Marked at the start, with a heartbeat as long as it lasts. Its end leaves the record where it is."""
        await self.renew()
        heart = asyncio.create_task(self._beat(), name=f"heartbeat of {self._spec.tag}")
        try:
            yield self
        finally:
            heart.cancel()
            await asyncio.gather(heart, return_exceptions=True)

    async def renew(self) -> None:
        """As good as a start: afterwards ``condemned`` is what no sweep will spare, and all else that we name is."""
        began = self._elapsed()
        await self._write()
        self.condemned = await self._read()
        self._renewed = began

    async def pin(self, keys: Iterable[str]) -> None:
        """What is reused, gone through once. Nothing may be counted on before this returned."""
        record = msgspec.structs.replace(self._record, reuse=keys, heartbeat=clock.now())
        self._data = await asyncio.to_thread(catalog.encode, record)
        await self._write()

    def other_epoch(self) -> str:
        """Of this backup, and of no object so far."""
        return catalog.derived_epoch(self._spec.epoch, self._attempt())

    @property
    def fresh(self) -> bool:
        """Renewed so lately that a commit may follow."""
        return self._elapsed() - self._renewed < _FRESH

    async def _read(self) -> Condemned:
        """A list that cannot be read condemns all that is there. What was sent since it was seen is not on it."""
        lists = await read_lists(self._store, self._path)
        if self._unreadable is None:
            self._unreadable = {one.key for one in lists if one.keys is None}
        else:
            lists = [one for one in lists if one.key not in self._unreadable]
        return await asyncio.to_thread(Condemned, lists)

    async def _write(self) -> None:
        """The same bytes again are a heartbeat: what counts is when the store took them."""
        async with self._turn:
            self._data = self._data or await asyncio.to_thread(catalog.encode, self._record)
            await self._store.put(self.key, BytesBody(self._data))

    async def _beat(self) -> None:
        while True:
            await self._sleep(HEARTBEAT)
            try:
                await self._write()
            except Exception:
                log.exception("the heartbeat did not reach the store", tag=self._spec.tag)  # the next one may


async def remove(store: ObjectStore, spec: BackupSpec, key: str = "") -> None:
    """The record ``key``, or those of every try: for a backup whose manifest is there, which is what pins from then on.

    One that stays only makes a collector wait: no reason to fail.
    """
    prefix = NodePath(spec.cluster, spec.datacenter, spec.node).pendings_of(spec.tag, spec.epoch)
    try:
        keys = [key] if key else []
        if not key:
            async with closing(store.list(prefix)) as listing:
                keys = [meta.key async for meta in listing]
        if keys:
            await store.delete(keys)
    except StoreError as error:
        log.info("the pending record stays", node=spec.node, tag=spec.tag, error=str(error))
