"""Who collects a node's path, told in the bucket; and the store's own clock.

An object that is put if it is absent, and counts for ``TERM`` from the time at which the store took it. It keeps two
agents that both run from doing the same work. It cannot promise more: an agent that was stopped and goes on does not
know that its lease ran out, and of two that find an old one both may take it over. So nothing rests on it: whoever
sweeps, and however many do, the order of reading and writing is what protects a running backup.
"""

from __future__ import annotations

import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec
import structlog

from agent import clock
from agent.errors import AgentError, Reason
from agent.protocol import Wire
from backends.base import BytesBody
from backends.errors import AlreadyExists, NotFound, StoreError
from backends.helpers import read_all

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from agent.catalog import NodePath
    from backends.base import ObjectStore

TERM = 3600.0  # seconds
_SIZE = 4096
_TRIES = 5

log = structlog.get_logger(__name__)


class _Holder(Wire):
    holder: str
    id: str  # of this taking: a holder may take it twice
    since: str = ""


class Lease:
    """Taken. ``now`` was the store's time then; ``left`` are seconds in which work may be begun under it."""

    def __init__(
        self, store: ObjectStore, key: str, body: bytes, *, now: float = 0.0, elapsed: Callable[[], float]
    ) -> None:
        self.now = now
        self._store = store
        self._key = key
        self._body = body
        self._elapsed = elapsed
        self._until = elapsed() + TERM / 2

    @property
    def left(self) -> float:
        return self._until - self._elapsed()

    async def held(self) -> bool:
        """Still ours, as far as can be known."""
        return self.left > 0 and await _read(self._store, self._key) == self._body

    async def release(self) -> None:
        try:
            if await self.held():
                await self._store.delete([self._key])
        except StoreError as error:
            log.info("the collector's lease stays until it runs out", key=self._key, error=str(error))


@asynccontextmanager
async def taken(
    store: ObjectStore, path: NodePath, holder: str, *, elapsed: Callable[[], float] = clock.elapsed
) -> AsyncIterator[Lease]:
    """CollectBlocked while another ``holder`` has it. The same one, after a crash, takes up its own."""
    key = path.lease()
    body = msgspec.json.encode(_Holder(holder=holder, id=uuid.uuid4().hex, since=clock.now()))
    lease = Lease(store, key, body, elapsed=elapsed)
    try:
        await store.put(key, BytesBody(body), if_absent=True)
    except AlreadyExists:
        await _take_over(store, path, holder, body)
    try:
        lease.now = (await store.head(key)).modified
    except NotFound as error:
        raise _blocked(store, path) from error
    if not await lease.held():
        raise _blocked(store, path)
    try:
        yield lease
    finally:
        await lease.release()


async def store_time(store: ObjectStore, path: NodePath) -> float:
    """Epoch seconds, by the store's clock: of an object that is written for it, and removed."""
    key = f"{path.collection}clock"
    for _ in range(_TRIES):
        await store.put(key, BytesBody(b"clock\n"))
        try:
            now = (await store.head(key)).modified
        except NotFound:
            continue  # another one had read its time, and removed it
        await store.delete([key])
        return now
    message = f"{store.name} does not keep {key}, so its clock cannot be read: see what deletes objects there"
    raise AgentError(Reason.COLLECT_BLOCKED, message, retryable=True)


async def _take_over(store: ObjectStore, path: NodePath, holder: str, body: bytes) -> None:
    key = path.lease()
    try:
        meta, there = await store.head(key), await _read(store, key)
        if _holder(there) != holder and await store_time(store, path) - meta.modified < TERM:
            raise _blocked(store, path)
        await store.delete([key])
        await store.put(key, BytesBody(body), if_absent=True)
    except (AlreadyExists, NotFound) as error:
        raise _blocked(store, path) from error


async def _read(store: ObjectStore, key: str) -> bytes:
    try:
        return await read_all(store, key, _SIZE)
    except NotFound:
        return b""


def _holder(data: bytes) -> str:
    try:
        return msgspec.json.decode(data, type=_Holder).holder
    except msgspec.MsgspecError:
        return ""


def _blocked(store: ObjectStore, path: NodePath) -> AgentError:
    message = f"another agent collects {path.node} in {store.name}: wait for it, or an hour after it died"
    return AgentError(Reason.COLLECT_BLOCKED, message, retryable=True)
