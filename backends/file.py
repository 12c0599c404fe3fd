"""A directory as a store: for volumes that several pods mount, and for trying things out.

An object is one file, written beside and renamed, so it is there whole or not at all. It keeps no checksum: ``crc32c``
is known in the answers to writes only. A key cannot be another key's directory (``a`` and ``a/b``), and a name between
slashes has at most 255 bytes: both are INVALID here and fine in S3.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Self
from uuid import uuid4

import msgspec

from backends.base import Body, Capabilities, FileBody, ObjectMeta, Part, Parts, Upload, check_key
from backends.body import CHUNK, checked
from backends.checksums import combine, crc32c
from backends.errors import Kind, NotFound, StoreError
from backends.file_io import Tree, discard, page, translate, translated, write
from backends.streams import poured
from backends.threads import acquire, run

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence
    from pathlib import Path

    from backends.streams import Sink


class FileStore:
    """Everything that blocks runs in threads. Safe for several processes on one directory."""

    capabilities = Capabilities(max_put=1 << 62, min_part=1, max_parts=99_999)

    def __init__(self, tree: Tree) -> None:
        self.name = tree.name
        self._tree = tree

    @classmethod
    async def open(cls, root: Path) -> Self:
        """Makes nothing: the first write does, so a volume that is not mounted is found by a probe, not hidden here."""
        tree = await run(Tree, root)
        with translated("open", tree.name, ""):
            await run(tree.sweep)
        return cls(tree)

    async def close(self) -> None:
        pass

    async def put(self, key: str, body: Body, *, if_absent: bool = False) -> ObjectMeta:
        return await self._write("put", key, body, if_absent=if_absent)

    async def get(self, key: str, *, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        with translated("get", self.name, key):
            descriptor = await acquire(os.close, self._tree.open, key, "get")
        try:
            left = length
            while left is None or left > 0:
                with translated("get", self.name, key):
                    data = await run(os.pread, descriptor, CHUNK if left is None else min(CHUNK, left), offset)
                if not data:
                    return
                offset += len(data)
                left = None if left is None else left - len(data)
                yield data
        finally:
            os.close(descriptor)

    def pour(self, key: str, sink: Sink, *, offset: int = 0, length: int | None = None) -> AsyncIterator[int]:
        return poured(self.get(key, offset=offset, length=length), sink)

    async def head(self, key: str) -> ObjectMeta:
        with translated("head", self.name, key):
            return await run(self._tree.meta, key, "head")

    async def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            with translated("delete", self.name, key):
                await run(self._tree.remove, key)

    async def list(self, prefix: str, *, start_after: str = "") -> AsyncIterator[ObjectMeta]:
        found = self._tree.walk(prefix, start_after)
        while True:
            with translated("list", self.name, prefix):
                metas = await run(page, found)
            if not metas:
                return
            for meta in metas:
                yield meta

    async def copy(self, source: str, target: str) -> ObjectMeta:
        meta = await self.head(source)
        with translated("copy", self.name, source):
            path = await run(self._tree.path, source, "copy")
        return await self._write("copy", target, FileBody(path, 0, meta.size))

    async def create_upload(self, key: str) -> str:
        with translated("create upload", self.name, key):
            await run(self._tree.path, key, "create upload")
            upload = uuid4().hex
            await run(_start, self._tree, upload, key)
        return upload

    async def upload_part(self, key: str, upload: str, number: int, body: Body) -> Part:
        directory = await self._upload("upload part", key, upload)
        if not 1 <= number <= self.capabilities.max_parts:
            raise StoreError(Kind.INVALID, "upload part", self.name, key, f"there is no part number {number}")
        async with self._temporary("upload part", key) as (descriptor, temporary):
            crc = await self._fill(descriptor, "upload part", key, body)
            tag = f"{crc:08x}-{uuid4().hex[:8]}"
            with translated("upload part", self.name, key):
                await run(_keep_part, descriptor, temporary, directory, number, tag)
        return Part(number, body.size, tag, crc)

    async def list_parts(self, key: str, upload: str) -> Parts:
        directory = await self._upload("list parts", key, upload)
        with translated("list parts", self.name, key):
            return [part for part, _ in await run(_parts, directory)]

    async def complete_upload(
        self, key: str, upload: str, parts: Sequence[Part], *, if_absent: bool = False
    ) -> ObjectMeta:
        directory = await self._upload("complete upload", key, upload)
        with translated("complete upload", self.name, key):
            stored = {(part.number, part.etag): (part, path) for part, path in await run(_parts, directory)}
        ordered = sorted(parts, key=lambda part: part.number)
        if not ordered or len({part.number for part in ordered}) < len(ordered):
            message = "the parts must be one or more, each number once"
            raise StoreError(Kind.INVALID, "complete upload", self.name, key, message)
        for part in ordered:
            if (part.number, part.etag) not in stored:
                message = f"part {part.number} is not the one sent"
                raise StoreError(Kind.INVALID, "complete upload", self.name, key, message)
        body = _Joined([stored[part.number, part.etag] for part in ordered])
        meta = await self._write("complete upload", key, body, if_absent=if_absent)
        await run(self._tree.drop, upload)
        return meta

    async def abort_upload(self, key: str, upload: str) -> None:
        with suppress(NotFound):
            await self._upload("abort upload", key, upload)
            await run(self._tree.drop, upload)

    async def list_uploads(self, prefix: str) -> AsyncIterator[Upload]:
        with translated("list uploads", self.name, prefix):
            found = await run(_uploads, self._tree, prefix)
        for upload in found:
            yield upload

    async def _upload(self, operation: str, key: str, upload: str) -> Path:
        check_key(upload, operation, self.name)
        directory = self._tree.uploads / upload
        with translated(operation, self.name, key):
            if "/" in upload or await run(_upload_key, directory) != key:
                raise StoreError(Kind.NOT_FOUND, operation, self.name, key, f"there is no upload {upload}")
        return directory

    async def _write(self, operation: str, key: str, body: Body, *, if_absent: bool = False) -> ObjectMeta:
        with translated(operation, self.name, key):
            await run(self._tree.path, key, operation)  # before any byte is written
        async with self._temporary(operation, key) as (descriptor, temporary):
            crc = await self._fill(descriptor, operation, key, body)
            with translated(operation, self.name, key):
                meta = await run(self._tree.publish, descriptor, temporary, key, operation, if_absent=if_absent)
        return msgspec.structs.replace(meta, crc32c=crc)

    async def _fill(self, descriptor: int, operation: str, key: str, body: Body) -> int:
        crc = 0
        async for chunk in checked(body, operation, self.name, key):
            crc = crc32c(chunk, crc)
            with translated(operation, self.name, key):
                await run(write, descriptor, chunk)
        return crc

    @asynccontextmanager
    async def _temporary(self, operation: str, key: str) -> AsyncGenerator[tuple[int, Path], None]:
        try:
            made = await acquire(discard, self._tree.create)
        except OSError as error:
            raise translate(error, operation, self.name, key) from error
        try:
            yield made
        finally:
            await run(discard, made)


class _Joined:
    """Parts, one after the other."""

    def __init__(self, parts: Sequence[tuple[Part, Path]]) -> None:
        self.size = sum(part.size for part, _ in parts)
        self.crc32c = combine((part.crc32c or 0, part.size) for part, _ in parts)
        self._bodies = [FileBody(path, 0, part.size, checksum=part.crc32c) for part, path in parts]

    async def chunks(self) -> AsyncIterator[bytes]:
        for body in self._bodies:
            async for chunk in body.chunks():
                yield chunk


def _start(tree: Tree, upload: str, key: str) -> None:
    directory = tree.uploads / upload
    directory.mkdir(parents=True)
    (directory / "key").write_text(key)


def _upload_key(directory: Path) -> str:
    return (directory / "key").read_text()


def _keep_part(descriptor: int, temporary: Path, directory: Path, number: int, tag: str) -> None:
    """The newest of a number counts: the others go."""
    os.fsync(descriptor)
    older = list(directory.glob(f"{number:05d}-*"))
    temporary.rename(directory / f"{number:05d}-{tag}")
    for path in older:
        path.unlink(missing_ok=True)


def _parts(directory: Path) -> list[tuple[Part, Path]]:
    """By number; of two that raced for one number, the newest."""
    found: dict[int, tuple[int, Part, Path]] = {}
    for path in directory.glob("[0-9]*-*"):
        number, _, tag = path.name.partition("-")
        seen = path.stat()
        part = Part(int(number), seen.st_size, tag, int(tag[:8], 16))
        if part.number not in found or found[part.number][0] < seen.st_mtime_ns:
            found[part.number] = (seen.st_mtime_ns, part, path)
    return [(part, path) for _, (_, part, path) in sorted(found.items())]


def _uploads(tree: Tree, prefix: str) -> list[Upload]:
    found = []
    if tree.uploads.is_dir():
        for directory in tree.uploads.iterdir():
            with suppress(FileNotFoundError):
                key = _upload_key(directory)
                if key.startswith(prefix):
                    found.append(Upload(key, directory.name, (directory / "key").stat().st_mtime))
    return sorted(found, key=lambda upload: (upload.key, upload.id))
