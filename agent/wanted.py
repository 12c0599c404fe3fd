"""Objects that manifests name, by key: in columns, some 200 bytes each, as there may be hundreds of thousands."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from agent.catalog import PLAIN, encoding_in, size_in, split_key
from agent.key_table import Keys
from agent.protocol import Fault
from backends.checksums import combine

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from agent.catalog import StoredObject

_PIECE = Struct("<QQI?")
_FAULTS = (*Fault,)  # a number is one more than the place in it, 0 for none


class Piece(NamedTuple):
    """``size`` bytes at ``offset``; ``crc`` is a CRC32 where ``data`` (a Data.db), else a CRC32C."""

    offset: int
    size: int
    crc: int
    data: bool


class Wanted:
    """One of :class:`Objects`, made when it is asked for."""

    __slots__ = ("_number", "_objects")

    def __init__(self, objects: Objects, number: int) -> None:
        self._objects = objects
        self._number = number

    @property
    def size(self) -> int:
        return self._objects.sizes[self._number]

    @property
    def content(self) -> int:
        """Bytes of what is in it: its own, where it is not encoded. Pieces are of the content."""
        return size_in(split_key(self._key)[0])

    @property
    def encoded(self) -> bool:
        return encoding_in(self._key) != PLAIN

    @property
    def _key(self) -> str:
        return self._objects.key(self._number)

    @property
    def crc32c(self) -> int:
        """Of the whole object, as it was recorded; -1: it was not."""
        return self._objects.crcs[self._number]

    @property
    def backups(self) -> int:
        """A bit for each backup that needs it."""
        return self._objects.masks[self._objects.mask_of[self._number]]

    @property
    def fault(self) -> Fault | None:
        number = self._objects.faults[self._number]
        return _FAULTS[number - 1] if number else None

    @fault.setter
    def fault(self, fault: Fault | None) -> None:
        self._objects.faults[self._number] = 0 if fault is None else _FAULTS.index(fault) + 1

    @property
    def pieces(self) -> list[Piece]:
        return [Piece(*found) for found in _PIECE.iter_unpack(self._objects.pieces(self._number))]

    @property
    def checksum(self) -> int | None:
        """CRC32C of the whole object: as it was recorded, or by its pieces where they have it; None is not known."""
        if self.crc32c >= 0:
            return self.crc32c
        pieces = self.pieces
        if self.encoded or any(piece.data for piece in pieces) or not covered(self.content, pieces):
            return None
        return combine((piece.crc, piece.size) for piece in pieces)


class Objects(Mapping[str, Wanted]):
    """What nobody needs any more is not in it. The columns are for :class:`Wanted`, by the number of the key."""

    def __init__(self) -> None:
        self._keys = Keys()
        self.sizes = array("Q")
        self.crcs = array("q")
        self.faults = bytearray()
        self.masks = [0]  # few: backups are needed by the same objects
        self.mask_of = array("I")
        self._mask_numbers = {0: 0}
        self._begins = array("Q")
        self._ends = array("Q")
        self._pieces = bytearray()

    def need(self, stored: StoredObject, pieces: Iterable[Piece], backup: int) -> None:
        """A backup (a bit) needs these pieces of it. It is missing until it was seen."""
        packed = _pack(pieces)
        number = self._keys.add(stored.key)
        if number == len(self.sizes):
            self.sizes.append(stored.size)
            self.crcs.append(stored.crc32c)
            self.faults.append(_FAULTS.index(Fault.MISSING) + 1)
            self.mask_of.append(0)
            self._begins.append(0)
            self._ends.append(0)
            self._keep(number, packed)
        elif (known := self.pieces(number)) != packed:
            rows = {*_PIECE.iter_unpack(known), *_PIECE.iter_unpack(packed)}
            if len(rows) * _PIECE.size > len(known):
                self._keep(number, _pack(Piece(*row) for row in rows))
        if self.crcs[number] < 0:
            self.crcs[number] = stored.crc32c
        mask = self.masks[self.mask_of[number]] | backup
        if (at := self._mask_numbers.setdefault(mask, len(self.masks))) == len(self.masks):
            self.masks.append(mask)
        self.mask_of[number] = at

    def keep(self, backups: int) -> None:
        """Those of other backups than these (bits) are needed no more."""
        self.masks = [mask & backups for mask in self.masks]
        self._mask_numbers = {mask: at for at, mask in enumerate(self.masks)}

    def key(self, number: int) -> str:
        return self._keys[number]

    def pieces(self, number: int) -> bytes:
        return bytes(self._pieces[self._begins[number] : self._ends[number]])

    def in_order(self, *, faulty: bool) -> list[str]:
        """Keys, sorted, of those with a fault, or without one."""
        return sorted(self._keys[number] for number in self._numbers() if bool(self.faults[number]) is faulty)

    def size(self) -> int:
        """Bytes of all of them."""
        return sum(self.sizes[number] for number in self._numbers())

    def tally(self) -> Counter[Fault]:
        return Counter(_FAULTS[fault - 1] for number in self._numbers() if (fault := self.faults[number]))

    def __getitem__(self, key: str) -> Wanted:
        number = self._keys.find(key)
        if number is None or not self.masks[self.mask_of[number]]:
            raise KeyError(key)
        return Wanted(self, number)

    def __iter__(self) -> Iterator[str]:
        return (self._keys[number] for number in self._numbers())

    def __len__(self) -> int:
        return sum(1 for _ in self._numbers())

    def _numbers(self) -> Iterator[int]:
        return (number for number, at in enumerate(self.mask_of) if self.masks[at])

    def _keep(self, number: int, packed: bytes) -> None:
        self._begins[number] = len(self._pieces)
        self._pieces += packed
        self._ends[number] = len(self._pieces)


def covered(size: int, pieces: Iterable[Piece]) -> bool:
    """Whether the pieces, in their order, are the whole object and lie end to end."""
    end = 0
    for piece in pieces:
        if piece.offset != end:
            return False
        end += piece.size
    return end == size


def _pack(pieces: Iterable[Piece]) -> bytes:
    return b"".join([_PIECE.pack(*piece) for piece in sorted(pieces)])
