"""Listings, asked and read by ourselves: the SDK's parser takes 0.2 ms a key, and that on the event loop."""

from __future__ import annotations

import asyncio
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote_plus
from xml.etree import ElementTree as ET

from backends.base import ObjectMeta
from backends.s3_faults import NotS3, not_s3

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from backends.s3_wire import Wire

_MOST = 16 << 20  # bytes of a page; a thousand keys of the longest kind, percent-encoded, are 4 MiB


class Page(NamedTuple):
    """``after`` is the store's token for the next page, empty on the last."""

    found: list[ObjectMeta]
    after: str


async def pages(
    wire: Wire, prefix: str, start_after: str, headers: dict[str, str], store: str
) -> AsyncGenerator[Page, None]:
    """ListObjectsV2, page by page. Raises what ``Wire.request`` raises, NotS3 for an answer that is no listing."""
    query = {"list-type": "2", "encoding-type": "url", "prefix": prefix}
    if start_after:
        query["start-after"] = start_after
    while True:
        body = bytearray()
        async with wire.request("GET", "", query.items(), headers, names=("list", store)) as answer:
            async for piece in answer.chunks():
                body += piece
                if len(body) > _MOST:
                    raise NotS3(answer.status, "a page of over 16 MiB")
            if strange := not_s3(answer.status, answer.headers, bytes(body), seen=wire.seen):
                raise strange
        page = await asyncio.to_thread(parse, bytes(body))
        wire.seen = True
        yield page
        if not page.after:
            return
        query["continuation-token"] = page.after


def parse(body: bytes) -> Page:
    """NotS3 where it is no ListBucketResult: an empty page must not be an empty bucket."""
    # S3 sends no document type; one could hold entities that grow.
    root = None if b"<!DOCTYPE" in body or b"<!ENTITY" in body else _root(body)
    if root is None or root.tag.rpartition("}")[2] != "ListBucketResult":
        raise NotS3(200, "no result of ListObjectsV2")
    space = root.tag.removesuffix("ListBucketResult")
    encoded = root.findtext(f"{space}EncodingType") == "url"
    found = []
    for entry in root.iterfind(f"{space}Contents"):
        told = {child.tag: child.text or "" for child in entry}
        key = told[f"{space}Key"]
        found.append(
            ObjectMeta(
                unquote_plus(key) if encoded else key,
                int(told[f"{space}Size"]),
                told.get(f"{space}ETag", "").strip('"'),
                _seconds(told.get(f"{space}LastModified", "")),
            )
        )
    more = root.findtext(f"{space}IsTruncated") == "true"
    after = root.findtext(f"{space}NextContinuationToken") or ""
    if more and not after:
        raise NotS3(200, "a page of a listing without a way to the next")
    return Page(found, after if more else "")


def _root(body: bytes) -> ET.Element | None:
    try:
        return ET.fromstring(body)  # noqa: S314  no entities: see above
    except ET.ParseError:
        return None


@lru_cache(maxsize=4096)  # objects of one second are many
def _seconds(time: str) -> float:
    """Epoch seconds of an ISO 8601 time; 0 for none."""
    return datetime.fromisoformat(time).timestamp() if time else 0.0
