"""Medusa's place and ours: one bucket, in which the store copies objects itself, or two that we stand between."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from agent.bandwidth import Tally
from agent.cli import options
from backends.checksums import crc32c
from backends.errors import Kind, StoreError
from backends.helpers import upload
from backends.prefix import PrefixStore
from backends.streams import closing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from agent.bandwidth import Meter
    from agent.cli.medusa.layout import Entry
    from agent.protocol import Location
    from agent.stores import Opener
    from backends.base import ObjectMeta, ObjectStore


@dataclass(frozen=True)
class Stores:
    """``bucket`` is what both are in, None where they are apart; keys in it begin with the prefixes."""

    source: ObjectStore
    target: ObjectStore
    bucket: ObjectStore | None
    source_prefix: str
    target_prefix: str

    @property
    def copies(self) -> bool:
        return self.bucket is not None

    async def copy(self, entry: Entry, key: str, *, bucket: Meter, count: Callable[[int], None]) -> None:
        """All of it, or nothing. ``count`` is told of bytes; ``bucket`` paid for those that come through us."""
        if self.bucket is not None:
            meta = await self.bucket.copy(self.source_prefix + entry.path, self.target_prefix + key)
            count(entry.size)
        else:
            body = _Through(self.source, entry.path, 0, entry.size, bucket, count)
            meta = await upload(self.target, key, body)
        _check(meta, entry, self.target.name)


@asynccontextmanager
async def opened(open_store: Opener, source: Location, target: Location) -> AsyncIterator[Stores]:
    """Both. ``source`` and ``target`` have the same endpoint where they are in one bucket."""
    theirs, ours = options.place(source.target), options.place(target.target)
    if (theirs.backup_type, theirs.root, source.endpoint) == (ours.backup_type, ours.root, target.endpoint):
        async with open_store(msgspec.structs.replace(target, target=ours.root)) as bucket:
            yield Stores(
                _below(bucket, theirs.prefix), _below(bucket, ours.prefix), bucket,
                f"{theirs.prefix}/" if theirs.prefix else "", f"{ours.prefix}/" if ours.prefix else "",
            )  # fmt: skip
    else:
        async with open_store(source) as there, open_store(target) as here:
            yield Stores(there, here, None, "", "")


def _below(store: ObjectStore, prefix: str) -> ObjectStore:
    return PrefixStore(store, prefix) if prefix else store


def _check(meta: ObjectMeta, entry: Entry, store: str) -> None:
    if meta.size != entry.size:
        message = f"the copy has {meta.size} bytes of {entry.size}: it was written over meanwhile"
        raise StoreError(Kind.CORRUPT, "copy", store, entry.path, message)


class _Through:
    """A SliceableBody that reads another store."""

    def __init__(  # noqa: PLR0917  for ``Stores.copy`` alone
        self, store: ObjectStore, key: str, offset: int, size: int, bucket: Meter, count: Callable[[int], None]
    ) -> None:
        self.size = size
        self.crc32c: int | None = None
        self._store = store
        self._key = key
        self._offset = offset
        self._bucket = bucket
        self._count = count
        self._tally = Tally(bucket, count)

    async def chunks(self) -> AsyncIterator[bytes]:
        crc = seen = 0
        found = self._store.get(self._key, offset=self._offset, length=self.size)
        async with closing(self._tally.through(found)) as stream:
            async for chunk in stream:
                crc, seen = crc32c(chunk, crc), seen + len(chunk)
                if seen == self.size and self.crc32c is None:
                    self.crc32c = crc  # before the last chunk is handed out; another try must find the same
                yield chunk

    def part(self, offset: int, size: int) -> _Through:
        return _Through(self._store, self._key, self._offset + offset, size, self._bucket, self._count)
