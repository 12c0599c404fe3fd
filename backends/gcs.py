"""Google Cloud Storage, by its JSON API over aiohttp, with gcloud-aio-auth's credentials.

gcs.py              the verbs
gcs_parts.py        uploads in parts, of composed objects
gcs_objects.py      requests for single objects       gcs_batch.py        many deletions at once
gcs_upload.py       bodies: one request or a session that is taken up again
gcs_client.py       connections, time limits, tokens  gcs_credentials.py  where tokens come from
gcs_options.py      how objects are kept              gcs_errors.py       what goes wrong
"""

from __future__ import annotations

import os
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Self

from backends.base import Body, Capabilities, Endpoint, ObjectMeta, Options, Part, Parts, Upload, check_key
from backends.checksums import crc32c, from_base64
from backends.errors import Kind, StoreError
from backends.gcs_client import Ask
from backends.gcs_errors import foreign, translate
from backends.gcs_objects import Objects
from backends.gcs_options import Keeping
from backends.gcs_parts import FOLDER, MAX_PARTS, Multipart, hidden
from backends.gcs_session import open_client
from backends.gcs_upload import ABSENT
from backends.streams import poured

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    import aiohttp

    from backends.gcs_client import Client
    from backends.streams import Sink

CONNECTIONS = 32
STALL = 60.0


class GcsStore:
    """One bucket. ``etag`` is an object's generation.

    A request that makes no progress for ``stall`` seconds ends with TIMEOUT; waiting for one of the ``connections`` is
    not counted. ``put`` of more than 8 MiB goes on where the last try of the same body broke off.
    """

    capabilities = Capabilities(max_put=5 << 40, min_part=1, max_parts=MAX_PARTS)

    def __init__(self, client: Client, keeping: Keeping, stack: AsyncExitStack) -> None:
        self.name = client.name
        self._client = client
        self._objects = Objects(client, keeping)
        self._parts = Multipart(self._objects)
        self._stack = stack

    @classmethod
    async def open(
        cls,
        bucket: str,
        endpoint: Endpoint | None = None,
        options: Options | None = None,
        *,
        env: Mapping[str, str] = os.environ,
        connections: int = CONNECTIONS,
        stall: float = STALL,
    ) -> Self:
        """Finds credentials, sends nothing to the store. UNAUTHENTICATED when there are none."""
        name = f"gs://{bucket}"
        keeping = Keeping(options or Options(), name, env)
        async with AsyncExitStack() as stack:
            try:
                client = await open_client(
                    stack,
                    bucket,
                    endpoint or Endpoint(),
                    keeping.query(),
                    connections=connections,
                    stall=stall,
                    env=env,
                )
            except Exception as error:
                raise translate(error, ("open", name, "")) from error
            return cls(client, keeping, stack.pop_all())
        raise AssertionError  # an exit stack without callbacks that swallow does not get here

    async def close(self) -> None:
        await self._stack.aclose()

    async def put(self, key: str, body: Body, *, if_absent: bool = False) -> ObjectMeta:
        self._check(key, "put")
        made = await self._objects.write("put", key, body, ABSENT if if_absent else None)
        return made.meta(key)

    async def get(self, key: str, *, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """Bytes as they are stored: with "gzip" allowed, the server unpacks nothing on the way. See "Transcoding"."""
        if length == 0:
            await self.head(key)  # an empty range cannot be asked for
            return
        headers = {"Accept-Encoding": "gzip"}
        if offset or length is not None:
            headers["Range"] = f"bytes={offset}-{'' if length is None else offset + length - 1}"
        ask = Ask("get", key, "GET", self._client.object(key), {"alt": "media"}, headers)
        async with self._client.stream(ask) as found:
            if found is None:  # past the end
                return
            response, pieces = found
            if not {"x-goog-hash", "x-goog-generation"} & {name.lower() for name in response.headers}:
                raise foreign(response.status, response.headers, ("get", self.name, key))
            if offset and response.status != 206:
                raise StoreError(Kind.NOT_SUPPORTED, "get", self.name, key, "the endpoint does not serve ranges")
            size, crc = 0, 0
            whole = response.status == 200
            async for piece in pieces:
                size += len(piece)
                if whole:  # 5 µs for 256 KiB; handing it to a thread costs 80 (measured)
                    crc = crc32c(piece, crc)
                yield piece
            self._check_read(key, response, size, crc if whole else None)

    def pour(self, key: str, sink: Sink, *, offset: int = 0, length: int | None = None) -> AsyncIterator[int]:
        return poured(self.get(key, offset=offset, length=length), sink)

    def _check_read(self, key: str, response: aiohttp.ClientResponse, size: int, crc: int | None) -> None:
        """A body of unknown length may end early unseen; a whole one has a checksum."""
        hashes = ",".join(response.headers.getall("x-goog-hash", [])).split(",")
        told = next((one.strip().removeprefix("crc32c=") for one in hashes if one.strip().startswith("crc32c=")), "")
        expected = response.content_length
        if expected is None and crc is not None:
            expected = int(response.headers.get("x-goog-stored-content-length", size))
        if expected is not None and size != expected:
            raise StoreError(Kind.UNAVAILABLE, "get", self.name, key, f"only {size} of {expected} bytes came")
        if crc is not None and told and crc != from_base64(told):
            # Not to be retried where a stream goes on: the wrong bytes have been handed out.
            message = "the bytes that arrived are not the bytes that are stored"
            raise StoreError(Kind.CORRUPT, "get", self.name, key, message, retryable=False)

    async def head(self, key: str) -> ObjectMeta:
        return (await self._objects.head("head", key)).meta(key)

    async def delete(self, keys: Sequence[str]) -> None:
        await self._objects.delete(keys)

    async def list(self, prefix: str, *, start_after: str = "") -> AsyncIterator[ObjectMeta]:
        async for found in self._objects.names("list", prefix, start_after):
            if not hidden(found.name):
                yield found.meta(found.name)

    async def copy(self, source: str, target: str) -> ObjectMeta:
        self._check(target, "copy")
        made = await self._objects.rewrite("copy", source, target, self._objects.fields(), {})
        return made.meta(target)

    async def create_upload(self, key: str) -> str:
        self._check(key, "create upload")
        return await self._parts.create(key)

    async def upload_part(self, key: str, upload: str, number: int, body: Body) -> Part:
        return await self._parts.upload_part(key, upload, number, body)

    async def list_parts(self, key: str, upload: str) -> Parts:
        return await self._parts.list_parts(key, upload)

    async def complete_upload(
        self, key: str, upload: str, parts: Sequence[Part], *, if_absent: bool = False
    ) -> ObjectMeta:
        return await self._parts.complete(key, upload, parts, if_absent=if_absent)

    async def abort_upload(self, key: str, upload: str) -> None:
        await self._parts.abort(key, upload)

    async def list_uploads(self, prefix: str) -> AsyncIterator[Upload]:
        async for upload in self._parts.list_uploads(prefix):
            yield upload

    def _check(self, key: str, operation: str) -> None:
        check_key(key, operation, self.name)
        if hidden(key):
            message = f"the segment {FOLDER} is kept for uploads under way"
            raise StoreError(Kind.INVALID, operation, self.name, key, message)
