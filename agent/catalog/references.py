"""Which objects a manifest names, without the rest of it in memory: a collector reads every manifest of a node.

What an agent writes has the tables before the objects, each ``[key, size, …]``, so the text can be read as it comes
out of the frame. What is in another order is no manifest of an agent's.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

import msgspec
import zstandard

from agent.catalog.check import invalid
from agent.catalog.codec import MAX_MANIFEST
from agent.catalog.keys import split_key
from agent.catalog.manifest import MANIFEST_FORMAT, StoredObject
from agent.protocol import Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# No string can hold these bytes: a quote in one is behind a backslash.
_TABLES, _OBJECTS = b'"tables":[', b'"objects":['
_END = re.compile(rb"\]\s*\]")  # of the last object and of them all: no key has a bracket
_PIECE = 256 << 10  # bytes
_HEAD = 4 << 20  # bytes before the tables: tokens, most of all


class _Rest(Wire):
    format: int
    backup_id: str


def read_references(data: bytes, name: Callable[[str], None], limit: int = MAX_MANIFEST) -> str:
    """The backup that the manifest is of; ``name`` is told each key. Blocks.

    Raises ManifestInvalid, at its end at the latest: what is not understood may name anything.
    """
    try:
        text = _Text(data, limit)
        head = text.until(_TABLES, _HEAD)
        text.skip(_OBJECTS)
        for objects in text.objects():
            for stored in msgspec.json.decode(objects, type=list[StoredObject]):
                if not split_key(stored.key)[0]:
                    raise invalid(f"odd object {stored.key!r}")
                name(stored.key)
        found = msgspec.json.decode(head + b"]," + _OBJECTS + text.rest(), type=_Rest)
    except (msgspec.MsgspecError, zstandard.ZstdError, UnicodeDecodeError, RecursionError) as error:
        raise invalid(str(error)) from error
    if not 1 <= found.format <= MANIFEST_FORMAT:
        raise invalid(f"it has format {found.format}, this agent reads 1 to {MANIFEST_FORMAT}")
    return found.backup_id


class _Text:
    """As it comes out of the frame; what was taken is gone."""

    def __init__(self, data: bytes, limit: int) -> None:
        self._reader = zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(io.BytesIO(data))
        self._left = limit
        self._held = b""

    def until(self, mark: bytes, most: int) -> bytes:
        """Up to the mark, and with it."""
        while (at := self._held.find(mark)) < 0:
            if len(self._held) > most:
                raise invalid("it has no tables where an agent writes them")
            self._more()
        at += len(mark)
        found, self._held = self._held[:at], self._held[at:]
        return found

    def skip(self, mark: bytes) -> None:
        while (at := self._held.find(mark)) < 0:
            self._held = self._held[-len(mark) :]
            self._more()
        self._held = self._held[at + len(mark) :]

    def objects(self) -> Iterator[bytes]:
        """Lists of them. Afterwards the text is at the bracket that ends them all."""
        while not self._held.lstrip():
            self._more()
        if self._held.lstrip().startswith(b"]"):
            return
        while (end := _END.search(self._held)) is None:
            at = self._held.rfind(b"],")
            if at >= 0:
                yield b"[" + self._held[: at + 1] + b"]"
                self._held = self._held[at + 2 :]
            elif len(self._held) > _HEAD:
                raise invalid("an object of it has no end")
            self._more()
        yield b"[" + self._held[: end.start() + 1] + b"]"
        self._held = self._held[end.start() + 1 :]

    def rest(self) -> bytes:
        found = [self._held]
        while piece := self._read():
            found.append(piece)
        return b"".join(found)

    def _more(self) -> None:
        piece = self._read()
        if not piece:
            raise invalid("it ends too early")
        self._held += piece

    def _read(self) -> bytes:
        piece = self._reader.read(_PIECE)
        self._left -= len(piece)
        if self._left < 0:
            raise invalid("it holds more bytes than any manifest")
        return piece
