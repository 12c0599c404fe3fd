"""Pure: in which objects an SSTable lies. Small components are bundled; a delta adds what older bundles do not have.

Usually there is a bundle of Digest, Index, Statistics, Summary and TOC beside Data.db. When Statistics was rewritten,
the old bundle goes on to be used for the rest of them, and a new one has the new Statistics alone.
"""

from __future__ import annotations

import itertools
from array import array
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from agent import catalog
from agent.catalog import BUNDLE, BUNDLED, DATA, Component, SSTable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from agent.coding import Coding
    from agent.found import FoundFile
    from agent.sstables import FoundSSTable

CHAIN = 4  # bundles of one SSTable; a restore reads them all, so then the next is a whole one


class Member(NamedTuple):
    """A component with bytes. ``crc`` is Cassandra's Digest (CRC32) for Data.db, CRC32C for the rest."""

    file: FoundFile
    crc: int

    @property
    def data(self) -> bool:
        return self.file.component == DATA


class Sized(NamedTuple):
    """A component with bytes, as it is planned."""

    name: str
    size: int
    crc: int


class Piece(NamedTuple):
    """An object of an SSTable. ``name`` is its key without directory and epoch, ``size`` that of all of it as the store
    has it.

    ``members`` with their offsets, in that order. ``old``: an earlier backup's bundle, of which these are still good.
    """

    name: str
    size: int
    bundle: bool
    members: tuple[tuple[Sized, int], ...]
    old: bool = False

    @property
    def used(self) -> int:
        """Bytes of the members."""
        return sum(member.size for member, _ in self.members)


class Entry:
    """A planned SSTable; few bytes, as there may be a hundred thousand.

    ``epochs`` are those of the objects that have the bytes, by piece; empty: nothing is there. ``pieces`` is None for
    whole ones, which are made when they are looked at. ``seen`` has a bit a piece, see :meth:`Plan.confirm`.
    ``sums`` are CRC32C of what was sent, where the manifest does not tell it otherwise; empty for none.
    """

    __slots__ = ("_crcs", "coding", "epochs", "pieces", "prefix", "seen", "sstable", "sums")

    def __init__(self, prefix: str, sstable: FoundSSTable, crcs: Mapping[str, int], coding: Coding) -> None:
        self.prefix = prefix
        self.sstable = sstable
        self.coding = coding
        self._crcs = array("I", [crcs[name] for name, size in sorted(sstable.files.sizes()) if size]).tobytes()
        self.pieces: tuple[Piece, ...] | None = None
        self.epochs: tuple[str, ...] = ("",) * sum(1 for _ in _groups(self.components()))
        self.seen = 0
        self.sums: tuple[int, ...] = ()

    @property
    def directory(self) -> str:
        return f"{self.prefix}{catalog.escape(self.sstable.name)}/"

    def components(self) -> list[Sized]:
        """Those with bytes, in order of name."""
        crcs = memoryview(self._crcs).cast("I")
        names = (one for one in sorted(self.sstable.files.sizes()) if one[1])
        return [Sized(name, size, crc) for (name, size), crc in zip(names, crcs, strict=True)]

    def layout(self) -> tuple[Piece, ...]:
        return _whole(self) if self.pieces is None else self.pieces

    def delta(self, have: Mapping[Sized, tuple[str, int]], olds: Mapping[str, str]) -> bool:
        """Lays the small components out over older bundles and new ones for what those lack; False if it does not pay
        or cannot be. ``have`` tells (bundle, offset), ``olds`` the bundles that are there, with their epochs.
        """
        large = [[one] for one in self.components() if one.size > BUNDLED]
        reused: dict[str, list[tuple[Sized, int]]] = {}
        new: list[Sized] = []
        for one in self.components():
            if one.size > BUNDLED:
                continue
            if (found := have.get(one)) is not None and found[0] in olds:
                reused.setdefault(found[0], []).append((one, found[1]))
            else:
                new.append(one)
        fresh = list(_bundles(new))
        if not reused or len(reused) + len(fresh) > CHAIN:
            return False
        kept = [_old(name, members) for name, members in sorted(reused.items())]
        if None in kept:
            return False
        pieces = [self.piece(group) for group in (*large, *fresh)]
        epochs = [*self.epochs[: len(large)], *(olds.get(piece.name, "") for piece in pieces[len(large) :])]
        for piece in kept:
            assert piece is not None
            pieces.append(piece)
            epochs.append(olds[piece.name])
        self.pieces, self.epochs = tuple(pieces), tuple(epochs)
        return True

    def undo(self) -> None:
        """Whole bundles after all; they are not there."""
        large = sum(1 for piece in self.layout() if not piece.bundle)
        self.pieces = None
        self.epochs = (*self.epochs[:large], *("" for _ in self.layout()[large:]))
        self.sums = self.sums[:large]

    def sum(self, at: int) -> int:
        """CRC32C of an object, -1 where it is not known."""
        return self.sums[at] if at < len(self.sums) else -1

    def keep_sum(self, at: int, crc32c: int) -> None:
        known = [self.sum(other) for other in range(len(self.epochs))]
        known[at] = crc32c
        self.sums = tuple(known)

    def record(self, first: int) -> SSTable:
        """For the manifest; ``first`` is the index of the first of its objects there."""
        components = [Component(name, 0) for name, size in self.sstable.files.sizes() if not size]
        for number, piece in enumerate(self.layout(), start=first):
            sums = self.coding.sums(self.directory + piece.name)
            components += [
                Component(one.name, one.size, sums(one.name, one.crc), number, offset) for one, offset in piece.members
            ]
        components.sort(key=lambda component: component.name)
        return SSTable(self.sstable.name, components)

    def piece(self, group: list[Sized]) -> Piece:
        """These components as one object."""
        if group[0].size > BUNDLED:
            identity = catalog.identity(self.prefix, self.sstable.name, *group[0])
        else:
            identity = catalog.bundle_identity(self.prefix, self.sstable.name, group)
        offsets = itertools.accumulate((one.size for one in group), initial=0)
        name = self.coding.name(identity).rpartition("/")[2]
        size = self.coding.size(sum(one.size for one in group))
        return Piece(name, size, group[0].size <= BUNDLED, tuple(zip(group, offsets, strict=False)))


@lru_cache(maxsize=256)  # a listing has the keys of an SSTable side by side, and few are sent at once
def _whole(entry: Entry) -> tuple[Piece, ...]:
    return tuple([entry.piece(group) for group in _groups(entry.components())])


def _groups(components: list[Sized]) -> Iterator[list[Sized]]:
    """What becomes one object: each large component, then the bundles."""
    yield from ([one] for one in components if one.size > BUNDLED)
    yield from _bundles([one for one in components if one.size <= BUNDLED])


def _bundles(small: list[Sized]) -> Iterator[list[Sized]]:
    """One nearly always."""
    begin, size = 0, 0
    for at, one in enumerate(small):
        size += one.size
        if size > BUNDLE:
            yield small[begin:at]
            begin, size = at, one.size
    if small:
        yield small[begin:]


def _old(name: str, members: list[tuple[Sized, int]]) -> Piece | None:
    """None where a manifest said what no bundle can hold: members that lie over each other or past its end."""
    members.sort(key=lambda member: member[1])
    size, whole = catalog.stored_size(f"x/{name}"), catalog.size_in(f"x/{name}")
    end = 0
    for one, offset in members:
        if offset < end:
            return None
        end = offset + one.size
    return Piece(name, size, bundle=True, members=tuple(members), old=True) if end <= whole else None
