"""Pure: what a snapshot has, against what the bucket holds: what to send, what to reuse, and the manifest of both."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar, cast

from agent import catalog
from agent.catalog import StoredObject, Table, Totals
from agent.coding import AS_IT_IS
from agent.layout import Entry, Member, Piece, Sized

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping

    from agent.catalog import SSTable
    from agent.coding import Coding
    from agent.sstables import FoundSSTable, FoundTable, Snapshot

__all__ = ["Item", "Member", "Plan", "Sendable"]

_T = TypeVar("_T")


class Sendable(Protocol):
    """An object as it is sent: a large component, or a bundle of small ones of one SSTable, in order of name."""

    @property
    def key(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def members(self) -> tuple[Member, ...]: ...
    @property
    def bundle(self) -> bool: ...
    def keep_sum(self, crc32c: int) -> None:
        """Of the whole, once it was sent, where the members do not tell it."""


@dataclass(slots=True)
class Item:
    """One by itself.

    ``identity`` is relative to the node's root; ``epoch`` is that of the object that has the bytes. ``crc32c`` is that
    of the whole, once it was sent, where the members do not tell it.
    """

    identity: str
    size: int
    members: tuple[Member, ...]
    bundle: bool
    epoch: str = ""
    crc32c: int = -1

    @property
    def key(self) -> str:
        return f"{self.identity}-{self.epoch}"

    def keep_sum(self, crc32c: int) -> None:
        self.crc32c = crc32c


class Planned:
    """One of a plan: made again when it is looked at, as there may be hundreds of thousands.

    ``size`` and ``count`` are of what is used of it, which of an older bundle may be a part.
    """

    __slots__ = ("at", "count", "entry", "size")

    def __init__(self, entry: Entry, at: int, piece: Piece) -> None:
        self.entry = entry
        self.at = at
        self.size = piece.used
        self.count = len(piece.members)

    @property
    def identity(self) -> str:
        return self.entry.directory + self._piece.name

    @property
    def epoch(self) -> str:
        return self.entry.epochs[self.at]

    @property
    def key(self) -> str:
        return f"{self.identity}-{self.epoch}"

    @property
    def bundle(self) -> bool:
        return self._piece.bundle

    @property
    def old(self) -> bool:
        return self._piece.old

    @property
    def members(self) -> tuple[Member, ...]:
        files = self.entry.sstable.files
        return tuple(Member(files[one.name], one.crc) for one, _ in self._piece.members)

    def keep_sum(self, crc32c: int) -> None:
        self.entry.keep_sum(self.at, crc32c)

    @property
    def _piece(self) -> Piece:
        return self.entry.layout()[self.at]


class Reused:
    """What is there already: ``files`` and ``size`` are of what is used of it. Each is made when it is asked for."""

    def __init__(self) -> None:
        self.files = 0
        self.size = 0
        self._at: dict[Entry, int] = {}  # a bit for each of the entry's objects

    def add(self, entry: Entry, at: int, piece: Piece) -> None:
        self.files += len(piece.members)
        self.size += piece.used
        self._at[entry] = self._at.get(entry, 0) | 1 << at

    def __iter__(self) -> Iterator[Planned]:
        for entry, bits in self._at.items():
            for at, piece in enumerate(entry.layout()):
                if bits >> at & 1:
                    yield Planned(entry, at, piece)

    def __len__(self) -> int:
        return sum(bits.bit_count() for bits in self._at.values())

    def keys(self) -> list[str]:
        """To be gone through, again and again."""
        return cast("list[str]", _Stream(lambda: (one.key for one in self)))


class Plan:
    """Filled SSTable by SSTable, then shown the listing; what the listing does not have gets our epoch.

    ``coding`` says how objects are encoded: what has another encoding is as good as not there, and so is what is
    ``condemned``: it is sent with the epoch ``other``, where ours is condemned too.
    A million components take seconds in :meth:`settle`, :meth:`contents` and the like: call them in a thread.
    """

    def __init__(
        self,
        host_id: str,
        epoch: str,
        *,
        full: bool,
        condemned: Container[str] = (),
        other: str = "",
        coding: Coding = AS_IT_IS,
    ) -> None:
        self._host_id = host_id
        self._epoch = epoch
        self._full = full
        self._condemned = condemned
        self._other = other
        self.coding = coding
        self._tables: dict[str, dict[str, Entry]] = {}  # by the prefix of keys, then by the SSTable's name in them
        self._olds: dict[Entry, dict[str, str]] = {}  # bundles that are there and are none of ours, with their epochs
        self._epochs: dict[tuple[str, ...], tuple[str, ...]] = {}

    def add(self, table: FoundTable, sstable: FoundSSTable, crcs: Mapping[str, int]) -> None:
        """``crcs`` of every component with bytes. Threads may add different SSTables at once."""
        prefix = sys.intern(catalog.table_prefix(self._host_id, table.path))  # one for all entries of the table
        entry = Entry(prefix, sstable, crcs, self.coding)
        entry.epochs = self._shared(entry.epochs)
        self._tables.setdefault(prefix, {})[catalog.escape(sstable.name)] = entry

    def see(self, key: str, size: int) -> None:
        """One key of the listing, relative to the node's root. Ours is best; else the newest epoch.

        A full backup reuses only what an earlier try of itself sent.
        """
        entry = self._entry(key)
        identity, epoch = catalog.split_key(key) if entry is not None else ("", "")
        if entry is None or not identity or key in self._condemned or (self._full and not self._ours(epoch)):
            return
        name = identity.rpartition("/")[2]
        for at, piece in enumerate(entry.layout()):
            if piece.name == name:
                if piece.size in {size, -1}:
                    chosen = self._better(entry.epochs[at], epoch)
                    entry.epochs = self._shared((*entry.epochs[:at], chosen, *entry.epochs[at + 1 :]))
                return
        if catalog.is_bundle(identity) and catalog.stored_size(identity) == size and self.coding.writes(identity):
            olds = self._olds.setdefault(entry, {})
            olds[name] = self._better(olds.get(name, ""), epoch)

    def identities(self) -> Iterator[str]:
        """Of all its objects, as they are planned now."""
        for entry in self._entries():
            yield from (entry.directory + piece.name for piece in entry.layout())

    def lacking(self) -> bool:
        """A bundle is not there, but others of its SSTable are: an older manifest may tell what they hold."""
        return any(self._lacks(entry) for entry in self._olds)

    def wants(self, table: str, sstable: str) -> bool:
        """Of this SSTable :meth:`learn` has a use. ``table`` is the prefix of its keys."""
        entry = self._tables.get(table, {}).get(catalog.escape(sstable))
        return entry is not None and entry in self._olds and self._lacks(entry)

    def learn(self, table: str, sstable: SSTable, keys: Mapping[int, str]) -> None:
        """What an older backup knew of an SSTable, with the keys of its objects; the listing says which are there."""
        if not self.wants(table, sstable.name):
            return
        entry = self._tables[table][catalog.escape(sstable.name)]
        have: dict[Sized, tuple[str, int]] = {}
        for one in sstable.components:
            identity, _ = catalog.split_key(keys.get(one.object, ""))
            if identity.startswith(entry.directory) and self.coding.has(identity):
                crc = self.coding.sums(identity)(one.name, one.crc)
                have[Sized(one.name, one.size, crc)] = identity.removeprefix(entry.directory), one.offset
        entry.delta(have, self._olds[entry])

    def settle(self) -> tuple[list[Planned], Reused]:
        """(to send, largest first; to reuse). Every one has its key afterwards."""
        send: list[Planned] = []
        reuse = Reused()
        for entry in self._entries():
            for at, piece in enumerate(entry.layout()):
                if entry.epochs[at]:
                    reuse.add(entry, at, piece)
                else:
                    send.append(Planned(entry, at, piece))
        return self._send(send, self._epoch), reuse

    def confirm(self, condemned: Container[str], key: str, size: int) -> None:
        """One key of the listing before the commit: what is there, and not to go, need not be sent again."""
        entry = self._entry(key)
        if entry is None or key in condemned:
            return
        name = key.rpartition("/")[2]
        for at, piece in enumerate(entry.layout()):
            if piece.size in {size, -1} and name == f"{piece.name}-{entry.epochs[at]}":
                entry.seen |= 1 << at
                if piece.size < 0:
                    entry.keep_size(at, size)

    def missing(self) -> list[Planned]:
        """What was not confirmed since this was asked last."""
        found = []
        for entry in self._entries():
            if entry.seen.bit_count() < len(entry.epochs):
                pieces = entry.layout()
                found += [Planned(entry, at, piece) for at, piece in enumerate(pieces) if not entry.seen >> at & 1]
            entry.seen = 0
        return found

    def resend(self, missing: Iterable[Planned], epoch: str) -> list[Planned]:
        """What is not there after all. ``epoch`` is one that no object had: a late delete finds none. An older backup's
        bundle cannot be made again: a whole one takes its place.
        """
        by_entry: dict[Entry, list[Planned]] = {}
        for one in missing:
            by_entry.setdefault(one.entry, []).append(one)
        found: list[Planned] = []
        for entry, ones in by_entry.items():
            if any(one.old for one in ones):
                ones = [one for one in ones if not one.bundle]  # noqa: PLW2901  the bundles are others now
                entry.undo()
                pieces = enumerate(entry.layout())
                ones += [Planned(entry, at, piece) for at, piece in pieces if not entry.epochs[at]]
            found += ones
        return self._send(found, epoch)

    def stream(self, snapshot: Snapshot) -> tuple[list[Table], list[StoredObject]]:
        """As :meth:`contents`, each made when it is asked for: to be gone through, first the tables."""
        tables, objects = _Stream(partial(self._record, snapshot)), _Stream(partial(self._objects, snapshot))
        return cast("list[Table]", tables), cast("list[StoredObject]", objects)

    def contents(self, snapshot: Snapshot) -> tuple[list[Table], list[StoredObject]]:
        """The manifest's tables and objects, in order of name."""
        tables = list(self._record(snapshot))
        for table in tables:
            table.sstables = list(table.sstables)
        return tables, list(self._objects(snapshot))

    def totals(self, snapshot: Snapshot) -> Totals:
        """What has our epoch was sent for this backup, by this try or an earlier one."""
        everything = sent = 0
        for entry in self._entries():
            for at, piece in enumerate(entry.layout()):
                everything += piece.used
                sent += piece.used if self._ours(entry.epochs[at]) else 0
        return Totals(
            files=sum(len(sstable.files) for table in snapshot.tables for sstable in table.sstables.values()),
            bytes=everything, new_bytes=sent, reused_bytes=everything - sent, dropped_sstables=snapshot.dropped,
        )  # fmt: skip

    def _entries(self) -> Iterator[Entry]:
        for table in self._tables.values():
            yield from table.values()

    def _entry(self, key: str) -> Entry | None:
        directory, _, _ = key.rpartition("/")
        table, _, sstable = directory.rpartition("/")
        return self._tables.get(f"{table}/", _NONE).get(sstable)

    def _lacks(self, entry: Entry) -> bool:
        return any(piece.bundle and not epoch for piece, epoch in zip(entry.layout(), entry.epochs, strict=True))

    def _better(self, known: str, epoch: str) -> str:
        return max(known, epoch, key=lambda one: (self._ours(one), one))

    def _ours(self, epoch: str) -> bool:
        return catalog.owns_epoch(self._epoch, epoch)

    def _send(self, items: list[Planned], epoch: str) -> list[Planned]:
        for one in items:
            self._give(one, epoch)
            if one.key in self._condemned:
                self._give(one, self._other)
        items.sort(key=lambda one: -one.size)
        return items

    def _give(self, one: Planned, epoch: str) -> None:
        epochs, at = one.entry.epochs, one.at
        one.entry.epochs = self._shared((*epochs[:at], epoch, *epochs[at + 1 :]))

    def _shared(self, epochs: tuple[str, ...]) -> tuple[str, ...]:
        """There are few."""
        return self._epochs.setdefault(epochs, epochs)

    def _record(self, snapshot: Snapshot) -> Iterator[Table]:
        first = 0
        for found in snapshot.tables:
            entries = self._of(found)
            sstables = cast("list[SSTable]", _Stream(partial(_records, entries, first)))
            path = found.path
            yield Table(keyspace=path.keyspace, name=path.name, id=path.id, index=path.index, sstables=sstables,
                        schema=found.schema)  # fmt: skip
            first += sum(len(entry.epochs) for entry in entries)

    def _objects(self, snapshot: Snapshot) -> Iterator[StoredObject]:
        for found in snapshot.tables:
            for entry in self._of(found):
                directory = entry.directory
                for at, (piece, epoch) in enumerate(zip(entry.layout(), entry.epochs, strict=True)):
                    size = piece.size if piece.size >= 0 else entry.size(at)
                    yield StoredObject(f"{directory}{piece.name}-{epoch}", size, entry.sum(at))

    def _of(self, table: FoundTable) -> list[Entry]:
        entries = self._tables.get(catalog.table_prefix(self._host_id, table.path), _NONE)
        return [entries[catalog.escape(name)] for name in sorted(table.sstables)]


_NONE: dict[str, Entry] = {}


def _records(entries: Iterable[Entry], first: int) -> Iterator[SSTable]:
    for entry in entries:
        yield entry.record(first)
        first += len(entry.epochs)


class _Stream(Generic[_T]):
    """Can be gone through, again and again; holds nothing."""

    def __init__(self, make: Callable[[], Iterator[_T]]) -> None:
        self._make = make

    def __iter__(self) -> Iterator[_T]:
        return self._make()
