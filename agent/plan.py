"""Pure: what a snapshot has, against what the bucket holds: what to send, what to reuse, and the manifest of both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent import catalog
from agent.catalog import DATA, Component, SSTable, StoredObject, Table, Totals

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from agent.sstables import FoundSSTable, FoundTable, Snapshot


@dataclass(slots=True)
class Item:
    """A component with bytes. ``key`` is relative to the node's root; ``epoch`` is that of the object that has it."""

    path: Path
    component: str
    size: int
    crc: int
    identity: str
    epoch: str = ""

    @property
    def key(self) -> str:
        return f"{self.identity}-{self.epoch}"

    @property
    def data(self) -> bool:
        """``crc`` is then Cassandra's Digest, not a CRC32C."""
        return self.component == DATA


class Plan:
    """Filled SSTable by SSTable, then shown the listing; what the listing does not have gets our epoch."""

    def __init__(self, host_id: str, epoch: str, *, full: bool) -> None:
        self.items: dict[str, Item] = {}
        self._host_id = host_id
        self._epoch = epoch
        self._full = full
        self._by_path: dict[Path, Item] = {}

    def add(self, table: FoundTable, sstable: FoundSSTable, crcs: Mapping[str, int]) -> None:
        for name, file in sstable.files.items():
            if not file.size:
                continue
            key = catalog.identity(self._host_id, table.path, sstable.name, name, file.size, crcs[name])
            item = Item(file.path, name, file.size, crcs[name], key)
            self.items[key] = self._by_path[file.path] = item

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
        for item in send:
            item.epoch = self._epoch
        return sorted(send, key=lambda item: (-item.size, item.identity)), reuse

    def resend(self, missing: Iterable[Item]) -> list[Item]:
        """Items whose object is not there after all: they get our epoch, so no sweep can take the new copy."""
        items = sorted(missing, key=lambda item: (-item.size, item.identity))
        for item in items:
            item.epoch = self._epoch
        return items

    def contents(self, snapshot: Snapshot) -> tuple[list[Table], list[StoredObject]]:
        """The manifest's tables and objects: one object a component, in order of name."""
        tables: list[Table] = []
        objects: list[StoredObject] = []
        for found in snapshot.tables:
            sstables = [self._sstable(sstable, objects) for _, sstable in sorted(found.sstables.items())]
            path = found.path
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

    def _sstable(self, sstable: FoundSSTable, objects: list[StoredObject]) -> SSTable:
        components = []
        for name, file in sorted(sstable.files.items()):
            item = self._by_path.get(file.path)
            if item is None:
                components.append(Component(name, 0))
                continue
            components.append(Component(name, item.size, item.crc, len(objects)))
            objects.append(StoredObject(item.key, item.size))
        return SSTable(sstable.name, components)
