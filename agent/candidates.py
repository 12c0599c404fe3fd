"""Keys that a collector may delete in its next cycle, and that no backup reuses any more: agent.md §7, rules 1 and 2.

One object a cycle, JSON lines in zstd: a head, a key a line in the listing's order, and a foot with their count, so
that a list that was cut is not taken for a short one. Of a million keys none but their hashes are ever in memory.
"""

from __future__ import annotations

import asyncio
import io
from array import array
from bisect import bisect_left
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import structlog
import xxhash
import zstandard

from agent.catalog import FORMAT, MAX_OBJECT
from agent.catalog.check import invalid
from agent.errors import AgentError
from agent.protocol import Wire
from backends.errors import NotFound
from backends.helpers import read_all
from backends.streams import closing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from agent.catalog import NodePath
    from backends.base import ObjectMeta, ObjectStore

MOST = 1_000_000  # keys of one list; the rest is the next cycle's
_LINE = 4096  # bytes; a key has at most 1,024, which JSON may write longer
_TRIES = 5
_HELD = 1 << 20  # bytes of lines that wait to be compressed

log = structlog.get_logger(__name__)


class KeySet:
    """8 bytes a key. Two keys may be one to it, once in 10⁷ sets of a million: ask it only what may err that way."""

    def __init__(self) -> None:
        self._hashes = array("Q")
        self._sorted = True

    def add(self, key: str) -> None:
        self._hashes.append(xxhash.xxh3_64_intdigest(key.encode()))
        self._sorted = False

    def update(self, other: KeySet) -> None:
        self._hashes.extend(other._hashes)
        self._sorted = False

    def settle(self) -> KeySet:
        """Sorted, each once. Blocks for large ones; done by the first question otherwise."""
        if not self._sorted:
            self._hashes = array("Q", (one for one, _ in groupby(sorted(self._hashes))))
            self._sorted = True
        return self

    def __contains__(self, key: str) -> bool:
        self.settle()
        hashes = self._hashes
        found = xxhash.xxh3_64_intdigest(key.encode())
        at = bisect_left(hashes, found)
        return at < len(hashes) and hashes[at] == found

    def __len__(self) -> int:
        self.settle()
        return len(self._hashes)


class _Head(Wire):
    format: int
    written: str  # RFC 3339, by the clock of who wrote it; what counts is the store's


class _Foot(Wire):
    keys: int


class KeyList:
    """Keys in order, compressed as they come. ``add`` until ``done``; then it can be iterated, and ``data`` is it."""

    def __init__(self, written: str = "") -> None:
        self.count = 0
        self.size = 0  # bytes of the objects
        self.data = b""
        self._compressor = zstandard.ZstdCompressor(level=3, write_checksum=True).compressobj()
        self._pieces: list[bytes] = []
        self._lines = bytearray(msgspec.json.encode(_Head(format=FORMAT, written=written)) + b"\n")

    def add(self, key: str, size: int) -> None:
        self._lines += msgspec.json.encode(key) + b"\n"
        self.count += 1
        self.size += size
        if len(self._lines) > _HELD:
            self._flush()

    def done(self) -> None:
        self._lines += msgspec.json.encode(_Foot(keys=self.count)) + b"\n"
        self._flush()
        self.data = b"".join([*self._pieces, self._compressor.flush()])
        self._pieces.clear()

    def __iter__(self) -> Iterator[str]:
        return keys(self.data) if self.count else iter(())

    def _flush(self) -> None:
        self._pieces.append(self._compressor.compress(bytes(self._lines)))
        self._lines.clear()


def keys(data: bytes) -> Iterator[str]:
    """Of a list. ManifestInvalid, at the latest at its end, for what is none, or is not whole."""
    count = 0
    try:
        with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(io.BytesIO(data)) as reader:
            lines = io.BufferedReader(reader, 1 << 16)
            head = msgspec.json.decode(lines.readline(_LINE), type=_Head)
            if head.format != FORMAT:
                raise invalid(f"it has format {head.format}, this agent reads {FORMAT}")
            while (line := lines.readline(_LINE)).startswith(b'"'):
                count += 1
                if count > MOST:
                    raise invalid(f"it names more than {MOST} keys")
                yield msgspec.json.decode(line, type=str)
            if msgspec.json.decode(line, type=_Foot).keys != count:
                raise invalid("it does not name as many keys as it says")
    except (zstandard.ZstdError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise invalid(str(error)) from error


class Listed(NamedTuple):
    """A list in the bucket. ``keys`` is None for one that cannot be read. ``modified`` is the store's time."""

    key: str
    modified: float
    keys: KeySet | None


async def read_lists(store: ObjectStore, path: NodePath) -> list[Listed]:
    """The oldest one first. One that goes while it is read was overtaken by a newer one: all are looked for anew."""
    for tried in range(_TRIES):
        try:
            async with closing(store.list(path.collection)) as listing:
                metas = [meta async for meta in listing if meta.key.endswith(".jsonl.zst")]
            found = [Listed(meta.key, meta.modified, await _read(store, meta)) for meta in metas]
        except NotFound:
            if tried == _TRIES - 1:
                raise
        else:
            break
    return sorted(found, key=lambda one: (one.modified, one.key))


async def _read(store: ObjectStore, meta: ObjectMeta) -> KeySet | None:
    if meta.size > MAX_OBJECT:
        log.warning("a list of candidates is too large to be read", key=meta.key, size=meta.size)
        return None
    data = await read_all(store, meta.key, MAX_OBJECT)
    try:
        return await asyncio.to_thread(_load, data)
    except AgentError as error:
        log.warning("a list of candidates cannot be read", key=meta.key, error=error.message)
        return None


def _load(data: bytes) -> KeySet:
    found = KeySet()
    for key in keys(data):
        found.add(key)
    return found.settle()


class Condemned:
    """What no backup may reuse or write again: the keys of every list, or any key where one cannot be read."""

    def __init__(self, lists: Iterable[Listed] = ()) -> None:
        self._all = False
        self._keys = KeySet()
        for one in lists:
            if one.keys is None:
                self._all = True
            else:
                self._keys.update(one.keys)
        self._keys.settle()

    def __contains__(self, key: object) -> bool:
        return self._all or (isinstance(key, str) and key in self._keys)
