"""Multipart uploads, which the JSON API has not: parts are objects, put together on the server.

    <directory>/.uploads/<name>/<id>/start       made by ``create``; its class is what the bucket keeps objects in
    <directory>/.uploads/<name>/<id>/00001       a part; a number sent again replaces it
    <directory>/.uploads/<name>/<id>/c1-00000    up to 32 of those together, where there are more than 32
    <directory>/<name>                           what ``complete`` makes, at once

They stand beside the object, so that a prefix, and a role that ends at one, covers them; listings of users leave them
out. What of them is there belongs to an upload that is not over: ``complete`` removes them last, ``abort`` any time.
Parts are of class STANDARD, which nobody pays for a month when they go after a minute; what is composed has its parts'
class ("Composite objects", Cloud Storage's documentation), so another class takes one more step on the server.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from backends.base import MAX_KEY, ObjectMeta, Part, Parts, Upload, check_key
from backends.body import BytesBody
from backends.checksums import combine
from backends.errors import Kind, NotFound, StoreError
from backends.gcs_options import STANDARD
from backends.gcs_upload import ABSENT, Resource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from backends.base import Body
    from backends.gcs_objects import Objects

MAX_PARTS = 1024
TOGETHER = 32  # Google's limit for one compose
FOLDER = ".uploads"
START = "start"
OWNER = "cassandra-backup-upload"  # metadata of a completed object: the id of its upload
_NAME = re.compile(rf"(|.*/){re.escape(FOLDER)}/([^/]+)/([0-9a-f]{{32}})/[^/]+", re.DOTALL)
_ID = re.compile(r"[0-9a-f]{32}")
_PART = re.compile(r"\d{5}")
_ROOM = len(f"/{FOLDER}//c1-00000") + 32
T = TypeVar("T")


class Multipart:
    """The verbs of the protocol. ``objects``: those of single objects."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._store = objects.name
        self._started: set[str] = set()  # folders of uploads that were seen to exist

    async def create(self, key: str) -> str:
        check_key(key, "create upload", self._store)
        if len(key.encode()) > MAX_KEY - _ROOM:
            message = f"for an upload in parts a key is {MAX_KEY - _ROOM} bytes at most"
            raise StoreError(Kind.INVALID, "create upload", self._store, key, message)
        upload = secrets.token_hex(16)
        folder = _folder(key, upload)
        await self._objects.write("create upload", folder + START, BytesBody(b""))
        self._started.add(folder)
        return upload

    async def upload_part(self, key: str, upload: str, number: int, body: Body) -> Part:
        folder = await self._known("upload part", key, upload)
        if not 1 <= number <= MAX_PARTS:
            raise StoreError(Kind.INVALID, "upload part", self._store, key, f"there is no part number {number}")
        made = await self._objects.write("upload part", f"{folder}{number:05d}", body, storage_class=STANDARD)
        return Part(number, made.size, made.generation, made.checksum)

    async def list_parts(self, key: str, upload: str) -> Parts:
        pieces = await self._pieces("list parts", key, upload)
        return [_part(name, found) for name, found in pieces.items() if _PART.fullmatch(name)]

    async def complete(self, key: str, upload: str, parts: Sequence[Part], *, if_absent: bool) -> ObjectMeta:
        """A second call finds by the object's metadata that the first one, whose answer was lost, did it."""
        pieces = await self._pieces("complete upload", key, upload)
        made = await self._completed(key, upload, if_absent=if_absent)
        if made is None:
            ordered = self._ordered(key, parts, pieces)
            folder = _folder(key, upload)
            sources = [(f"{folder}{part.number:05d}", part.etag) for part in ordered]
            made = await self._join(key, upload, sources, pieces[START].storage_class or STANDARD, if_absent=if_absent)
            crc = combine((part.crc32c or 0, part.size) for part in ordered)
            await self._objects.verify("complete upload", key, made, sum(part.size for part in ordered), crc)
        with suppress(StoreError):  # what stays is found by ``list_uploads``
            await self._remove("complete upload", key, upload)
        return made.meta(key)

    async def abort(self, key: str, upload: str) -> None:
        if _ID.fullmatch(upload):
            await self._remove("abort upload", key, upload)

    async def list_uploads(self, prefix: str) -> AsyncIterator[Upload]:
        """Costs a listing of all below ``prefix``: a journal of upload ids is cheaper, this finds what none knows."""
        directory, slash, _ = prefix.rpartition("/")
        began: dict[tuple[str, str], float] = {}
        async for found in self._objects.names("list uploads", directory + slash):
            if match := _NAME.fullmatch(found.name):
                place = (match[1] + match[2], match[3])
                made = found.time_created.timestamp() if found.time_created else 0.0
                began[place] = min(made, began.get(place, made))
        for key, upload in sorted(began):
            if key.startswith(prefix):
                yield Upload(key, upload, began[key, upload])

    async def _known(self, operation: str, key: str, upload: str) -> str:
        folder = _folder(key, upload)
        if folder not in self._started:
            if not _ID.fullmatch(upload):
                raise self._unknown(operation, key, upload)
            try:
                await self._objects.head(operation, folder + START)
            except NotFound:
                raise self._unknown(operation, key, upload) from None
            self._started.add(folder)
        return folder

    async def _pieces(self, operation: str, key: str, upload: str) -> dict[str, Resource]:
        """What there is of the upload, by its name in the folder, in order."""
        folder = _folder(key, upload)
        found = {}
        if _ID.fullmatch(upload):
            found = {one.name.removeprefix(folder): one async for one in self._objects.names(operation, folder)}
        if START not in found:
            raise self._unknown(operation, key, upload)
        return found

    async def _completed(self, key: str, upload: str, *, if_absent: bool) -> Resource | None:
        """The object, where this upload made it. AlreadyExists for another's, which spares the composing."""
        try:
            there = await self._objects.head("complete upload", key)
        except NotFound:
            return None
        if there.metadata.get(OWNER) == upload:
            return there
        if if_absent:
            message = "the object is there already"
            raise StoreError(Kind.ALREADY_EXISTS, "complete upload", self._store, key, message)
        return None

    def _ordered(self, key: str, parts: Sequence[Part], pieces: dict[str, Resource]) -> list[Part]:
        """The parts named, as the server has them. INVALID where they are not the ones that were sent."""
        numbers = sorted(part.number for part in parts)
        message = ""
        if not parts or len(set(numbers)) < len(numbers):
            message = "the parts must be one or more, each number once"
        ordered = []
        for part in sorted(parts, key=lambda part: part.number):
            found = pieces.get(f"{part.number:05d}")
            if found is None or found.generation != part.etag or part.crc32c not in {None, found.checksum}:
                message = message or f"part {part.number} is not the one sent"
            else:
                ordered.append(_part(f"{part.number:05d}", found))
        if message:
            raise StoreError(Kind.INVALID, "complete upload", self._store, key, message)
        return ordered

    async def _join(
        self, key: str, upload: str, sources: list[tuple[str, str]], bucket_class: str, *, if_absent: bool
    ) -> Resource:
        objects = self._objects
        folder = _folder(key, upload)
        level = 0
        while len(sources) > TOGETHER:
            level += 1
            groups = [sources[start : start + TOGETHER] for start in range(0, len(sources), TOGETHER)]
            jobs = [
                partial(objects.compose, f"{folder}c{level}-{number:05d}", group, objects.fields(STANDARD), {})
                for number, group in enumerate(groups)
            ]
            joined = await together(jobs)
            sources = [(one.name, one.generation) for one in joined]
        wanted = objects.storage_class or bucket_class
        query = ABSENT if if_absent else {}
        if wanted == STANDARD:
            return await objects.compose(key, sources, objects.fields(STANDARD, **{OWNER: upload}), query, last=True)
        whole = await objects.compose(folder + "whole", sources, objects.fields(STANDARD), {})
        fields = objects.fields(wanted, **{OWNER: upload})
        return await objects.rewrite("complete upload", whole.name, key, fields, query)

    async def _remove(self, operation: str, key: str, upload: str) -> None:
        folder = _folder(key, upload)
        self._started.discard(folder)
        names = [found.name async for found in self._objects.names(operation, folder)]
        if names:
            await self._objects.delete(names)

    def _unknown(self, operation: str, key: str, upload: str) -> StoreError:
        return StoreError(Kind.NOT_FOUND, operation, self._store, key, f"there is no upload {upload}")


def hidden(name: str) -> bool:
    """Of an upload under way."""
    return f"/{FOLDER}/" in f"/{name}"


async def together(jobs: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """All at once; the first failure ends the others, and is raised as it is."""

    async def run(job: Callable[[], Awaitable[T]]) -> T:
        return await job()

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(run(job)) for job in jobs]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]


def _folder(key: str, upload: str) -> str:
    directory, slash, name = key.rpartition("/")
    return f"{directory}{slash}{FOLDER}/{name}/{upload}/"


def _part(name: str, found: Resource) -> Part:
    return Part(int(name), found.size, found.generation, found.checksum)
