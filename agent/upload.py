"""Sends files: one PUT for small ones, parts for large ones. Each range is checksummed from the page cache right before
it is sent, so the disk is read once, the store verifies every byte, and a Data.db that does not match Cassandra's own
Digest never becomes an object.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import structlog

from agent import integrity
from agent.errors import AgentError, Reason
from agent.flow import Flow, MeteredBody, each
from backends.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.integrity import Sums
    from agent.plan import Item
    from backends.base import ObjectStore, Part

SINGLE = 32 << 20  # bytes; up to here one PUT
PART = 16 << 20  # bytes; grows only where the store's number of parts asks for it
_ABORT_TIMEOUT = 5.0

log = structlog.get_logger(__name__)


class Uploader:
    """Of one backup. ``count`` is told of bytes as they go, less than none for a try given up; ``done`` of files."""

    def __init__(
        self,
        store: ObjectStore,
        root: str,
        flow: Flow,
        *,
        count: Callable[[int], None],
        done: Callable[[], None],
        single: int = SINGLE,
        part: int = PART,
    ) -> None:
        self._store = store
        self._root = root
        self._flow = flow
        self._count = count
        self._done = done
        self._single = min(single, store.capabilities.max_put)
        self._part = max(part, store.capabilities.min_part)

    async def send(self, items: list[Item]) -> None:
        """All of them, or the first error; what was sent stays, for the next try to find."""
        await each(items, self._flow.slots, self._send)

    async def _send(self, item: Item) -> None:
        if item.size <= self._single or not self._store.capabilities.multipart:
            await self._put(item)
        else:
            await self._send_parts(item)
        self._done()

    async def _put(self, item: Item) -> None:
        async with self._flow.slot(item.size):
            checksum = item.crc
            if item.data:
                sums = await integrity.measured(item.path, 0, item.size, digest=True)
                _check(item, sums)
                checksum = sums.crc32c
            await self._store.put(self._root + item.key, self._body(item, 0, item.size, checksum))

    async def _send_parts(self, item: Item) -> None:
        key = self._root + item.key
        size = max(self._part, -(-item.size // (self._store.capabilities.max_parts * 9 // 10)))
        upload = await self._store.create_upload(key)
        try:
            sums: dict[int, Sums] = {}
            parts: dict[int, Part] = {}

            async def send_part(number: int) -> None:
                offset = (number - 1) * size
                length = min(size, item.size - offset)
                async with self._flow.slot(length):
                    sums[number] = await integrity.measured(item.path, offset, length, digest=item.data)
                    body = self._body(item, offset, length, sums[number].crc32c)
                    parts[number] = await self._store.upload_part(key, upload, number, body)

            count = -(-item.size // size)
            await each(range(1, count + 1), self._flow.slots, send_part)
            _check(item, integrity.combine([sums[number] for number in sorted(sums)]))
            await self._store.complete_upload(key, upload, [parts[number] for number in sorted(parts)])
        except BaseException:
            await self._abort(key, upload)
            raise

    def _body(self, item: Item, offset: int, size: int, checksum: int) -> MeteredBody:
        return MeteredBody(item.path, offset, size, checksum, bucket=self._flow.bucket, count=self._count)

    async def _abort(self, key: str, upload: str) -> None:
        """Parts cost money until aborted; a failure to abort must not hide the failure that led here."""
        with contextlib.suppress(TimeoutError, StoreError):
            async with asyncio.timeout(_ABORT_TIMEOUT):
                await self._store.abort_upload(key, upload)


def _check(item: Item, sums: Sums) -> None:
    if item.data:
        if sums.crc32 != item.crc:
            raise integrity.corrupt_data(item.path, sums.crc32, item.crc)
    elif sums.crc32c != item.crc:
        message = f"{item.path} changed while it was sent: the snapshot was removed under us"
        raise AgentError(Reason.SNAPSHOT_GONE, message, retryable=True)


async def abort_stale(store: ObjectStore, root: str, epoch: str) -> int:
    """Uploads that an earlier try of this backup left when its process died. Best effort: not every key may list."""
    count = 0
    try:
        async for upload in store.list_uploads(root):
            if upload.key.endswith(f"-{epoch}"):
                await store.abort_upload(upload.key, upload.id)
                count += 1
    except StoreError as error:
        log.warning("stale uploads were not aborted", error=str(error))
    return count
