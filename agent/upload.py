"""Sends objects: bundles from memory, larger components in one PUT, the largest in parts. What is sent is read once:
its checksum is computed in passing, and a Data.db that is not what Cassandra's Digest says never becomes an object.
What an earlier try left of a large object is gone on with (parts.py).

All share one queue. Parts of large objects, the largest object first, and small objects run side by side: the ones wait
for the bandwidth, the others for the store's answers.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING

from agent import bundle, catalog, integrity, parts
from agent.bundle import MeteredBytes
from agent.catalog import BUNDLED, FRAME
from agent.coding import AS_IT_IS
from agent.errors import AgentError, reading
from agent.flow import MeteredBody, side_by_side
from agent.integrity import ContentSum, Sums
from agent.parts import Parts, keep_sum
from backends.errors import NotFound, SourceChanged
from backends.threads import run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

    from agent.coding import Coding
    from agent.flow import Flow
    from agent.frames import Sealer
    from agent.integrity import StrPath
    from agent.plan import Sendable
    from agent.segments import Segments
    from agent.uploads import UploadJournal
    from backends.base import ObjectStore, Part

    Work = Callable[[], Awaitable[None]]

SINGLE = 32 << 20  # bytes; up to here one PUT
PART = 16 << 20  # bytes; grows only where the store's number of parts asks for it
_HELD = 3  # times its size: a segment that is compressed, encrypted and sent
_ABORT_TIMEOUT = 5.0


class Uploader:
    """Of one backup. ``count`` is told of bytes as they go, less than none for a try given up; ``done`` of objects.

    With a ``journal`` a failure leaves its uploads for the next try, and whoever gives up aborts them.
    """

    def __init__(
        self,
        store: ObjectStore,
        root: str,
        flow: Flow,
        *,
        count: Callable[[int], None],
        done: Callable[[Sendable], None],
        journal: UploadJournal | None = None,
        coding: Coding = AS_IT_IS,
        single: int = SINGLE,
        part: int = PART,
    ) -> None:
        self._store = store
        self._root = root
        self._flow = flow
        self._count = count
        self._done = done
        self._journal = journal
        self._coding = coding
        self._single = min(single, store.capabilities.max_put)
        self._part = max(part, store.capabilities.min_part)
        self._unfinished: set[Parts] = set()
        self._if_absent = False

    async def send(self, items: Sequence[Sendable], *, if_absent: bool = False) -> None:
        """All of them, in their order, or the first error; what was sent stays, for the next try to find.

        ``if_absent``: an object that is there stays as it is, and is AlreadyExists.
        """
        self._if_absent = if_absent
        large = self._large(item for item in items if _is_large(item))
        small = (partial(self._put, item) for item in items if not _is_large(item))
        try:
            await side_by_side(large, small, self._flow)
        except SourceChanged as error:
            raise integrity.changed(error.key, error.message.rpartition(": ")[2]) from error
        finally:
            if self._journal is None:
                await self._abort()

    def _large(self, items: Iterable[Sendable]) -> Iterator[Work]:
        for item in items:
            segments = self._coding.segments(item.key)
            if segments is not None:
                yield from self._compressed(item, segments)
            elif item.bundle or item.size <= self._single or not self._store.capabilities.multipart:
                yield partial(self._put, item)
            else:
                size = max(self._part, -(-item.size // (self._store.capabilities.max_parts * 9 // 10)))
                sealer = self._coding.sealer(item.key)
                if sealer is not None:  # no frame lies in two parts
                    size = -(-size // FRAME) * FRAME
                upload = Parts(item, self._root + item.key, size, sealer)
                for number in range(1, upload.count + 1):
                    yield partial(self._part_of, upload, number)

    def _compressed(self, item: Sendable, segments: Segments) -> Iterator[Work]:
        """The first part comes last: it has the header."""
        upload = Parts(item, self._root + item.key, segments.size, segments=segments)
        if segments.count == 1:
            yield partial(self._put_segment, upload)
        else:
            yield from (partial(self._part_of, upload, number) for number in (*range(2, segments.count + 1), 1))

    async def _put_segment(self, upload: Parts) -> None:
        item = upload.item
        async with self._flow.slot(_HELD * item.size, whole=True):
            data, sums = await asyncio.to_thread(upload.segment, 1)
            (member,) = item.members
            content = (sums.crc32 or 0) if member.data else sums.crc32c
            integrity.check(member.file.path, member.crc, content, digest=member.data)
            await self._store.put(upload.key, self._held(data, item.size, sums), if_absent=self._if_absent)
            keep_sum(item, sums.stored, encoded=True)
        self._done(item)

    def _held(self, data: bytes, content: int, sums: Sums) -> MeteredBytes:
        return MeteredBytes(data, content, bucket=self._flow.bucket, count=self._count, checksum=sums.stored)

    async def _put(self, item: Sendable) -> None:
        sealer = self._coding.sealer(item.key)
        async with self._flow.slot(item.size, whole=item.bundle):
            body: MeteredBytes | MeteredBody
            if item.bundle:
                data = await run(bundle.encoded, item, sealer)
                body = MeteredBytes(data, item.size, bucket=self._flow.bucket, count=self._count)
            else:
                (member,) = item.members
                path = member.file.path
                if member.data or sealer is not None:
                    check = partial(integrity.check, path, member.crc, digest=member.data)
                    inspector = ContentSum(check, digest=member.data)
                    body = self._body(path, 0, item.size, inspector=inspector, encoder=sealer)
                else:
                    body = self._body(path, 0, item.size, checksum=member.crc)
            with reading(item.members[0].file.path):
                await self._store.put(self._root + item.key, body, if_absent=self._if_absent)
            keep_sum(item, body.crc32c, encoded=sealer is not None)
        self._done(item)

    async def _part_of(self, upload: Parts, number: int) -> None:
        whole = upload.segments is not None
        if whole and number == 1:
            await upload.others()
        length = upload.range(number)[1]
        async with self._flow.slot(_HELD * length if whole else length, whole=whole):
            if upload.over:
                return
            self._unfinished.add(upload)
            try:
                await upload.open(self._store, self._journal)
                if await upload.keep(number):
                    self._count(length)
                else:
                    await self._send_part(upload, number)
            except NotFound:
                await self._vanished(upload)
            last = upload.whole
        if last:
            await self._complete(upload)

    async def _send_part(self, upload: Parts, number: int) -> None:
        send = self._send_range if upload.segments is None else self._send_segment
        part, sums = await send(upload, number)
        if self._journal is not None:
            await self._journal.sent(upload.id, part, sums)
        upload.add(part, sums)

    async def _send_range(self, upload: Parts, number: int) -> tuple[Part, Sums]:
        offset, length = upload.range(number)
        (member,) = upload.item.members
        sealer = upload.sealer
        inspector = ContentSum(digest=member.data) if member.data or sealer is not None else None
        body = self._body(member.file.path, offset, length, inspector=inspector, encoder=sealer)
        with reading(member.file.path):
            part = await self._store.upload_part(upload.key, upload.id, number, body)
        return part, _sums(length, body.crc32c or 0, inspector, encoded=sealer is not None, digest=member.data)

    async def _send_segment(self, upload: Parts, number: int) -> tuple[Part, Sums]:
        data, sums = await asyncio.to_thread(upload.segment, number)
        body = self._held(data, upload.range(number)[1], sums)
        return await self._store.upload_part(upload.key, upload.id, number, body), sums

    async def _complete(self, upload: Parts) -> None:
        upload.over = True
        try:
            upload.check()
        except AgentError:  # what the store has of it is wrong: the next try must not keep it
            await parts.drop(self._store, upload.key, upload.id)
            await self._forget(upload)
            raise
        async with self._flow.slot(0):
            try:
                ordered = [upload.sent[number] for number in sorted(upload.sent)]
                await self._store.complete_upload(upload.key, upload.id, ordered, if_absent=self._if_absent)
            except NotFound:
                await self._vanished(upload)
        await self._forget(upload)
        self._done(upload.item)

    async def _vanished(self, upload: Parts) -> None:
        """The upload is not there: completed by a request whose answer was lost, or aborted by somebody."""
        await self._forget(upload)
        if not await parts.there(self._store, upload):
            raise parts.vanished(self._store, upload.key)
        if not upload.over:
            upload.end()
            self._done(upload.item)

    async def _forget(self, upload: Parts) -> None:
        self._unfinished.discard(upload)
        if self._journal is not None:
            await self._journal.over(upload.key, upload.id)

    def _body(
        self,
        path: StrPath,
        offset: int,
        size: int,
        *,
        checksum: int | None = None,
        inspector: ContentSum | None = None,
        encoder: Sealer | None = None,
    ) -> MeteredBody:
        return MeteredBody(
            path, offset, size, checksum, bucket=self._flow.bucket, count=self._count, inspector=inspector,
            encoder=encoder,
        )  # fmt: skip

    async def _abort(self) -> None:
        left = [(upload.key, upload.id) for upload in self._unfinished if upload.id]
        self._unfinished.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ABORT_TIMEOUT):
                for key, upload in left:
                    await parts.drop(self._store, key, upload)


def _is_large(item: Sendable) -> bool:
    return item.size > BUNDLED or catalog.encoding_in(item.key).compressed


def _sums(length: int, crc: int, inspector: ContentSum | None, *, encoded: bool, digest: bool) -> Sums:
    """Of a part that was sent: ``crc`` is of what the store has, and the inspector's of what the file has."""
    if not encoded:
        return Sums(length, crc, inspector.value if inspector else None)
    assert inspector is not None
    content = inspector.value
    return Sums(length, 0, content, crc) if digest else Sums(length, content, None, crc)
