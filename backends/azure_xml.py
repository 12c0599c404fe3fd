"""Azure's XML and multipart bodies, both ways. Pure: bytes in, values out."""

from __future__ import annotations

import base64
import re
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import unquote
from xml.etree import ElementTree as ET

import msgspec

from backends.base import ObjectMeta

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Listed(msgspec.Struct, frozen=True):
    """A page of a listing: what is there, and the marker of the next page, empty on the last."""

    blobs: list[ObjectMeta]
    metadata: list[dict[str, str]]  # as ``blobs``; filled where it was asked for
    marker: str = ""


class Block(msgspec.Struct, frozen=True):
    name: str
    size: int


class Answer(msgspec.Struct, frozen=True):
    """To one request of a batch; names of headers in small letters."""

    status: int
    headers: dict[str, str]
    text: str


def listed(data: bytes) -> Listed:
    """A body of List Blobs. Raises ValueError where it is none."""
    root = _root(data, "EnumerationResults")
    blobs, metadata = [], []
    for blob in root.iterfind("Blobs/Blob"):
        properties = {entry.tag: entry.text or "" for entry in blob.iterfind("Properties/*")}
        size, modified = int(properties.get("Content-Length", 0)), seconds(properties.get("Last-Modified", ""))
        blobs.append(ObjectMeta(_name(blob.find("Name")), size, properties.get("Etag", "").strip('"'), modified))
        metadata.append({entry.tag.lower(): entry.text or "" for entry in blob.iterfind("Metadata/*")})
    return Listed(blobs, metadata, root.findtext("NextMarker") or "")


def _name(element: ET.Element | None) -> str:
    """Names that XML cannot carry come percent-encoded, and say so."""
    text = "" if element is None else element.text or ""
    return unquote(text) if element is not None and element.get("Encoded") == "true" else text


@lru_cache(maxsize=4096)  # objects of one second are many, and parsing a date costs more than the rest of an entry
def seconds(date: str) -> float:
    """Epoch seconds of an HTTP date; 0 for none."""
    return parsedate_to_datetime(date).timestamp() if date else 0.0


def uncommitted(data: bytes) -> list[Block]:
    """A body of Get Block List, names as they were before base64."""
    found = _root(data, "BlockList").iterfind("UncommittedBlocks/Block")
    blocks = []
    for block in found:
        name = base64.b64decode(block.findtext("Name") or "").decode(errors="replace")
        blocks.append(Block(name, int(block.findtext("Size") or 0)))
    return blocks


def block_list(names: Iterable[str]) -> bytes:
    """A body of Put Block List: of blocks of one name, the one sent last."""
    inner = "".join(f"<Latest>{base64.b64encode(name.encode()).decode()}</Latest>" for name in names)
    return f'<?xml version="1.0" encoding="utf-8"?><BlockList>{inner}</BlockList>'.encode()


def _root(data: bytes, tag: str) -> ET.Element:
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:  # Azure sends none; entities could be made to grow
        raise ValueError("a document type where none belongs")
    try:
        root = ET.fromstring(data)  # noqa: S314  no entities: see above
    except ET.ParseError as error:
        raise ValueError("not XML") from error
    if root.tag != tag:
        raise ValueError(f"not a {tag}")
    return root


def batch(requests: Sequence[tuple[str, dict[str, str]]], boundary: str) -> bytes:
    """A body of Blob Batch: DELETE requests by path (with query) and headers."""
    parts = []
    for number, (path, headers) in enumerate(requests):
        lines = [
            f"--{boundary}", "Content-Type: application/http", "Content-Transfer-Encoding: binary",
            f"Content-ID: {number}", "", f"DELETE {path} HTTP/1.1",
            *(f"{name}: {value}" for name, value in headers.items()), "Content-Length: 0", "", "",
        ]  # fmt: skip
        parts.append("\r\n".join(lines))
    return ("".join(parts) + f"--{boundary}--\r\n").encode()


_ANSWER = re.compile(rb"Content-ID: *(\d+).*?HTTP/1\.1 (\d{3})", re.IGNORECASE | re.DOTALL)
_HEADERS = re.compile(rb"^([\w-]+): *([^\r\n]*)", re.MULTILINE)


def batch_answers(data: bytes, boundary: str) -> dict[int, Answer]:
    """A body of Blob Batch's answer, by the requests' numbers."""
    answers = {}
    for part in data.split(b"--" + boundary.encode()):
        if found := _ANSWER.search(part):
            rest = part[found.end() :]
            headers = {name.decode().lower(): value.decode(errors="replace") for name, value in _HEADERS.findall(rest)}
            answers[int(found[1])] = Answer(int(found[2]), headers, rest.decode(errors="replace"))
    return answers
