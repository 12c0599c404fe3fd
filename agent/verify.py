"""Pure: what the manifests say of one node's objects, against what the store says of them.

    absorb(manifest) for each backup ──> Wanted by key, all of them Missing ──see(listing)──> what is wrong

Holds some 200 bytes an object, and one manifest at a time: names of tables and components are read again from the
manifests for what is found. A piece is a component's place in its object.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

from isal.isal_zlib import crc32

from agent.catalog import DATA
from agent.protocol import Fault
from agent.wanted import Objects, Piece
from backends.checksums import crc32c

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from agent.catalog import Component, Manifest, TablePath
    from agent.wanted import Wanted

_NAMED = 3  # pieces that one sentence tells of


class Use(NamedTuple):
    """A component that lies in an object."""

    table: TablePath
    sstable: str
    component: Component

    @property
    def piece(self) -> Piece:
        return _piece(self.component)


class Verdict(NamedTuple):
    """Of one object. ``offsets`` are those of the pieces that are damaged, where that is known."""

    fault: Fault | None
    detail: str = ""
    offsets: frozenset[int] = frozenset()


SOUND = Verdict(None)


class Wants:
    """Every object that the complete backups need of a node."""

    def __init__(self) -> None:
        self.objects = Objects()  # by key, relative to the node's root
        self.tags: list[str] = []

    def absorb(self, tag: str, manifest: Manifest) -> None:
        """Backups that share an object may name different components of it: all of them are wanted."""
        bit = 1 << len(self.tags)
        self.tags.append(tag)
        for table in manifest.tables:
            for sstable in table.sstables:
                places: dict[int, list[Piece]] = {}
                for one in sstable.components:
                    if one.size:
                        places.setdefault(one.object, []).append(_piece(one))
                for number, pieces in places.items():
                    self.objects.need(manifest.objects[number], pieces, bit)

    def see(self, key: str, size: int) -> None:
        """One key of the listing."""
        if (wanted := self.objects.get(key)) is not None:
            wanted.fault = None if size == wanted.size else Fault.WRONG_SIZE

    def forget(self, tags: Iterable[str]) -> None:
        """Backups that are there no more: what only they needed may be gone as well."""
        gone = set(tags)
        self.objects.keep(sum(1 << at for at, tag in enumerate(self.tags) if tag not in gone))

    def needed_by(self, wanted: Wanted) -> list[str]:
        return [tag for at, tag in enumerate(self.tags) if wanted.backups >> at & 1]

    def faulty(self) -> list[str]:
        """In order of key."""
        return self.objects.in_order(faulty=True)

    def sound(self) -> list[str]:
        return self.objects.in_order(faulty=False)


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


def portion(keys: Sequence[str], size: Callable[[str], int], after: str, share: float) -> list[str]:
    """Keys to read now: from the first past ``after``, around the end, until they have ``share`` of all bytes.

    ``keys`` in their order. As each run has at least its share and goes on behind the last one, so many runs as the
    share goes into one have read everything that was there all the time.
    """
    goal = math.ceil(sum(map(size, keys)) * share)
    begin = bisect_right(keys, after)
    chosen: list[str] = []
    for key in (*keys[begin:], *keys[:begin]):
        if goal <= 0:
            break
        chosen.append(key)
        goal -= size(key)
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


def _piece(one: Component) -> Piece:
    return Piece(one.offset, one.size, one.crc, one.name == DATA)
