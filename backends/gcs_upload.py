"""Bytes on their way to one object, and the proof that they arrived.

A small body is one request with the object's fields before it; a larger one a session, whose url outlives a broken
connection: the next try of the same body asks the server how far it came, and goes on from there.
"""

from __future__ import annotations

import secrets
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import datetime  # noqa: TC003  msgspec reads the annotation
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import msgspec

from backends.base import ObjectMeta
from backends.body import checked
from backends.checksums import from_base64, to_base64
from backends.errors import Kind, StoreError
from backends.gcs_client import Ask
from backends.gcs_errors import foreign

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from backends.base import Body
    from backends.gcs_client import Answer, Client

SINGLE = 8 << 20  # bytes; Google's own clients send no more than this in one request
SMALL = 64 << 10  # bytes; up to here one write to the socket costs less than three
ABSENT = {"ifGenerationMatch": "0"}
GONE = frozenset({404, 410})  # of a session
RESUMABLE = {Kind.UNAVAILABLE, Kind.TIMEOUT, Kind.THROTTLED}  # a failure that leaves the session as it is
BINARY = "application/octet-stream"


class Resource(msgspec.Struct, rename="camel"):
    """An object as the JSON API describes it."""

    name: str = ""
    size: int = 0
    generation: str = ""
    crc32c: str = ""
    updated: datetime | None = None
    time_created: datetime | None = None
    storage_class: str = ""
    metadata: dict[str, str] = {}

    @property
    def checksum(self) -> int | None:
        return from_base64(self.crc32c) if self.crc32c else None

    def meta(self, key: str) -> ObjectMeta:
        modified = self.updated.timestamp() if self.updated else 0.0
        return ObjectMeta(key, self.size, self.generation, modified, self.checksum)


FIELDS = "name,size,generation,crc32c,updated,timeCreated,storageClass,metadata"


@dataclass(frozen=True, slots=True)
class Write:
    """An object to be: its fields in the JSON API's words, and what the request says beside them."""

    operation: str
    key: str
    body: Body
    fields: dict[str, Any]
    query: dict[str, str]

    @property
    def session(self) -> tuple[str, bool]:
        """A session belongs to a body, a key and a condition."""
        return self.key, "ifGenerationMatch" in self.query


