"""A store inside a store: every key gets a prefix, every answer loses it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from backends.base import ObjectMeta, Upload, check_key
from backends.streams import closing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from backends.base import Body, Capabilities, ObjectStore, Part, Parts
    from backends.streams import Sink


class PrefixStore:
    """``prefix`` without slashes at its ends; keys go below it, and never out of it."""

    def __init__(self, store: ObjectStore, prefix: str) -> None:
        check_key(prefix, "open", store.name)
        self.name = f"{store.name.rstrip('/')}/{prefix}"
        self._store = store
        self._prefix = prefix + "/"

    @property
    def capabilities(self) -> Capabilities:
        return self._store.capabilities

    async def put(self, key: str, body: Body, *, if_absent: bool = False) -> ObjectMeta:
        return self._strip(await self._store.put(self._full(key), body, if_absent=if_absent))

    def get(self, key: str, *, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        return self._store.get(self._full(key), offset=offset, length=length)

    def pour(self, key: str, sink: Sink, *, offset: int = 0, length: int | None = None) -> AsyncIterator[int]:
        return self._store.pour(self._full(key), sink, offset=offset, length=length)

    async def head(self, key: str) -> ObjectMeta:
        return self._strip(await self._store.head(self._full(key)))

    async def delete(self, keys: Sequence[str]) -> None:
        await self._store.delete([self._full(key) for key in keys])

    async def list(self, prefix: str, *, start_after: str = "") -> AsyncIterator[ObjectMeta]:
        # Without start_after the listing begins at the prefix itself.
        after = self._prefix + start_after if start_after else ""
        async with closing(self._store.list(self._prefix + prefix, start_after=after)) as found:
            async for meta in found:
                yield self._strip(meta)

    async def copy(self, source: str, target: str) -> ObjectMeta:
        return self._strip(await self._store.copy(self._full(source), self._full(target)))

    async def create_upload(self, key: str) -> str:
        return await self._store.create_upload(self._full(key))

    async def upload_part(self, key: str, upload: str, number: int, body: Body) -> Part:
        return await self._store.upload_part(self._full(key), upload, number, body)

    async def list_parts(self, key: str, upload: str) -> Parts:
        return await self._store.list_parts(self._full(key), upload)

    async def complete_upload(
        self, key: str, upload: str, parts: Sequence[Part], *, if_absent: bool = False
    ) -> ObjectMeta:
        return self._strip(await self._store.complete_upload(self._full(key), upload, parts, if_absent=if_absent))

    async def abort_upload(self, key: str, upload: str) -> None:
        await self._store.abort_upload(self._full(key), upload)

    async def list_uploads(self, prefix: str) -> AsyncIterator[Upload]:
        async with closing(self._store.list_uploads(self._prefix + prefix)) as found:
            async for upload in found:
                yield msgspec.structs.replace(upload, key=upload.key.removeprefix(self._prefix))

    async def close(self) -> None:
        await self._store.close()

    def _full(self, key: str) -> str:
        return self._prefix + key

    def _strip(self, meta: ObjectMeta) -> ObjectMeta:
        return msgspec.structs.replace(meta, key=meta.key.removeprefix(self._prefix))
