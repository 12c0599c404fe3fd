"""Pure: what the manifests say of one node's objects, against what the store says of them.

    absorb(manifest) for each backup ──> Wanted by key, all of them Missing ──see(listing)──> what is wrong

Holds some 500 bytes an object, and one manifest at a time: names of tables and components are read again from the
manifests for what is found. A piece is a component's place in its object.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from isal.isal_zlib import crc32

from agent.catalog import DATA, size_in, split_key
from agent.protocol import Fault
from backends.checksums import combine, crc32c

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from agent.catalog import Component, Manifest, TablePath

_PIECE = Struct("<QQI?")  # packed: there may be a million
_NAMED = 3  # pieces that one sentence tells of


class Piece(NamedTuple):
    """``size`` bytes at ``offset``; ``crc`` is a CRC32 where ``data`` (a Data.db), else a CRC32C."""

    offset: int
    size: int
    crc: int
    data: bool


class Use(NamedTuple):
    """A component that lies in an object."""

    table: TablePath
    sstable: str
    component: Component

    @property
    def piece(self) -> Piece:
        one = self.component
        return Piece(one.offset, one.size, one.crc, one.name == DATA)


class Verdict(NamedTuple):
    """Of one object. ``offsets`` are those of the pieces that are damaged, where that is known."""

    fault: Fault | None
    detail: str = ""
    offsets: frozenset[int] = frozenset()


SOUND = Verdict(None)


@dataclass(slots=True)
class Wanted:
    """An object that a manifest names. ``backups`` is a bit mask over :attr:`Wants.tags`.

    ``content`` is the size of what is in it: the object's own, where it is not encoded. Pieces are of the content.
    """

    size: int
    content: int
    packed: bytes
    crc32c: int = -1
    backups: int = 0
    fault: Fault | None = Fault.MISSING

    @property
    def encoded(self) -> bool:
        return self.content != self.size

    @property
    def pieces(self) -> list[Piece]:
        return [Piece(*found) for found in _PIECE.iter_unpack(self.packed)]

    @property
    def checksum(self) -> int | None:
        """CRC32C of the whole object: as it was recorded, or by its pieces where they have it; None is not known."""
        if self.crc32c >= 0:
            return self.crc32c
        pieces = self.pieces
        if self.encoded or any(piece.data for piece in pieces) or not covered(self.content, pieces):
            return None
        return combine((piece.crc, piece.size) for piece in pieces)


class Wants:
    """Every object that the complete backups need of a node."""

    def __init__(self) -> None:
        self.objects: dict[str, Wanted] = {}  # by key, relative to the node's root
        self.tags: list[str] = []

    def absorb(self, tag: str, manifest: Manifest) -> None:
        """Backups that share an object may name different components of it: all of them are wanted."""
        bit = 1 << len(self.tags)
        self.tags.append(tag)
        places: list[list[Piece]] = [[] for _ in manifest.objects]
        for use in uses(manifest):
            places[use.component.object].append(use.piece)
        for stored, pieces in zip(manifest.objects, places, strict=True):
            if not pieces:
                continue  # no restore asks for it
            packed = _pack(pieces)
            known = self.objects.get(stored.key)
            if known is None:
                content = size_in(split_key(stored.key)[0])
                known = self.objects[stored.key] = Wanted(stored.size, content, packed, stored.crc32c)
            elif known.packed != packed:
                known.packed = _pack(set(known.pieces) | set(pieces))
            known.backups |= bit
            if known.crc32c < 0:
                known.crc32c = stored.crc32c

    def see(self, key: str, size: int) -> None:
        """One key of the listing."""
        if (wanted := self.objects.get(key)) is not None:
            wanted.fault = None if size == wanted.size else Fault.WRONG_SIZE

    def forget(self, tags: Iterable[str]) -> None:
        """Backups that are there no more: what only they needed may be gone as well."""
        gone = set(tags)
        mask = sum(1 << at for at, tag in enumerate(self.tags) if tag not in gone)
        for key, wanted in list(self.objects.items()):
            wanted.backups &= mask
            if not wanted.backups:
                del self.objects[key]

    def needed_by(self, wanted: Wanted) -> list[str]:
        return [tag for at, tag in enumerate(self.tags) if wanted.backups >> at & 1]

    def faulty(self) -> set[str]:
        return {key for key, wanted in self.objects.items() if wanted.fault is not None}

    def sound(self) -> list[str]:
        """In order of key."""
        return sorted(key for key, wanted in self.objects.items() if wanted.fault is None)


def uses(manifest: Manifest) -> Iterator[Use]:
    """Every component with bytes."""
    for table in manifest.tables:
        path = table.path
        for sstable in table.sstables:
            for component in sstable.components:
                if component.size:
                    yield Use(path, sstable.name, component)


def pieces_of(users: Iterable[Use]) -> list[Piece]:
    return [use.piece for use in users]


def covered(size: int, pieces: Iterable[Piece]) -> bool:
    """Whether the pieces, in their order, are the whole object and lie end to end."""
    end = 0
    for piece in pieces:
        if piece.offset != end:
            return False
        end += piece.size
    return end == size


def portion(sizes: Sequence[tuple[str, int]], after: str, share: float) -> list[str]:
    """Keys to read now: from the first past ``after``, around the end, until they have ``share`` of all bytes.

    ``sizes`` in order of key. As each run has at least its share and goes on behind the last one, so many runs as the
    share goes into one have read everything that was there all the time.
    """
    goal = math.ceil(sum(size for _, size in sizes) * share)
    begin = bisect_right(sizes, after, key=lambda pair: pair[0])
    chosen: list[str] = []
    for key, size in (*sizes[begin:], *sizes[:begin]):
        if goal <= 0:
            break
        chosen.append(key)
        goal -= size
    return chosen


class Check:
    """A sink of an object's content, in order, which makes each piece's checksum. Runs where the bytes arrive."""

    def __init__(self, wanted: Wanted) -> None:
        self._pieces = wanted.pieces
        if wanted.crc32c >= 0 and not wanted.encoded:
            self._pieces.append(Piece(0, wanted.size, wanted.crc32c, data=False))
        self._size = wanted.content
        self._crcs = [0] * len(self._pieces)
        self.seen = 0  # bytes

    def write(self, data: bytes | memoryview) -> None:
        begin, end = self.seen, self.seen + len(data)
        with memoryview(data) as view:
            for at, piece in enumerate(self._pieces):
                low, high = max(begin, piece.offset), min(end, piece.offset + piece.size)
                if low < high:
                    part = view[low - begin : high - begin]
                    self._crcs[at] = (crc32 if piece.data else crc32c)(part, self._crcs[at])
        self.seen = end

    def verdict(self) -> Verdict:
        """After the last byte."""
        if self.seen != self._size:
            return Verdict(Fault.WRONG_SIZE, f"the store gave {self.seen} bytes of {self._size}")
        wrong = [(piece, crc) for piece, crc in zip(self._pieces, self._crcs, strict=True) if crc != piece.crc]
        if not wrong:
            return SOUND
        words = [
            f"the {piece.size} bytes from {piece.offset} on have the checksum {crc:08x}, not {piece.crc:08x}"
            for piece, crc in wrong[:_NAMED]
        ]
        return Verdict(Fault.DAMAGED, "; ".join(words), frozenset(piece.offset for piece, _ in wrong))


def _pack(pieces: Iterable[Piece]) -> bytes:
    return b"".join(_PIECE.pack(*piece) for piece in sorted(pieces))
