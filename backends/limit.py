"""A store that is asked for so much at once, and no more: requests in flight, and bytes a second each way.

For who has no flow control of its own. Below RetryStore, so that a wait between two tries holds nobody's place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backends.body import checksum_of
from backends.gate import Gate
from backends.rate import TokenBucket, paid
from backends.streams import closing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from backends.base import Body, Capabilities, ObjectMeta, ObjectStore, Part, Parts, Upload
    from backends.rate import Bucket
    from backends.streams import Sink


class LimitStore:
    """``requests`` at once; ``send`` and ``receive`` in bytes a second, or buckets that others share; 0 is no limit.

    A stream of ``get`` is one request until it ends, so who reads one object and sends another needs two. A listing
    holds its place only while it asks for a page.
    """

    def __init__(
        self, store: ObjectStore, requests: int = 0, *, send: Bucket | float = 0, receive: Bucket | float = 0
    ) -> None:
        self.name = store.name
        self._store = store
        self._gate = Gate(requests or 1 << 30, 0)
        self._send = TokenBucket(send) if isinstance(send, int | float) else send
        self._receive = TokenBucket(receive) if isinstance(receive, int | float) else receive

    @property
    def capabilities(self) -> Capabilities:
        return self._store.capabilities

    async def put(self, key: str, body: Body, *, if_absent: bool = False) -> ObjectMeta:
        async with self._gate.entered():
            return await self._store.put(key, _PaidBody(body, self._send), if_absent=if_absent)

    async def get(self, key: str, *, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        async with (
            self._gate.entered(),
            closing(self._store.get(key, offset=offset, length=length)) as stream,
            closing(paid(stream, self._receive)) as pieces,
        ):
            async for piece in pieces:
                yield piece

    async def pour(self, key: str, sink: Sink, *, offset: int = 0, length: int | None = None) -> AsyncIterator[int]:
        async with (
            self._gate.entered(),
            closing(self._store.pour(key, sink, offset=offset, length=length)) as stream,
        ):
            async for count in stream:
                await self._receive.take(count)
                yield count

    async def head(self, key: str) -> ObjectMeta:
        async with self._gate.entered():
            return await self._store.head(key)

    async def delete(self, keys: Sequence[str]) -> None:
        async with self._gate.entered():
            await self._store.delete(keys)

    async def list(self, prefix: str, *, start_after: str = "") -> AsyncIterator[ObjectMeta]:
        async with closing(self._store.list(prefix, start_after=start_after)) as found:
            while True:
                async with self._gate.entered():
                    meta = await anext(found, None)
                if meta is None:
                    return
                yield meta

    async def copy(self, source: str, target: str) -> ObjectMeta:
        async with self._gate.entered():
            return await self._store.copy(source, target)

    async def create_upload(self, key: str) -> str:
        async with self._gate.entered():
            return await self._store.create_upload(key)

    async def upload_part(self, key: str, upload: str, number: int, body: Body) -> Part:
        async with self._gate.entered():
            return await self._store.upload_part(key, upload, number, _PaidBody(body, self._send))

    async def list_parts(self, key: str, upload: str) -> Parts:
        async with self._gate.entered():
            return await self._store.list_parts(key, upload)

    async def complete_upload(
        self, key: str, upload: str, parts: Sequence[Part], *, if_absent: bool = False
    ) -> ObjectMeta:
        async with self._gate.entered():
            return await self._store.complete_upload(key, upload, parts, if_absent=if_absent)

    async def abort_upload(self, key: str, upload: str) -> None:
        async with self._gate.entered():
            await self._store.abort_upload(key, upload)

    async def list_uploads(self, prefix: str) -> AsyncIterator[Upload]:
        async with closing(self._store.list_uploads(prefix)) as found:
            while True:
                async with self._gate.entered():
                    upload = await anext(found, None)
                if upload is None:
                    return
                yield upload

    async def close(self) -> None:
        await self._store.close()


class _PaidBody:
    """A body whose chunks pay; a pass that only sums does not."""

    def __init__(self, body: Body, bucket: Bucket) -> None:
        self._body = body
        self._bucket = bucket

    @property
    def size(self) -> int:
        return self._body.size

    @property
    def crc32c(self) -> int | None:
        return self._body.crc32c

    def chunks(self) -> AsyncIterator[bytes]:
        return paid(self._body.chunks(), self._bucket)

    async def measure(self) -> int:
        return await checksum_of(self._body)
