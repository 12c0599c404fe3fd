"""Sends objects: bundles from memory, larger components in one PUT, the largest in parts. What is sent is read once:
its checksum is computed in passing, and a Data.db that is not what Cassandra's Digest says never becomes an object.

All share one queue. Parts of large objects, the largest object first, and small objects run side by side: the ones wait
for the bandwidth, the others for the store's answers.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING

import structlog

from agent import bundle, integrity
from agent.bundle import MeteredBytes
from agent.catalog import BUNDLED
from agent.errors import reading
from agent.flow import MeteredBody, side_by_side
from agent.integrity import Crc32, Sums
from backends.errors import SourceChanged, StoreError
from backends.threads import run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    from agent.flow import Flow
    from agent.integrity import StrPath
    from agent.plan import Item
    from backends.base import ObjectStore, Part

    Work = Callable[[], Awaitable[None]]

SINGLE = 32 << 20  # bytes; up to here one PUT
PART = 16 << 20  # bytes; grows only where the store's number of parts asks for it
_ABORT_TIMEOUT = 5.0

log = structlog.get_logger(__name__)


class Uploader:
    """Of one backup. ``count`` is told of bytes as they go, less than none for a try given up; ``done`` of objects."""

    def __init__(
        self,
        store: ObjectStore,
        root: str,
        flow: Flow,
        *,
        count: Callable[[int], None],
        done: Callable[[Item], None],
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
        self._unfinished: set[_Parts] = set()
        self._if_absent = False

    async def send(self, items: list[Item], *, if_absent: bool = False) -> None:
        """All of them, in their order, or the first error; what was sent stays, for the next try to find.

        ``if_absent``: an object that is there stays as it is, and is AlreadyExists.
        """
        self._if_absent = if_absent
        large = self._large(item for item in items if item.size > BUNDLED)
        small = (partial(self._put, item) for item in items if item.size <= BUNDLED)
        try:
            await side_by_side(large, small, self._flow)
        except SourceChanged as error:
            raise integrity.changed(error.key, error.message.rpartition(": ")[2]) from error
        finally:
            await self._abort()

    def _large(self, items: Iterable[Item]) -> Iterator[Work]:
        for item in items:
            if item.bundle or item.size <= self._single or not self._store.capabilities.multipart:
                yield partial(self._put, item)
            else:
                parts = _Parts(item, max(self._part, -(-item.size // (self._store.capabilities.max_parts * 9 // 10))))
                for number in range(1, parts.count + 1):
                    yield partial(self._send_part, parts, number)

    async def _put(self, item: Item) -> None:
        async with self._flow.slot(item.size, whole=item.bundle):
            body: MeteredBytes | MeteredBody
            if item.bundle:
                data = await run(bundle.read, item)
                body = MeteredBytes(data, bucket=self._flow.bucket, count=self._count)
            else:
                (member,) = item.members
                path = member.file.path
                if member.data:
                    check = partial(integrity.check_data, path, member.crc)
                    body = self._body(path, 0, item.size, inspector=Crc32(check))
                else:
                    body = self._body(path, 0, item.size, checksum=member.crc)
            with reading(item.members[0].file.path):
                await self._store.put(self._root + item.key, body, if_absent=self._if_absent)
            _keep_sum(item, body.crc32c)
        self._done(item)

    async def _send_part(self, parts: _Parts, number: int) -> None:
        item = parts.item
        key = self._root + item.key
        (member,) = item.members
        offset = (number - 1) * parts.size
        length = min(parts.size, item.size - offset)
        inspector = Crc32() if member.data else None
        async with self._flow.slot(length):
            async with parts.opening:
                if not parts.id:
                    self._unfinished.add(parts)
                    parts.id = await self._store.create_upload(key)
            body = self._body(member.file.path, offset, length, inspector=inspector)
            with reading(member.file.path):
                part = await self._store.upload_part(key, parts.id, number, body)
            parts.sums[number] = Sums(length, body.crc32c or 0, inspector.value if inspector else None)
            parts.sent[number] = part
            last = len(parts.sent) == parts.count
        if last:
            parts.check()
            async with self._flow.slot(0):
                sent = [parts.sent[one] for one in sorted(parts.sent)]
                await self._store.complete_upload(key, parts.id, sent, if_absent=self._if_absent)
            self._unfinished.discard(parts)
            self._done(item)

    def _body(
        self, path: StrPath, offset: int, size: int, *, checksum: int | None = None, inspector: Crc32 | None = None
    ) -> MeteredBody:
        return MeteredBody(
            path, offset, size, checksum, bucket=self._flow.bucket, count=self._count, inspector=inspector
        )

    async def _abort(self) -> None:
        """Parts cost money until aborted; a failure to abort must not hide the failure that led here."""
        left = [(self._root + parts.item.key, parts.id) for parts in self._unfinished if parts.id]
        self._unfinished.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ABORT_TIMEOUT):
                for key, upload in left:
                    with contextlib.suppress(StoreError):
                        await self._store.abort_upload(key, upload)


class _Parts:
    """A multipart upload under way. ``size`` is that of a part, ``id`` the store's, empty until the first part."""

    def __init__(self, item: Item, size: int) -> None:
        self.item = item
        self.size = size
        self.count = -(-item.size // size)
        self.id = ""
        self.opening = asyncio.Lock()
        self.sent: dict[int, Part] = {}
        self.sums: dict[int, Sums] = {}

    def check(self) -> None:
        """What was read is what was planned: else there will be no object."""
        (member,) = self.item.members
        sums = integrity.combine([self.sums[number] for number in sorted(self.sums)])
        _keep_sum(self.item, sums.crc32c)
        if member.data:
            integrity.check_data(member.file.path, member.crc, sums.crc32 or 0)
        elif sums.crc32c != member.crc:
            raise integrity.changed(member.file.path, "its bytes are not the ones that were read before")


def _keep_sum(item: Item, crc32c: int | None) -> None:
    """For the manifest: the store's checksum is a CRC32C, and of Data.db Cassandra's Digest tells another one."""
    if crc32c is not None and any(member.data for member in item.members):
        item.crc32c = crc32c


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