class Uploader:
    """Writes objects."""

    def __init__(self, client: Client) -> None:
        self._client = client
        # The url of each session that broke off. One that nobody takes up again ends by itself within a week.
        self._sessions: WeakKeyDictionary[Body, dict[tuple[str, bool], str]] = WeakKeyDictionary()

    async def write(self, write: Write) -> Resource:
        """The new object. Its checksum is the server's, and the body's: CORRUPT, and no object, where they differ."""
        body = write.body
        if body.crc32c is not None:
            write.fields["crc32c"] = to_base64(body.crc32c)  # the server keeps nothing that sums up to anything else
        made = await (self._single(write) if body.size <= SINGLE else self._resumable(write))
        await self.verify(write.operation, write.key, made, body.size, body.crc32c)
        return made

    async def verify(self, operation: str, key: str, made: Resource, size: int, crc: int | None) -> None:
        if made.size == size and (crc is None or made.checksum in {None, crc}):
            return
        await self._discard(operation, key, made)
        message = f"of {size} bytes {made.size} arrived, or others: the object was removed"
        raise StoreError(Kind.CORRUPT, operation, self._client.name, key, message)

    async def _discard(self, operation: str, key: str, made: Resource) -> None:
        """That very generation, not what somebody else wrote meanwhile."""
        query = {"generation": made.generation}
        with suppress(StoreError):
            await self._client.call(Ask(operation, key, "DELETE", self._client.object(key), query))

    async def _single(self, write: Write) -> Resource:
        boundary = secrets.token_hex(16)
        head = (
            f"--{boundary}\r\nContent-Type: application/json\r\n\r\n".encode()
            + msgspec.json.encode(write.fields)
            + f"\r\n--{boundary}\r\nContent-Type: {BINARY}\r\n\r\n".encode()
        )
        tail = f"\r\n--{boundary}--\r\n".encode()

        async def pieces() -> AsyncGenerator[bytes, None]:
            held = head
            async with aclosing(self._checked(write, write.body)) as chunks:
                async for chunk in chunks:
                    if held is head and len(chunk) <= SMALL:
                        held += chunk
                    else:
                        yield held
                        held = chunk
            if len(held) > 2 * SMALL:
                yield held
                held = b""
            yield held + tail

        headers = {
            "Content-Type": f"multipart/related; boundary={boundary}",
            "Content-Length": str(len(head) + write.body.size + len(tail)),
        }
        query = {"uploadType": "multipart", "name": write.key, **write.query}
        ask = Ask(write.operation, write.key, "POST", self._client.uploads, query, headers)
        return self._client.decode(await self._client.send(ask, pieces), Resource, ask)

    async def _resumable(self, write: Write) -> Resource:
        url = self._taken(write)
        try:
            found = None if url is None else await self._persisted(write, url)
            if isinstance(found, Resource):
                return found
            if url is None or found is None:
                url, found = None, 0
                url = await self._begin(write)
            return await self._send(write, url, found)
        except StoreError as error:
            if url is not None and error.kind in RESUMABLE:
                self._keep(write, url)
            raise

    async def _begin(self, write: Write) -> str:
        headers = {"X-Upload-Content-Type": BINARY, "X-Upload-Content-Length": str(write.body.size)}
        query = {"uploadType": "resumable", "name": write.key, **write.query}
        ask = Ask(write.operation, write.key, "POST", self._client.uploads, query, headers)
        answer = await self._client.call(ask, write.fields)
        if url := answer.headers.get("Location"):
            return url
        raise foreign(answer.status, answer.headers, self._client.place(ask))

    async def _send(self, write: Write, url: str, offset: int) -> Resource:
        """All that is left in one request: the server keeps what arrives of it, in steps of 256 KiB."""
        client, body = self._client, write.body
        while True:
            headers = {
                "Content-Type": BINARY,
                "Content-Length": str(body.size - offset),
                "Content-Range": f"bytes {offset}-{body.size - 1}/{body.size}",
            }
            ask = Ask(write.operation, write.key, "PUT", url, None, headers, GONE | {308})
            answer = await client.send(ask, partial(self._rest, write, offset))
            if answer.status < 300:
                return client.decode(answer, Resource, ask)
            kept = _kept(answer) if answer.status == 308 else 0
            if not offset < kept < body.size:
                message = "the upload came no further: it goes on from what the server has"
                raise StoreError(Kind.UNAVAILABLE, *client.place(ask), message)
            offset = kept

    async def _persisted(self, write: Write, url: str) -> Resource | int | None:
        """How many bytes the session holds; the object where it has become one; None where it is over."""
        headers = {"Content-Length": "0", "Content-Range": f"bytes */{write.body.size}"}
        ask = Ask(write.operation, write.key, "PUT", url, None, headers, GONE | {308, 499})
        answer = await self._client.call(ask)
        if answer.status == 308 and (kept := _kept(answer)) < write.body.size:
            return kept
        if answer.status >= 300:
            return None
        made = self._client.decode(answer, Resource, ask)
        if made.size == write.body.size:
            return made
        await self._discard(write.operation, write.key, made)  # fake-gcs-server takes the question for the end
        return None

    def _rest(self, write: Write, offset: int) -> AsyncGenerator[bytes, None]:
        """The body from ``offset``: a part of it where that is checked as the whole is, else all read again."""
        body = write.body
        part = getattr(body, "part", None)
        if offset and part is not None and body.crc32c is not None and getattr(body, "inspector", None) is None:
            return self._checked(write, part(offset, body.size - offset))
        return _skipping(self._checked(write, body), offset)

    def _checked(self, write: Write, body: Body) -> AsyncGenerator[bytes, None]:
        return checked(body, write.operation, self._client.name, write.key)

    def _taken(self, write: Write) -> str | None:
        """Out of the store: a session is one request's at a time."""
        with suppress(TypeError):  # no weak reference to such a body
            return self._sessions.get(write.body, {}).pop(write.session, None)
        return None

    def _keep(self, write: Write, url: str) -> None:
        with suppress(TypeError):
            self._sessions.setdefault(write.body, {})[write.session] = url


def _kept(answer: Answer) -> int:
    """From ``Range: bytes=0-42``; without the header nothing was kept."""
    last = answer.headers.get("Range", "").rpartition("-")[2]
    return int(last) + 1 if last.isdecimal() else 0


async def _skipping(chunks: AsyncGenerator[bytes, None], offset: int) -> AsyncGenerator[bytes, None]:
    async with aclosing(chunks):
        async for chunk in chunks:
            if offset < len(chunk):
                yield chunk[offset:]
            offset = max(0, offset - len(chunk))
