"""A node of a few tiny SSTables, for tests in which many backups are made of it."""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from agent import catalog
from agent.cassandra import Facts
from agent.snapshots import Taken
from agent.sstables import FoundFile, FoundSSTable, FoundTable, Snapshot
from backends.checksums import crc32c

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

HOST = "host-1"


class Pool:
    """SSTables that the node has at one time or another, on disk once for all interleavings."""

    def __init__(self, root: Path, count: int = 4) -> None:
        self.sstables: list[FoundSSTable] = []
        self.crcs: dict[str, int] = {}
        table = catalog.TablePath("ks", "t", "0" * 32)
        self.table = table
        self.content: dict[str, bytes] = {}  # by identity
        for number in range(count):
            sstable = FoundSSTable(f"nb-{number}-big")
            members, data = [], b""
            for name in ("Data.db", "Statistics.db"):
                text = f"{name} of {number}".encode()
                path = root / f"{sstable.name}-{name}"
                path.write_bytes(text)
                crc = _crc(name, text)
                sstable.files[name] = FoundFile(name, str(path), len(text))
                self.crcs[str(path)] = crc
                members.append((name, len(text), crc))
                data += text
            self.sstables.append(sstable)
            prefix = catalog.table_prefix(HOST, table)
            self.content[catalog.bundle_identity(prefix, sstable.name, members)] = data

    def snapshot(self, chosen: Iterable[int]) -> Snapshot:
        found = FoundTable(self.table, {self.sstables[one].name: self.sstables[one] for one in sorted(chosen)})
        return Snapshot([found])


def _crc(name: str, data: bytes) -> int:
    return zlib.crc32(data) if name == "Data.db" else crc32c(data)


class PoolSnapshots:
    """``agent.snapshots.Snapshots``, of the pool; it reads nothing that it knows."""

    def __init__(self, pool: Pool, chosen: Mapping[str, set[int]]) -> None:
        self._pool = pool
        self._chosen = chosen  # by tag
        self.checksums = self
        self.uploads = Path(os.devnull) / "uploads"  # nothing is large enough to be journalled

    async def taken(self, tag: str) -> Taken:
        return Taken(tag=tag, operation="s", at="", facts=Facts(host_id=HOST, tokens=["1"]))

    async def scan(self, tag: str) -> Snapshot:
        return self._pool.snapshot(self._chosen[tag])

    async def clear(self, tag: str) -> None:
        pass

    def load(self) -> PoolSnapshots:
        return self

    def get(self, file: FoundFile) -> int:
        return self._pool.crcs[str(file.path)]

    def keep(self, known: object) -> None:
        pass

    def forget(self) -> None:
        raise AssertionError("nothing changes on disk")


class StandingJob:
    def __init__(self, name: str) -> None:
        self.id = name
        self.operation: Any = SimpleNamespace(error=None)

    async def enter(self, phase: str, *, files: int | None = None, size: int = 0) -> None:
        pass

    def count(self, size: int) -> None:
        pass

    def file_done(self, count: int = 1) -> None:
        pass

    def reused(self, files: int, size: int) -> None:
        pass
