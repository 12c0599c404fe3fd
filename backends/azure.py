"""Azure Blob storage. Credentials by the SDK's chain, requests by our own wire (azure_client.py)."""

from __future__ import annotations

import itertools
import os
import re
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from backends import azure_xml as xml
from backends.azure_client import Wire, account
from backends.azure_errors import refused, translate
from backends.azure_options import kept
from backends.azure_send import Sender, crc_of, etag_of
from backends.azure_uploads import HIDDEN, Uploads, check_name, page
from backends.base import Capabilities, Endpoint, ObjectMeta, Options
from backends.errors import Kind, NotFound, StoreError
from backends.streams import poured

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from backends.base import Body, Part, Parts, Upload
    from backends.streams import Sink

CONNECTIONS = 32
STALL = 60.0
DELETE_BATCH = 256  # Azure's limit
COPY_BLOCK = 256 << 20
MAX_BLOCK = 4000 << 20
LIMITS = Capabilities(max_put=MAX_BLOCK, min_part=1, max_parts=50_000)


class AzureStore:
    """One container. Blobs carry their CRC32C as metadata; what goes out is compared with the CRC64 Azure computes.

    Where keys are beyond ASCII, the order of a listing is Azure's.
    """

    capabilities = LIMITS

    def __init__(self, wire: Wire, options: Options) -> None:
        self.name = wire.store
        self._wire = wire
        self._send = Sender(wire, kept(options, self.name))
        self._uploads = Uploads(wire, self._send, LIMITS)
        self._from = True  # until a server says that it has no ``startFrom``
        self._batch = True  # until one says that it has no batch

    @classmethod
    async def open(
        cls,
        container: str,
        endpoint: Endpoint | None = None,
        options: Options | None = None,
        *,
        env: Mapping[str, str] = os.environ,
        connections: int = CONNECTIONS,
        stall: float = STALL,
    ) -> Self:
        """Finds credentials, sends nothing to the store. UNAUTHENTICATED when there are none."""
        endpoint = endpoint or Endpoint()
        kept(options or Options(), f"azure://{container}")  # before anything is asked of anybody
        where = await account(container, endpoint, env)
        wire = Wire(container, where, endpoint, connections=connections, stall=stall)
        try:
            await wire.connect()
        except BaseException as error:
            await wire.close()
            if isinstance(error, Exception):
                raise translate(error, "open", wire.store, "") from error
            raise
        return cls(wire, options or Options())

    async def close(self) -> None:
        await self._wire.close()

    async def put(self, key: str, body: Body, *, if_absent: bool = False) -> ObjectMeta:
        check_name(key, "put", self.name)
        return await self._send.put(key, body, if_absent=if_absent)

    async def get(self, key: str, *, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        if length == 0:
            await self.head(key)  # an empty range cannot be asked for
            return
        wanted: dict[str, str] = {}
        if offset or length is not None:
            wanted["x-ms-range"] = f"bytes={offset}-{'' if length is None else offset + length - 1}"
        expected = (200, 206, 416)  # the last: past the end
        async with self._wire.request("get", "GET", key, headers=wanted, expected=expected) as answer:
            if answer.status == 416:
                return
            async for piece in self._wire.pieces(answer, "get", key):
                yield piece

    def pour(self, key: str, sink: Sink, *, offset: int = 0, length: int | None = None) -> AsyncIterator[int]:
        return poured(self.get(key, offset=offset, length=length), sink)

    async def head(self, key: str) -> ObjectMeta:
        headers, _ = await self._wire.call("head", "HEAD", key)
        modified = xml.seconds(headers.get("Last-Modified", ""))
        return ObjectMeta(key, int(headers["Content-Length"]), etag_of(headers), modified, crc_of(headers))

    async def delete(self, keys: Sequence[str]) -> None:
        wanted = list(dict.fromkeys(keys))
        for start in range(0, len(wanted), DELETE_BATCH):
            batch = wanted[start : start + DELETE_BATCH]
            if self._batch and len(batch) > 1:
                try:
                    await self._delete_batch(batch)
                    continue
                except StoreError as error:
                    if error.key or error.kind not in {Kind.INVALID, Kind.NOT_SUPPORTED}:
                        raise
                    self._batch = False  # the batch itself was refused: some kinds of account have none
            for key in batch:
                await self._delete_one(key)

    async def _delete_one(self, key: str) -> None:
        with suppress(NotFound):
            await self._wire.call("delete", "DELETE", key)

    async def _delete_batch(self, keys: Sequence[str]) -> None:
        boundary = f"batch_{secrets.token_hex(8)}"
        asked = [await self._wire.alone("DELETE", key) for key in keys]
        headers, data = await self._wire.call(
            "delete", "POST", query="restype=container&comp=batch", data=xml.batch(asked, boundary), named="",
            headers={"Content-Type": f"multipart/mixed; boundary={boundary}"}, expected=(202,),
        )  # fmt: skip
        found = re.search(r'boundary="?([^";]+)', headers.get("Content-Type", ""))
        answers = xml.batch_answers(data, found[1] if found else boundary)
        failed = [error for number, key in enumerate(keys) if (error := self._stayed(key, answers.get(number)))]
        if failed:
            failed[0].message = f"{len(failed)} of {len(keys)} keys stayed: {failed[0].message}"
            raise failed[0]

    def _stayed(self, key: str, answer: xml.Answer | None) -> StoreError | None:
        if answer is None:
            return StoreError(Kind.UNAVAILABLE, "delete", self.name, key, "the batch's answer does not speak of it")
        if answer.status == 202:
            return None
        error = refused(answer.status, {"x-ms-version": "", **answer.headers}, answer.text, "delete", self.name, key)
        return None if error.kind is Kind.NOT_FOUND else error

    async def list(self, prefix: str, *, start_after: str = "") -> AsyncIterator[ObjectMeta]:
        """A server that has no ``startFrom`` yet lists from the start, and what comes before is dropped here."""
        marker = ""
        while True:
            found = await self._page(prefix, marker, start_after)
            for meta in found.blobs:
                if meta.key > start_after and not meta.key.startswith(HIDDEN):
                    yield meta
            if not found.marker:
                return
            marker = found.marker

    async def _page(self, prefix: str, marker: str, start_after: str) -> xml.Listed:
        if start_after and self._from:
            try:
                return await page(self._wire, "list", prefix, marker, start_from=start_after)
            except StoreError as error:
                if marker or error.kind not in {Kind.INVALID, Kind.NOT_SUPPORTED}:
                    raise
                self._from = False
        return await page(self._wire, "list", prefix, marker)

    async def copy(self, source: str, target: str) -> ObjectMeta:
        """By blocks that the server fetches itself: any size, and the target appears whole. Nothing to abort."""
        check_name(target, "copy", self.name)
        there = await self.head(source)
        query, headers = await self._wire.credential.of_source(self._wire.container, source)
        asked = {"x-ms-copy-source": f"{self._wire.url(source)}?{query}" if query else self._wire.url(source)}
        asked |= {"x-ms-source-if-match": f'"{there.etag}"'} | headers
        return await self._send.copy(target, there, asked, COPY_BLOCK)

    async def create_upload(self, key: str) -> str:
        check_name(key, "create upload", self.name)
        return await self._uploads.create(key)

    async def upload_part(self, key: str, upload: str, number: int, body: Body) -> Part:
        return await self._uploads.send(key, upload, number, body)

    async def list_parts(self, key: str, upload: str) -> Parts:
        return await self._uploads.parts(key, upload)

    async def complete_upload(
        self, key: str, upload: str, parts: Sequence[Part], *, if_absent: bool = False
    ) -> ObjectMeta:
        ordered = sorted(parts, key=lambda part: part.number)
        if not ordered or any(one.number == other.number for one, other in itertools.pairwise(ordered)):
            message = "the parts must be one or more, each number once"
            raise StoreError(Kind.INVALID, "complete upload", self.name, key, message)
        return await self._uploads.complete(key, upload, ordered, if_absent=if_absent)

    async def abort_upload(self, key: str, upload: str) -> None:
        await self._uploads.abort(key, upload)

    def list_uploads(self, prefix: str) -> AsyncIterator[Upload]:
        return self._uploads.all(prefix)
