"""Multipart uploads. Azure knows blocks, but no upload: an empty blob below ``.uploads/`` is one, hidden from listings.

Its metadata names the key; while it is there the upload is open, in every process and after a restart. Completing and
aborting remove it. Azure has no call that throws uncommitted blocks away: those of an aborted upload last a week. And a
blob that is written in another way loses its uncommitted blocks at once, so their upload has to send its parts again.
"""

from __future__ import annotations

import base64
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import quote

from backends import azure_xml as xml
from backends.azure_blocks import is_upload, new_upload, parsed, parts_of
from backends.azure_send import crc_of, etag_of
from backends.base import ObjectMeta, Part, Upload, check_key
from backends.checksums import combine
from backends.errors import AlreadyExists, Kind, NotFound, StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from backends.azure_client import Wire
    from backends.azure_send import Sender
    from backends.base import Body, Capabilities, Parts

HIDDEN = ".uploads/"
PAGE = 1000  # Azure gives up to 5,000, which are 3 MB of XML: reading that holds the event loop for too long
FROM_VERSION = "2026-02-06"  # List Blobs knows ``startFrom`` from here


class Uploads:
    def __init__(self, wire: Wire, sender: Sender, limits: Capabilities) -> None:
        self._wire = wire
        self._sender = sender
        self._limits = limits
        self._open: dict[str, str] = {}  # upload -> key, of those seen open: a part costs no question

    async def create(self, key: str) -> str:
        upload = new_upload()
        headers = {"x-ms-blob-type": "BlockBlob", "x-ms-meta-key": _key_text(key)}
        await self._wire.call("create upload", "PUT", HIDDEN + upload, headers=headers, named=key)
        self._open[upload] = key
        return upload

    async def send(self, key: str, upload: str, number: int, body: Body) -> Part:
        operation = "upload part"
        if not 1 <= number <= self._limits.max_parts:
            raise self._error(Kind.INVALID, operation, key, f"there is no part number {number}")
        if self._open.get(upload) != key:
            await self._check(operation, key, upload)
        name, crc = await self._sender.stage(operation, key, upload, number, body)
        if name.kind == "d":
            await self._sender.note(operation, key, name, crc)
        return Part(number, body.size, str(name), crc)

    async def parts(self, key: str, upload: str) -> Parts:
        await self._check("list parts", key, upload)
        query = "comp=blocklist&blocklisttype=uncommitted"
        try:
            _, data = await self._wire.call("list parts", "GET", key, query=query)
        except NotFound:  # no block yet
            return []
        return parts_of(upload, xml.uncommitted(data))

    async def complete(self, key: str, upload: str, ordered: Sequence[Part], *, if_absent: bool) -> ObjectMeta:
        operation = "complete upload"
        await self._check(operation, key, upload)
        for part in ordered:
            name = parsed(part.etag)
            if name is None or (name.upload, name.number) != (upload, part.number):
                raise self._error(Kind.INVALID, operation, key, f"part {part.number} is not one that was sent")
        known = [(part.crc32c, part.size) for part in ordered if part.crc32c is not None]
        crc = combine(known) if len(known) == len(ordered) else None
        names = [part.etag for part in ordered]
        size = sum(part.size for part in ordered)
        try:
            meta = await self._sender.commit(operation, key, names, size, crc, if_absent=if_absent, upload=upload)
        except AlreadyExists:
            ours = await self._ours(key, upload)
            if ours is None:
                raise
            meta = ours
        try:
            await self._close(operation, key, upload)
        except StoreError as error:  # the object is there; credentials may lack the right to delete
            if error.kind not in {Kind.NOT_FOUND, Kind.FORBIDDEN}:
                raise
        return meta

    async def _ours(self, key: str, upload: str) -> ObjectMeta | None:
        """What this upload made, when it was completed before and the answer got lost."""
        headers, _ = await self._wire.call("complete upload", "HEAD", key)
        if headers.get("x-ms-meta-upload") != upload:
            return None
        return ObjectMeta(key, int(headers["Content-Length"]), etag_of(headers), 0.0, crc_of(headers))

    async def abort(self, key: str, upload: str) -> None:
        with suppress(NotFound):
            await self._check("abort upload", key, upload)
            await self._close("abort upload", key, upload)

    async def all(self, prefix: str) -> AsyncIterator[Upload]:
        marker = ""
        while True:
            found = await page(self._wire, "list uploads", HIDDEN, marker, include="metadata")
            for blob, metadata in zip(found.blobs, found.metadata, strict=True):
                key = _key_of(metadata.get("key", ""))
                if key and key.startswith(prefix):
                    yield Upload(key, blob.key.removeprefix(HIDDEN), blob.modified)
            if not found.marker:
                return
            marker = found.marker

    async def _check(self, operation: str, key: str, upload: str) -> None:
        gone = self._error(Kind.NOT_FOUND, operation, key, f"there is no upload {upload}")
        if not is_upload(upload):
            raise gone
        try:
            headers, _ = await self._wire.call(operation, "HEAD", HIDDEN + upload, named=key)
        except NotFound:
            self._open.pop(upload, None)
            raise gone from None
        if headers.get("x-ms-meta-key") != _key_text(key):
            raise gone
        self._open[upload] = key

    async def _close(self, operation: str, key: str, upload: str) -> None:
        self._open.pop(upload, None)
        await self._wire.call(operation, "DELETE", HIDDEN + upload, named=key)

    def _error(self, kind: Kind, operation: str, key: str, message: str) -> StoreError:
        return StoreError(kind, operation, self._wire.store, key, message)


async def page(
    wire: Wire, operation: str, prefix: str, marker: str, *, start_from: str = "", include: str = ""
) -> xml.Listed:
    """One page of the container's blobs, those of open uploads among them."""
    asked = {
        "restype": "container", "comp": "list", "maxresults": str(PAGE), "prefix": prefix, "marker": marker,
        "include": include, "startFrom": start_from,
    }  # fmt: skip
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in asked.items() if value)
    headers = {"x-ms-version": FROM_VERSION} if start_from else {}
    _, data = await wire.call(operation, "GET", query=query, headers=headers, named=prefix)
    try:
        return xml.listed(data)
    except ValueError as error:
        message = f"the answer is no listing: {error}"
        raise StoreError(Kind.UNAVAILABLE, operation, wire.store, prefix, message) from error


def check_name(key: str, operation: str, store: str) -> None:
    """INVALID for what ``check_key`` takes and Azure would write under another name, or where uploads are kept.

    Azure turns each backslash into a slash (Azure/azure-sdk-for-python#48883), and its rules for blob names forbid
    dots at the end of a segment.
    """
    check_key(key, operation, store)
    message = ""
    if "\\" in key or any(segment.endswith(".") for segment in key.split("/")):
        message = "a blob's name takes no backslash, and no dot at the end of a segment"
    elif key.startswith(HIDDEN):
        message = f"what is below {HIDDEN} belongs to open uploads"
    if message:
        raise StoreError(Kind.INVALID, operation, store, key, message)


def _key_text(key: str) -> str:
    """As metadata: headers carry ASCII alone."""
    return base64.urlsafe_b64encode(key.encode()).decode()


def _key_of(text: str) -> str:
    try:
        return base64.urlsafe_b64decode(text).decode()
    except ValueError:
        return ""
