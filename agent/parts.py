"""One object's multipart upload: which of its parts the store has already, and the proof that the whole is right.

A part that an earlier try sent is kept where its bytes are known: by the journal's sums, if the store still has what it
took then (its tag), or by reading the file's range again, if the store's checksum is that of the range.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from agent import catalog, integrity
from agent.errors import AgentError, Reason
from agent.integrity import Sums
from backends.checksums import combine
from backends.errors import Kind, NotFound, StoreError
from backends.streams import closing
from backends.threads import run

if TYPE_CHECKING:
    from collections.abc import Collection

    from agent.frames import Sealer
    from agent.plan import Sendable
    from agent.uploads import Sent, UploadJournal
    from backends.base import ObjectStore, Part

# These say of the upload what trying again will not change: a new one is begun.
_PASSING = frozenset({Kind.THROTTLED, Kind.UNAVAILABLE, Kind.TIMEOUT, Kind.NO_BUCKET, Kind.UNAUTHENTICATED})

log = structlog.get_logger(__name__)


class Parts:
    """``size`` is that of a part's content; ``id`` is the store's, empty until the first part is asked for. ``sealer``
    encodes it, None for what is sent as it is.

    ``over``: nothing more is sent of it, it is being completed or is gone.
    """

    def __init__(self, item: Sendable, key: str, size: int, sealer: Sealer | None = None) -> None:
        self.item = item
        self.key = key
        self.sealer = sealer
        self.count = -(-item.size // size)
        self.id = ""
        self.over = False
        self.sent: dict[int, Part] = {}
        self._part = size
        self._sums: dict[int, Sums] = {}
        self._opening = asyncio.Lock()
        self._there: dict[int, Part] = {}
        self._journalled: dict[int, Sent] = {}

    @property
    def whole(self) -> bool:
        return len(self.sent) == self.count

    @property
    def stored(self) -> int:
        """Bytes of the object."""
        return self.size(0, self.item.size)

    def size(self, offset: int, length: int) -> int:
        """Bytes that a range of the file becomes."""
        return length if self.sealer is None else self.sealer.size(offset, length)

    def range(self, number: int) -> tuple[int, int]:
        """(offset, length), in the file."""
        offset = (number - 1) * self._part
        return offset, min(self._part, self.item.size - offset)

    async def open(self, store: ObjectStore, journal: UploadJournal | None) -> None:
        """Once: the journal's upload if the store still has it, else a new one."""
        async with self._opening:
            if self.id:
                return
            known = journal.uploads.get(self.key) if journal is not None else None
            if journal is not None and known is not None and await self._take_up(store, known.id):
                self._journalled = known.sent
                self.id = known.id
                log.info("an upload goes on", key=self.key, parts=len(self._there), of=self.count)
                return
            self.id = await store.create_upload(self.key)
            if journal is not None:
                await journal.opened(self.key, self.id)

    async def keep(self, number: int) -> bool:
        """True when the store has this part, and with the right bytes."""
        offset, length = self.range(number)
        part = self._there.pop(number, None)
        if part is None or part.size != self.size(offset, length):
            return False
        told = self._journalled.get(number)
        if told is not None and part.etag and (told.etag, told.size) == (part.etag, length):
            self.add(part, Sums(length, told.crc32c, told.crc32, told.stored))
            return True
        if part.crc32c is None:
            return False
        (member,) = self.item.members
        sums = await run(
            integrity.measure, member.file.path, length, offset=offset, digest=member.data, encoder=self.sealer
        )
        if part.crc32c != (sums.crc32c if sums.stored is None else sums.stored):
            return False
        self.add(part, sums)
        return True

    def add(self, part: Part, sums: Sums) -> None:
        self._sums[part.number] = sums
        self.sent[part.number] = part

    def check(self) -> None:
        """What the store has is what was planned: else there will be no object."""
        (member,) = self.item.members
        ordered = [self._sums[number] for number in sorted(self._sums)]
        sums = integrity.combine(ordered)
        if self.sealer is None:
            keep_sum(self.item, sums.crc32c)
        else:
            sizes = (self.sent[number].size for number in sorted(self.sent))
            stored = combine((one.stored or 0, size) for one, size in zip(ordered, sizes, strict=True))
            keep_sum(self.item, stored, encoded=True)
        crc = (sums.crc32 or 0) if member.data else sums.crc32c
        integrity.check(member.file.path, member.crc, crc, digest=member.data)

    async def _take_up(self, store: ObjectStore, upload: str) -> bool:
        try:
            self._there = {part.number: part for part in await store.list_parts(self.key, upload)}
        except NotFound:
            return False
        except StoreError as error:
            if error.kind in _PASSING:
                raise
            log.warning("the parts of an upload are not told, all are sent again", error=str(error))
            await drop(store, self.key, upload)
            return False
        return True


def keep_sum(item: Sendable, crc32c: int | None, *, encoded: bool = False) -> None:
    """For the manifest: the store's checksum is a CRC32C of what it has. Of Data.db Cassandra's Digest tells another
    one, and nothing does of what is encoded.
    """
    if crc32c is not None and (encoded or any(member.data for member in item.members)):
        item.keep_sum(crc32c)


async def there(store: ObjectStore, upload: Parts) -> bool:
    """After NotFound for an upload: whether a completion whose answer was lost made the object after all.

    Only what was checked is ever completed under this key, so its size is proof enough.
    """
    try:
        return (await store.head(upload.key)).size == upload.stored
    except NotFound:
        return False


def vanished(store: ObjectStore, key: str) -> AgentError:
    message = f"the upload of {store.name}/{key} is gone before it was complete: is something aborting uploads?"
    return AgentError(Reason.OBJECT_MISSING, message, retryable=True)


async def drop(store: ObjectStore, key: str, upload: str) -> None:
    """Parts cost money until aborted; a failure to abort must not hide the failure that led here."""
    try:
        await store.abort_upload(key, upload)
    except StoreError as error:
        log.info("an upload is not aborted", key=key, error=str(error))


async def tidy(store: ObjectStore, root: str, epoch: str, journal: UploadJournal, wanted: Collection[str] = ()) -> int:
    """Aborts this backup's uploads of keys that are not ``wanted``, the count of them. What the journal lost of those
    that are is taken into it. Best effort: not every key may list, and MinIO tells only of some.
    """
    found = {known.id: key for key, known in journal.uploads.items()}
    if not journal.ours:
        return 0
    try:
        async with closing(store.list_uploads(root)) as uploads:
            found |= {one.id: one.key async for one in uploads if _owned(one.key, epoch)}
    except StoreError as error:
        log.warning("uploads of earlier tries cannot be listed", error=str(error))
    count = 0
    for upload, key in found.items():
        if key in wanted and key not in journal.uploads:
            await journal.opened(key, upload)
        if key not in wanted or journal.uploads[key].id != upload:
            await drop(store, key, upload)
            await journal.over(key, upload)
            count += 1
    return count


def _owned(key: str, epoch: str) -> bool:
    """By the backup of this epoch, which may have derived others from it."""
    return catalog.owns_epoch(epoch, key.rpartition("-")[2])
