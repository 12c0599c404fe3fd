"""Pure: what a snapshot has, against what the bucket holds: what to send, what to reuse, and the manifest of both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from agent import catalog
from agent.catalog import BUNDLE, BUNDLED, DATA, Component, SSTable, StoredObject, Table, TablePath, Totals

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from agent.sstables import FoundFile, FoundSSTable, FoundTable, Snapshot


class Member(NamedTuple):
    """A component with bytes. ``crc`` is Cassandra's Digest (CRC32) for Data.db, CRC32C for the rest."""

    file: FoundFile
    crc: int

    @property
    def data(self) -> bool:
        return self.file.component == DATA


@dataclass(slots=True)
class Item:
    """An object: a large component, or a bundle of small ones of one SSTable, in order of name.

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


class Plan:
    """Filled SSTable by SSTable, then shown the listing; what the listing does not have gets our epoch.

    A million components take seconds in :meth:`settle`, :meth:`contents` and the like: call them in a thread.
    """

    def __init__(self, host_id: str, epoch: str, *, full: bool) -> None:
        self.items: dict[str, Item] = {}
        self._host_id = host_id
        self._epoch = epoch
        self._full = full
        self._of: dict[tuple[TablePath, str], list[Item]] = {}

    def add(self, table: FoundTable, sstable: FoundSSTable, crcs: Mapping[str, int]) -> None:
        """``crcs`` of every component with bytes. Threads may add different SSTables at once."""
        prefix = catalog.table_prefix(self._host_id, table.path)
        items: list[Item] = []
        small: list[Member] = []
        for name, file in sorted(sstable.files.items()):
            if 0 < file.size <= BUNDLED:
                small.append(Member(file, crcs[name]))
            elif file.size:
                identity = catalog.identity(prefix, sstable.name, name, file.size, crcs[name])
                items.append(Item(identity, file.size, (Member(file, crcs[name]),), bundle=False))
        for members in _bundles(small):
            found = ((member.file.component, member.file.size, member.crc) for member in members)
            identity = catalog.bundle_identity(prefix, sstable.name, found)
            items.append(Item(identity, sum(member.file.size for member in members), tuple(members), bundle=True))
        self._of[table.path, sstable.name] = items
        self.items.update((item.identity, item) for item in items)

    def see(self, key: str, size: int) -> None:
        """One key of the listing, relative to the node's root. Ours is best; else the newest epoch.

        A full backup reuses only what an earlier try of itself sent.
        """
        identity, epoch = catalog.split_key(key)
        item = self.items.get(identity)
        if item is None or item.size != size or item.epoch == self._epoch or (self._full and epoch != self._epoch):
            return
        if epoch == self._epoch or epoch > item.epoch:
            item.epoch = epoch

    def settle(self) -> tuple[list[Item], list[Item]]:
        """(to send, largest first; to reuse). Every item has its key afterwards."""
        send = [item for item in self.items.values() if not item.epoch]
        reuse = [item for item in self.items.values() if item.epoch]
        return self.resend(send), reuse

    def resend(self, missing: Iterable[Item]) -> list[Item]:
        """Items whose object is not there after all: they get our epoch, so no sweep can take the new copy."""
        items = sorted(missing, key=lambda item: (-item.size, item.identity))
        for item in items:
            item.epoch = self._epoch
        return items

    def contents(self, snapshot: Snapshot) -> tuple[list[Table], list[StoredObject]]:
        """The manifest's tables and objects, in order of name."""
        tables: list[Table] = []
        objects: list[StoredObject] = []
        for found in snapshot.tables:
            path = found.path
            sstables = [self._sstable(path, sstable, objects) for _, sstable in sorted(found.sstables.items())]
            tables.append(Table(keyspace=path.keyspace, name=path.name, id=path.id, index=path.index,
                                sstables=sstables, schema=found.schema))  # fmt: skip
        return tables, objects

    def totals(self, snapshot: Snapshot) -> Totals:
        """What has our epoch was sent for this backup, by this try or an earlier one."""
        everything = sum(item.size for item in self.items.values())
        sent = sum(item.size for item in self.items.values() if item.epoch == self._epoch)
        return Totals(
            files=sum(1 for _ in snapshot.files()), bytes=everything, new_bytes=sent, reused_bytes=everything - sent,
            dropped_sstables=snapshot.dropped,
        )  # fmt: skip

    def _sstable(self, table: TablePath, sstable: FoundSSTable, objects: list[StoredObject]) -> SSTable:
        components = [Component(name, 0) for name, file in sstable.files.items() if not file.size]
        for item in self._of[table, sstable.name]:
            offset = 0
            for member in item.members:
                file = member.file
                components.append(Component(file.component, file.size, member.crc, len(objects), offset))
                offset += file.size
            objects.append(StoredObject(item.key, item.size, item.crc32c))
        return SSTable(sstable.name, sorted(components, key=lambda component: component.name))


def _bundles(small: list[Member]) -> Iterator[list[Member]]:
    """One nearly always."""
    begin, size = 0, 0
    for at, member in enumerate(small):
        size += member.file.size
        if size > BUNDLE:
            yield small[begin:at]
            begin, size = at, member.file.size
    if small:
        yield small[begin:]
