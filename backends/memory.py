"""A store in memory: the reference for every other, and what tests run on."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING

from backends.base import Body, Capabilities, ObjectMeta, Part, Parts, Upload, check_key
from backends.body import CHUNK, checked
from backends.checksums import combine, crc32c
from backends.errors import Kind, StoreError
from backends.streams import poured

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from backends.streams import Sink


class _Pending:
    def __init__(self, upload: Upload) -> None:
        self.upload = upload
        self.parts: dict[int, tuple[Part, bytes]] = {}


class MemoryStore:
    """Objects live as long as the instance; ``close`` keeps them."""

    def __init__(self, name: str = "memory://", *, min_part: int = 1, clock: Callable[[], float] = time.time) -> None:
        self.name = name
        self.capabilities = Capabilities(min_part=min_part)
        self._clock = clock
        self._objects: dict[str, tuple[ObjectMeta, bytes]] = {}
        self._uploads: dict[str, _Pending] = {}
        self._ids = itertools.count(1)

    async def put(self, key: str, body: Body, *, if_absent: bool = False) -> ObjectMeta:
        check_key(key, "put", self.name)
        data = b"".join([chunk async for chunk in checked(body, "put", self.name, key)])
        return self._store("put", key, data, crc32c(data), if_absent=if_absent)

    async def get(self, key: str, *, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        data = self._find("get", key)[1]
        end = len(data) if length is None else min(len(data), offset + length)
        for start in range(offset, end, CHUNK):
            yield data[start : min(end, start + CHUNK)]

    def pour(self, key: str, sink: Sink, *, offset: int = 0, length: int | None = None) -> AsyncIterator[int]:
        return poured(self.get(key, offset=offset, length=length), sink)

    async def head(self, key: str) -> ObjectMeta:
        return self._find("head", key)[0]

    async def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            self._objects.pop(key, None)

    async def list(self, prefix: str, *, start_after: str = "") -> AsyncIterator[ObjectMeta]:
        for key in sorted(key for key in self._objects if key.startswith(prefix) and key > start_after):
            if found := self._objects.get(key):  # deleted meanwhile
                yield found[0]

    async def copy(self, source: str, target: str) -> ObjectMeta:
        check_key(target, "copy", self.name)
        meta, data = self._find("copy", source)
        return self._store("copy", target, data, meta.crc32c)

    async def create_upload(self, key: str) -> str:
        check_key(key, "create upload", self.name)
        upload = Upload(key, f"upload-{next(self._ids)}", self._clock())
        self._uploads[upload.id] = _Pending(upload)
        return upload.id

    async def upload_part(self, key: str, upload: str, number: int, body: Body) -> Part:
        pending = self._pending("upload part", key, upload)
        if not 1 <= number <= self.capabilities.max_parts:
            raise self._error(Kind.INVALID, "upload part", key, f"there is no part number {number}")
        data = b"".join([chunk async for chunk in checked(body, "upload part", self.name, key)])
        crc = crc32c(data)
        part = Part(number, len(data), f"{next(self._ids):x}-{crc:08x}", crc)
        pending.parts[number] = (part, data)
        return part

    async def list_parts(self, key: str, upload: str) -> Parts:
        pending = self._pending("list parts", key, upload)
        return [pending.parts[number][0] for number in sorted(pending.parts)]

    async def complete_upload(
        self, key: str, upload: str, parts: Sequence[Part], *, if_absent: bool = False
    ) -> ObjectMeta:
        pending = self._pending("complete upload", key, upload)
        ordered = sorted(parts, key=lambda part: part.number)
        self._check_parts(key, pending, ordered)
        data = b"".join(pending.parts[part.number][1] for part in ordered)
        crc = combine((crc32c(pending.parts[part.number][1]), part.size) for part in ordered)
        meta = self._store("complete upload", key, data, crc, if_absent=if_absent)
        del self._uploads[upload]
        return meta

    def _check_parts(self, key: str, pending: _Pending, ordered: Sequence[Part]) -> None:
        if not ordered or len({part.number for part in ordered}) < len(ordered):
            raise self._error(Kind.INVALID, "complete upload", key, "the parts must be one or more, each number once")
        for part in ordered:
            known = pending.parts.get(part.number)
            if known is None or known[0].etag != part.etag:
                raise self._error(Kind.INVALID, "complete upload", key, f"part {part.number} is not the one sent")
        if any(part.size < self.capabilities.min_part for part in ordered[:-1]):
            raise self._error(Kind.INVALID, "complete upload", key, "a part before the last is too small")

    async def abort_upload(self, key: str, upload: str) -> None:
        pending = self._uploads.get(upload)
        if pending is not None and pending.upload.key == key:
            del self._uploads[upload]

    async def list_uploads(self, prefix: str) -> AsyncIterator[Upload]:
        found = [pending.upload for pending in self._uploads.values() if pending.upload.key.startswith(prefix)]
        for upload in sorted(found, key=lambda upload: (upload.key, upload.id)):
            yield upload

    async def close(self) -> None:
        pass

    def _store(self, operation: str, key: str, data: bytes, crc: int | None, *, if_absent: bool = False) -> ObjectMeta:
        if if_absent and key in self._objects:
            raise self._error(Kind.ALREADY_EXISTS, operation, key, "the object is there already")
        meta = ObjectMeta(key, len(data), f"{next(self._ids):x}", self._clock(), crc)
        self._objects[key] = (meta, data)
        return meta

    def _find(self, operation: str, key: str) -> tuple[ObjectMeta, bytes]:
        try:
            return self._objects[key]
        except KeyError:
            raise self._error(Kind.NOT_FOUND, operation, key, "there is no such object") from None

    def _pending(self, operation: str, key: str, upload: str) -> _Pending:
        pending = self._uploads.get(upload)
        if pending is None or pending.upload.key != key:
            raise self._error(Kind.NOT_FOUND, operation, key, f"there is no upload {upload}")
        return pending

    def _error(self, kind: Kind, operation: str, key: str, message: str) -> StoreError:
        return StoreError(kind, operation, self.name, key, message)
