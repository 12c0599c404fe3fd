"""S3 and what speaks like it. Bytes go over s3_wire, everything else over aiobotocore."""

from __future__ import annotations

import asyncio
import itertools
import os
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self, TypeVar

import structlog
from botocore.exceptions import ClientError

from backends import s3_options
from backends.base import Body, Capabilities, Endpoint, ObjectMeta, Options, Part, Parts, Upload, check_key
from backends.checksums import combine, from_base64, to_base64
from backends.errors import Kind, NotFound, StoreError
from backends.s3_client import READ_TIMEOUT, open_client
from backends.s3_copy import MAX_COPY, copy_in_parts
from backends.s3_errors import code_of, kind_of, sentence, translate
from backends.s3_list import pages
from backends.s3_probe import Probe
from backends.s3_send import Sender
from backends.s3_wire import Refused, Wire
from backends.streams import Guarded

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from backends.s3_direct import Answer
    from backends.s3_list import Page
    from backends.streams import Sink

CONNECTIONS = 32
DELETE_BATCH = 1000  # S3's limit
PATIENCE = 10  # copying and completing take S3 minutes; it sends blanks meanwhile, which the read timeout watches

T = TypeVar("T")
log = structlog.get_logger(__name__)


class S3Store:
    """One bucket. Uploads carry CRC32C, which the server verifies; multipart uploads too, over the whole object.

    A request that makes no progress for ``stall`` seconds ends with TIMEOUT. Waiting for one of the ``connections`` is
    not counted, nor is a body that takes its time.
    """

    capabilities = Capabilities()

    def __init__(  # noqa: PLR0917  for ``open`` alone
        self, bucket: str, client: Any, stack: AsyncExitStack, options: Options, connections: int, stall: float
    ) -> None:
        self.name = f"s3://{bucket}"
        self._bucket = bucket
        self._client = client
        self._stack = stack
        self._options = options
        self._slots = asyncio.Semaphore(connections)
        self._stall = stall
        self._wire = Wire(client, bucket, connections=connections, stall=stall)
        self._probe = Probe(client.meta.endpoint_url)
        self._sender = Sender(self.name, self._wire, self._probe, self._slots)
        self._bucket_seen = False

    @classmethod
    async def open(
        cls,
        bucket: str,
        endpoint: Endpoint | None = None,
        options: Options | None = None,
        *,
        connections: int = CONNECTIONS,
        stall: float = READ_TIMEOUT,
        env: Mapping[str, str] = os.environ,
    ) -> Self:
        """Finds credentials, sends nothing to the store. UNAUTHENTICATED when there are none."""
        s3_options.check(options or Options(), f"s3://{bucket}")
        async with AsyncExitStack() as stack:
            try:
                client = await open_client(
                    stack, endpoint or Endpoint(), connections=connections, env=env, store=f"s3://{bucket}"
                )
            except Exception as error:
                raise translate(error, "open", f"s3://{bucket}", "") from error
            return cls(bucket, client, stack.pop_all(), options or Options(), connections, stall)
        raise AssertionError  # an exit stack without callbacks that swallow does not get here

    async def close(self) -> None:
        await self._wire.close()
        await self._stack.aclose()

    async def put(self, key: str, body: Body, *, if_absent: bool = False) -> ObjectMeta:
        check_key(key, "put", self.name)
        headers = s3_options.headers(self._options, datetime.now(UTC))
        if if_absent:
            headers["if-none-match"] = "*"
        etag, crc = await self._sender.send("put", key, body, (), headers)
        return ObjectMeta(key, body.size, etag, 0.0, crc)

    def get(self, key: str, *, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        return self._stream(key, offset, length, lambda answer: answer.chunks())

    async def pour(self, key: str, sink: Sink, *, offset: int = 0, length: int | None = None) -> AsyncIterator[int]:
        """The thread that receives feeds the sink: the bytes are in its processor's cache."""
        guarded = Guarded(sink)
        try:
            async with aclosing(self._stream(key, offset, length, lambda answer: answer.pour(guarded))) as counts:
                async for count in counts:
                    yield count
        except StoreError:
            if guarded.failure is not None:
                raise guarded.failure from None
            raise

    async def _stream(
        self, key: str, offset: int, length: int | None, taken: Callable[[Answer], AsyncGenerator[T, None]]
    ) -> AsyncGenerator[T, None]:
        if length == 0:
            await self.head(key)  # an empty range cannot be asked for
            return
        headers = s3_options.read_headers(self._options)
        if offset or length is not None:
            headers["range"] = f"bytes={offset}-{'' if length is None else offset + length - 1}"
        names = "get", self.name
        try:
            async with self._slots, self._wire.request("GET", key, headers=headers, names=names) as answer:
                self._bucket_seen = True
                _check_length(answer, self.name, key, offset, length)
                async with aclosing(taken(answer)) as pieces:
                    async for piece in pieces:
                        yield piece
        except Refused as refused:
            if refused.status != 416:  # past the end
                raise refused.error from None
        except Exception as error:
            raise translate(error, *names, key, seen=self._wire.seen) from error

    async def head(self, key: str) -> ObjectMeta:
        wanted = {"Bucket": self._bucket, "Key": key, **s3_options.read_parameters(self._options)}
        async with self._slots, self._guard("head", key):
            try:
                answer = await self._client.head_object(ChecksumMode="ENABLED", **wanted)
            except ClientError as error:
                if code_of(error) != "404" or not self._bucket_seen:
                    await self._ask_why(wanted)
                raise
        self._bucket_seen = True
        modified = answer["LastModified"].timestamp()
        return ObjectMeta(key, answer["ContentLength"], _etag(answer), modified, _crc32c(answer))

    async def _ask_why(self, wanted: dict[str, str]) -> None:
        """An answer to HEAD has no words: no object or no bucket, denied or not known? The same GET says which."""
        answer = await self._client.get_object(Range="bytes=0-0", **wanted)
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
        headers = s3_options.read_headers(self._options)
        try:
            found = pages(self._wire, prefix, start_after, headers, self.name)
            async with aclosing(found) as stream:
                while (page := await self._page(stream)) is not None:
                    for meta in page.found:
                        yield meta
        except Refused as refused:
            raise refused.error from None
        except Exception as error:
            raise translate(error, "list", self.name, prefix, seen=self._wire.seen) from error

    async def _page(self, pages: AsyncGenerator[Page, None]) -> Page | None:
        """Holds one of the connections only while it asks."""
        async with self._slots:
            page = await anext(pages, None)
        self._bucket_seen = True
        return page

    async def copy(self, source: str, target: str) -> ObjectMeta:
        check_key(target, "copy", self.name)
        found = await self.head(source)
        if found.size > MAX_COPY:
            # MinIO has no checksums for copied parts; S3 has.
            upload = await self._create("copy", target, asked=self._probe.aws)
            return await copy_in_parts(self, self._copy_part, found, target, upload)
        wanted = s3_options.copy_parameters(self._options, datetime.now(UTC)) | {
            "Key": target, "CopySource": {"Bucket": self._bucket, "Key": source},
        }  # fmt: skip
        await self._call("copy", target, self._client.copy_object, patience=PATIENCE, **wanted)
        return await self.head(target)

    async def _copy_part(self, source: ObjectMeta, key: str, upload: str, number: int, span: tuple[int, int]) -> Part:
        first, last = span
        wanted: dict[str, Any] = {
            "Key": key, "UploadId": upload, "PartNumber": number, "CopySourceRange": f"bytes={first}-{last}",
            "CopySource": {"Bucket": self._bucket, "Key": source.key}, "CopySourceIfMatch": source.etag,
        }  # fmt: skip
        answer = await self._call("copy", key, self._client.upload_part_copy, patience=PATIENCE, **wanted)
        made = answer["CopyPartResult"]
        return Part(number, last - first + 1, _etag(made), _crc32c(made))

    async def create_upload(self, key: str) -> str:
        check_key(key, "create upload", self.name)
        return await self._create("create upload", key, asked=self._probe.full_object)

    async def _create(self, operation: str, key: str, *, asked: bool) -> str:
        """``asked``: for one CRC32C over all parts, which not every store has."""
        wanted = {"Key": key, **s3_options.parameters(self._options, datetime.now(UTC))}
        kind = {"ChecksumAlgorithm": "CRC32C", "ChecksumType": "FULL_OBJECT"}
        create = self._client.create_multipart_upload
        async with self._slots, self._guard(operation, key):
            try:
                answer = await create(Bucket=self._bucket, **wanted, **(kind if asked else {}))
            except ClientError as error:
                status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
                if not asked or not self._probe.refused_full_object(code_of(error), status):
                    raise
                asked = False
                answer = await create(Bucket=self._bucket, **wanted)
                self._probe.created(None, asked=False)
                log.info("no checksum over objects of several parts", store=self.name)
        self._bucket_seen = True
        if asked:
            self._probe.created(answer.get("ChecksumType"), asked=True)
        return str(answer["UploadId"])

    async def upload_part(self, key: str, upload: str, number: int, body: Body) -> Part:
        query = (("partNumber", str(number)), ("uploadId", upload))
        headers = s3_options.read_headers(self._options)
        etag, crc = await self._sender.send("upload part", key, body, query, headers)
        return Part(number, body.size, etag, crc)

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
        whole = self._probe.full_object
        if crc is not None and whole:
            wanted |= {"ChecksumCRC32C": to_base64(crc), "ChecksumType": "FULL_OBJECT"}
        if if_absent:
            wanted["IfNoneMatch"] = "*"
        wanted["MultipartUpload"] = {"Parts": [_completed(part, checksum=whole) for part in ordered]}
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
            answer = await method(Bucket=self._bucket, **(s3_options.read_parameters(self._options) | wanted))
        self._bucket_seen = True
        return answer

    @asynccontextmanager
    async def _guard(self, operation: str, key: str, patience: int = 1) -> AsyncIterator[asyncio.Timeout]:
        """The time limit, and StoreErrors in place of the SDK's."""
        try:
            async with asyncio.timeout(patience * self._stall) as deadline:
                yield deadline
        except Exception as error:
            raise translate(error, operation, self.name, key, seen=self._wire.seen) from error


def _check_length(answer: Answer, store: str, key: str, offset: int, length: int | None) -> None:
    """Refuses what would end unnoticed, and more than was asked for."""
    size = answer.headers.get("content-length")
    if size is None and "transfer-encoding" not in answer.headers:
        raise StoreError(Kind.UNAVAILABLE, "get", store, key, "the answer has no length")
    too_much = length is not None and (size is None or int(size) > length)
    if answer.status == 200 and (offset or too_much):
        raise StoreError(Kind.NOT_SUPPORTED, "get", store, key, "the store does not know ranges")


def _etag(answer: Mapping[str, Any]) -> str:
    return str(answer.get("ETag", "")).strip('"')


def _crc32c(answer: Mapping[str, Any]) -> int | None:
    """None too for a checksum of checksums (``…-3``), which says nothing of the bytes."""
    text = str(answer.get("ChecksumCRC32C") or "")
    return None if not text or "-" in text else from_base64(text)


def _completed(part: Part, *, checksum: bool) -> dict[str, Any]:
    named: dict[str, Any] = {"PartNumber": part.number, "ETag": part.etag}
    return named if part.crc32c is None or not checksum else named | {"ChecksumCRC32C": to_base64(part.crc32c)}
