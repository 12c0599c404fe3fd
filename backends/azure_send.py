"""How bytes become a blob: in one request, or as a block that is committed. And how it is known that they arrived.

Azure computes CRC64 (the polynomial that NVMe and S3 use: x-ms-content-crc64, 8 bytes little-endian in base64) over
each body. Small bodies are gathered, and it is sent along: the server refuses what does not match. Large ones are
streamed and read once, as a block: the answer says what the server has seen, and a block is nothing until committed.
Summing 1 MiB takes 0.03 ms, less than a hop to a thread and back, so it is done where the chunk is handed over.
"""

from __future__ import annotations

import asyncio
import base64
from contextlib import aclosing
from typing import TYPE_CHECKING
from urllib.parse import quote

from awscrt import checksums

from backends import azure_xml as xml
from backends.azure_blocks import BlockName, Ticks, new_upload
from backends.azure_client import Outgoing
from backends.base import ObjectMeta
from backends.body import CHUNK, checked, checksum_of
from backends.checksums import crc32c, from_base64, to_base64
from backends.errors import Kind, StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from backends.azure_client import Wire
    from backends.azure_options import Kept
    from backends.base import Body

SMALL = CHUNK
PATIENCE = 10  # a commit of many blocks, and a block copied, may take the server minutes, in which it says nothing


class Sender:
    def __init__(self, wire: Wire, kept: Kept) -> None:
        self._wire = wire
        self._kept = kept
        self._ticks = Ticks()

    async def put(self, key: str, body: Body, *, if_absent: bool) -> ObjectMeta:
        if body.size > SMALL:
            name, crc = await self.stage("put", key, new_upload(), 1, body)
            return await self.commit("put", key, [str(name)], body.size, crc, if_absent=if_absent, alone=True)
        data, crc = await self._gathered("put", key, body)
        wanted = self._kept.blob | {
            "x-ms-blob-type": "BlockBlob", "x-ms-content-crc64": crc64_text(checksums.crc64nvme(data)),
            "x-ms-meta-crc32c": to_base64(crc), "Content-Type": "application/octet-stream",
        }  # fmt: skip
        if if_absent:
            wanted["If-None-Match"] = "*"
        headers, _ = await self._wire.call("put", "PUT", key, headers=wanted, data=data)
        return ObjectMeta(key, body.size, etag_of(headers), 0.0, crc)

    async def _gathered(self, operation: str, key: str, body: Body) -> tuple[bytes, int]:
        async with aclosing(checked(body, operation, self._wire.store, key)) as chunks:
            data = b"".join([chunk async for chunk in chunks])
        return data, crc32c(data) if body.crc32c is None else body.crc32c

    async def stage(self, operation: str, key: str, upload: str, number: int, body: Body) -> tuple[BlockName, int]:
        """A block with the body's bytes, which the server has seen as they are: its name, and the body's CRC32C."""
        sent = self._ticks.next()
        if body.size <= SMALL:
            data, crc = await self._gathered(operation, key, body)
            name = BlockName(upload, number, sent, "w", crc)
            await self.block(operation, key, name, data)
            return name, crc
        name = BlockName(upload, number, sent, "d", 0)
        summed = _Summed(body, operation, self._wire.store, key)
        answer = await self.block(operation, key, name, Outgoing(summed.chunks(), body.size))
        seen = answer.get("x-ms-content-crc64")
        if seen is not None and seen != crc64_text(summed.crc64):
            message = "the server has seen other bytes than were sent"
            raise StoreError(Kind.CORRUPT, operation, self._wire.store, key, message)
        return name, await checksum_of(body)  # known, now that the bytes have passed

    async def note(self, operation: str, key: str, name: BlockName, crc: int) -> None:
        """Says of a streamed block that it is whole, and its checksum."""
        await self.block(operation, key, BlockName(name.upload, name.number, name.sent, "n", crc), b"\0")

    async def block(
        self,
        operation: str,
        key: str,
        name: BlockName,
        data: bytes | Outgoing,
        headers: Mapping[str, str] | None = None,
        *,
        patience: int = 1,
    ) -> Mapping[str, str]:
        wanted = self._kept.block | dict(headers or {})
        if data:
            wanted["Content-Type"] = "application/octet-stream"
        if data and isinstance(data, bytes):
            wanted["x-ms-content-crc64"] = crc64_text(checksums.crc64nvme(data))
        identity = quote(base64.b64encode(str(name).encode()), safe="")
        answer, _ = await self._wire.call(
            operation, "PUT", key, query=f"comp=block&blockid={identity}", headers=wanted, data=data, patience=patience
        )
        return answer

    async def commit(
        self,
        operation: str,
        key: str,
        names: Sequence[str],
        size: int,
        crc: int | None,
        *,
        if_absent: bool = False,
        upload: str = "",
        alone: bool = False,
    ) -> ObjectMeta:
        """The blob, of these blocks. ``alone``: staged just now, so another write threw away what is missing."""
        data = xml.block_list(names)
        wanted = self._kept.blob | {
            "Content-Type": "application/xml", "x-ms-blob-content-type": "application/octet-stream",
            "x-ms-content-crc64": crc64_text(checksums.crc64nvme(data)),
        }  # fmt: skip
        if crc is not None:
            wanted["x-ms-meta-crc32c"] = to_base64(crc)
        if upload:
            wanted["x-ms-meta-upload"] = upload
        if if_absent:
            wanted["If-None-Match"] = "*"
        headers, _ = await self._wire.call(
            operation, "PUT", key, query="comp=blocklist", headers=wanted, data=data, patience=PATIENCE,
            kinds={"InvalidBlockList": Kind.UNAVAILABLE} if alone else {},
        )  # fmt: skip
        return ObjectMeta(key, size, etag_of(headers), 0.0, crc)

    async def copy(self, target: str, there: ObjectMeta, asked: Mapping[str, str], piece: int) -> ObjectMeta:
        upload = new_upload()
        names = []
        try:
            async with asyncio.TaskGroup() as group:
                for number, start in enumerate(range(0, there.size, piece), start=1):
                    name = BlockName(upload, number, self._ticks.next(), "d", 0)
                    names.append(str(name))
                    where = f"bytes={start}-{min(start + piece, there.size) - 1}"
                    headers = {**asked, "x-ms-source-range": where}
                    group.create_task(self.block("copy", target, name, b"", headers, patience=PATIENCE))
        except ExceptionGroup as error:  # one piece's failure says it; the others were cancelled for it
            raise error.exceptions[0] from error
        return await self.commit("copy", target, names, there.size, there.crc32c, alone=True)


class _Summed:
    """A body's chunks, with their CRC64 known after the last."""

    def __init__(self, body: Body, operation: str, store: str, key: str) -> None:
        self._body = body
        self._names = (operation, store, key)
        self.crc64 = 0

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        async with aclosing(checked(self._body, *self._names)) as chunks:
            async for chunk in chunks:
                self.crc64 = checksums.crc64nvme(chunk, self.crc64)
                yield chunk


def crc64_text(crc: int) -> str:
    return base64.b64encode(crc.to_bytes(8, "little")).decode()


def etag_of(headers: Mapping[str, str]) -> str:
    return headers.get("ETag", "").strip('"')


def crc_of(headers: Mapping[str, str]) -> int | None:
    """None for a blob that something else wrote."""
    try:
        return from_base64(headers["x-ms-meta-crc32c"])
    except (KeyError, ValueError):
        return None
