"""S3 and what speaks like it, on aiobotocore."""

from __future__ import annotations

import asyncio
import itertools
import os
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Self

from botocore.exceptions import ClientError

from backends.base import Body, Capabilities, Endpoint, ObjectMeta, Part, Parts, Upload, check_key
from backends.body import checksum_of
from backends.checksums import combine, from_base64, to_base64
from backends.errors import Kind, NotFound, StoreError
from backends.s3_body import StreamedBody
from backends.s3_client import READ_TIMEOUT, open_client
from backends.s3_errors import code_of, kind_of, sentence, translate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

CONNECTIONS = 32
DELETE_BATCH = 1000  # S3's limit
PIECE = 1 << 20
PATIENCE = 10  # copying and completing take S3 minutes; it sends blanks meanwhile, which the read timeout watches


class S3Store:
    """One bucket. Uploads carry CRC32C, which the server verifies; multipart uploads too, over the whole object.

    A request that makes no progress for ``stall`` seconds ends with TIMEOUT: aiohttp's own timeouts do not watch a
    server that stops reading. Waiting for one of the ``connections`` is not counted.
    """

    capabilities = Capabilities()

    def __init__(self, bucket: str, client: Any, stack: AsyncExitStack, *, connections: int, stall: float) -> None:
        self.name = f"s3://{bucket}"
        self._bucket = bucket
        self._client = client
        self._stack = stack
        self._slots = asyncio.Semaphore(connections)
        self._stall = stall
        self._bucket_seen = False

    @classmethod
    async def open(
        cls,
        bucket: str,
        endpoint: Endpoint | None = None,
        *,
        connections: int = CONNECTIONS,
        stall: float = READ_TIMEOUT,
        env: Mapping[str, str] = os.environ,
    ) -> Self:
        """Finds credentials, sends nothing to the store. UNAUTHENTICATED when there are none."""
        async with AsyncExitStack() as stack:
            try:
                client = await open_client(stack, endpoint or Endpoint(), connections=connections, env=env)
            except Exception as error:
                raise translate(error, "open", f"s3://{bucket}", "") from error
            return cls(bucket, client, stack.pop_all(), connections=connections, stall=stall)
        raise AssertionError  # an exit stack without callbacks that swallow does not get here

    async def close(self) -> None:
        await self._stack.aclose()

    async def put(self, key: str, body: Body, *, if_absent: bool = False) -> ObjectMeta:
        check_key(key, "put", self.name)
        condition = {"IfNoneMatch": "*"} if if_absent else {}
        answer, crc = await self._send("put", self._client.put_object, key, body, **condition)
        return ObjectMeta(key, body.size, _etag(answer), 0.0, crc)

    async def get(self, key: str, *, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        if length == 0:
            await self.head(key)  # an empty range cannot be asked for
            return
        wanted: dict[str, str] = {}
        if offset or length is not None:
            wanted["Range"] = f"bytes={offset}-{'' if length is None else offset + length - 1}"
        async with self._slots:
            async with self._guard("get", key):
                try:
                    answer = await self._client.get_object(Bucket=self._bucket, Key=key, **wanted)
                except ClientError as error:
                    if code_of(error) == "InvalidRange":  # past the end
                        return
                    raise
            self._bucket_seen = True
            body = answer["Body"]
            try:
                while True:
                    async with self._guard("get", key):
                        piece = await body.read(PIECE)
                    if not piece:
                        return
                    yield piece
            finally:
                body.close()

    async def head(self, key: str) -> ObjectMeta:
        async with self._slots, self._guard("head", key):
            try:
                answer = await self._client.head_object(Bucket=self._bucket, Key=key, ChecksumMode="ENABLED")
            except ClientError as error:
                if code_of(error) != "404" or not self._bucket_seen:
                    await self._ask_why(key)
                raise
        self._bucket_seen = True
        modified = answer["LastModified"].timestamp()
        return ObjectMeta(key, answer["ContentLength"], _etag(answer), modified, _crc32c(answer))

    async def _ask_why(self, key: str) -> None:
        """An answer to HEAD has no words: no object or no bucket, denied or not known? The same GET says which."""
        answer = await self._client.get_object(Bucket=self._bucket, Key=key, Range="bytes=0-0")
        answer["Body"].close()

    async def delete(self, keys: Sequence[str]) -> None:
        for start in range(0, len(keys), DELETE_BATCH):
            batch = keys[start : start + DELETE_BATCH]
            wanted = {"Objects": [{"Key": key} for key in batch], "Quiet": True}
            answer = await self._call("delete", batch[0], self._client.delete_objects, Delete=wanted)
            failed = [error for error in answer.get("Errors", ()) if error.get("Code") != "NoSuchKey"]
            if failed:
                code, text = str(failed[0].get("Code", "")), str(failed[0].get("Message", ""))
                message = f"{len(failed)} of {len(batch)} keys stayed: {sentence(code, text, kind_of(code, 0))}"
                raise StoreError(kind_of(code, 0), "delete", self.name, str(failed[0].get("Key", "")), message)

    async def list(self, prefix: str, *, start_after: str = "") -> AsyncIterator[ObjectMeta]:
        wanted: dict[str, Any] = {"Prefix": prefix}
        if start_after:
            wanted["StartAfter"] = start_after
        while True:
            page = await self._call("list", prefix, self._client.list_objects_v2, **wanted)
            for found in page.get("Contents", ()):
                yield ObjectMeta(found["Key"], found["Size"], _etag(found), found["LastModified"].timestamp())
            if not page.get("IsTruncated"):
                return
            wanted["ContinuationToken"] = page["NextContinuationToken"]

    async def copy(self, source: str, target: str) -> ObjectMeta:
        """At most 5 GiB, S3's limit for one request."""
        check_key(target, "copy", self.name)
        where = {"Bucket": self._bucket, "Key": source}
        await self._call("copy", target, self._client.copy_object, patience=PATIENCE, Key=target, CopySource=where)
        return await self.head(target)

    async def create_upload(self, key: str) -> str:
        check_key(key, "create upload", self.name)
        kind: dict[str, Any] = {"ChecksumAlgorithm": "CRC32C", "ChecksumType": "FULL_OBJECT"}
        answer = await self._call("create upload", key, self._client.create_multipart_upload, Key=key, **kind)
        return str(answer["UploadId"])

    async def upload_part(self, key: str, upload: str, number: int, body: Body) -> Part:
        where = {"UploadId": upload, "PartNumber": number}
        answer, crc = await self._send("upload part", self._client.upload_part, key, body, **where)
        return Part(number, body.size, _etag(answer), crc)

    async def list_parts(self, key: str, upload: str) -> Parts:
        parts: Parts = []
        wanted: dict[str, Any] = {"Key": key, "UploadId": upload}
        while True:
            page = await self._call("list parts", key, self._client.list_parts, **wanted)
            parts.extend(Part(p["PartNumber"], p["Size"], _etag(p), _crc32c(p)) for p in page.get("Parts", ()))
            if not page.get("IsTruncated"):
                return parts
            wanted["PartNumberMarker"] = page["NextPartNumberMarker"]

    async def complete_upload(
        self, key: str, upload: str, parts: Sequence[Part], *, if_absent: bool = False
    ) -> ObjectMeta:
        ordered = sorted(parts, key=lambda part: part.number)
        if any(one.number == other.number for one, other in itertools.pairwise(ordered)):
            raise StoreError(Kind.INVALID, "complete upload", self.name, key, "a part number is there twice")
        wanted: dict[str, Any] = {"Key": key, "UploadId": upload}
        known = [(part.crc32c, part.size) for part in ordered if part.crc32c is not None]
        crc = combine(known) if len(known) == len(ordered) else None
        if crc is not None:
            wanted |= {"ChecksumCRC32C": to_base64(crc), "ChecksumType": "FULL_OBJECT"}
        if if_absent:
            wanted["IfNoneMatch"] = "*"
        wanted["MultipartUpload"] = {"Parts": [_completed(part) for part in ordered]}
        method = self._client.complete_multipart_upload
        answer = await self._call("complete upload", key, method, patience=PATIENCE, **wanted)
        return ObjectMeta(key, sum(part.size for part in ordered), _etag(answer), 0.0, crc)

    async def abort_upload(self, key: str, upload: str) -> None:
        with suppress(NotFound):
            await self._call("abort upload", key, self._client.abort_multipart_upload, Key=key, UploadId=upload)

    async def list_uploads(self, prefix: str) -> AsyncIterator[Upload]:
        """Elsewhere than on AWS the whole bucket is asked: MinIO takes a prefix for one key, and forgets on a restart.

        So a journal of upload ids is the authority, and this the way to find what no journal knows.
        """
        wanted: dict[str, Any] = {"Prefix": prefix if "amazonaws.com" in self._client.meta.endpoint_url else ""}
        while True:
            page = await self._call("list uploads", prefix, self._client.list_multipart_uploads, **wanted)
            for found in page.get("Uploads", ()):
                if found["Key"].startswith(prefix):
                    yield Upload(found["Key"], found["UploadId"], found["Initiated"].timestamp())
            if not page.get("IsTruncated"):
                return
            wanted |= {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    async def _call(
        self, operation: str, key: str, method: Callable[..., Awaitable[Any]], *, patience: int = 1, **wanted: Any
    ) -> Any:
        async with self._slots, self._guard(operation, key, patience):
            answer = await method(Bucket=self._bucket, **wanted)
        self._bucket_seen = True
        return answer

    async def _send(
        self, operation: str, method: Callable[..., Awaitable[Any]], key: str, body: Body, **wanted: Any
    ) -> tuple[Any, int]:
        """One request with a streamed body; each chunk taken gives it another ``stall`` seconds."""
        crc = await checksum_of(body)
        clock = asyncio.get_running_loop().time
        deadline: asyncio.Timeout

        def progress() -> None:
            with suppress(RuntimeError):  # over already; aiohttp's writer is about to be told
                deadline.reschedule(clock() + self._stall)

        stream = StreamedBody(body, operation, self.name, key, progress)
        wanted |= {"Key": key, "ContentLength": body.size, "ChecksumCRC32C": to_base64(crc)}
        try:
            async with self._slots, self._guard(operation, key) as deadline:
                answer = await method(Bucket=self._bucket, Body=stream if body.size else b"", **wanted)
        except StoreError:
            if stream.failure is not None:  # the body's own error, as it was raised
                raise stream.failure from None
            raise
        self._bucket_seen = True
        return answer, crc

    @asynccontextmanager
    async def _guard(self, operation: str, key: str, patience: int = 1) -> AsyncIterator[asyncio.Timeout]:
        """The time limit, and StoreErrors in place of the SDK's."""
        try:
            async with asyncio.timeout(patience * self._stall) as deadline:
                yield deadline
        except Exception as error:
            raise translate(error, operation, self.name, key) from error


def _etag(answer: Mapping[str, Any]) -> str:
    return str(answer.get("ETag", "")).strip('"')


def _crc32c(answer: Mapping[str, Any]) -> int | None:
    """None too for a checksum of checksums (``…-3``), which says nothing of the bytes."""
    text = str(answer.get("ChecksumCRC32C") or "")
    return None if not text or "-" in text else from_base64(text)


def _completed(part: Part) -> dict[str, Any]:
    named: dict[str, Any] = {"PartNumber": part.number, "ETag": part.etag}
    return named if part.crc32c is None else named | {"ChecksumCRC32C": to_base64(part.crc32c)}
