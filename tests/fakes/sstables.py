"""Synthetic SSTables on disk: right names, right Digest and TOC, bytes that are not Cassandra's."""

from __future__ import annotations

import json
import os
import random
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

BIG = (
    "Data.db",
    "Index.db",
    "Summary.db",
    "Filter.db",
    "Statistics.db",
    "CompressionInfo.db",
    "Digest.crc32",
    "TOC.txt",
)
BTI = (
    "Data.db",
    "Partitions.db",
    "Rows.db",
    "Filter.db",
    "Statistics.db",
    "CompressionInfo.db",
    "Digest.crc32",
    "TOC.txt",
)
SAI = ("SAI+aa+GroupComplete.db", "SAI+aa+TokenValues.db", "SAI+aa+by_name+TermsData.db")
EMPTY = frozenset({"Rows.db", "SAI+aa+GroupComplete.db"})
UUID_ID = "3fw2_0tj4_46w3k2cpidnirvjy7k"


def write_sstable(
    directory: Path,
    name: str,
    *,
    size: int = 2000,
    extra: tuple[str, ...] = (),
    without: tuple[str, ...] = (),
    seed: int = 0,
) -> None:
    """All components of ``<version>-<id>-<format>`` in ``directory``; ``size`` bytes of Data.db."""
    directory.mkdir(parents=True, exist_ok=True)
    chance = random.Random(f"{directory}{name}{seed}")
    components = (*(BTI if name.endswith("bti") else BIG), *extra)
    data = chance.randbytes(size)
    for component in components:
        content = chance.randbytes(60)
        if component in EMPTY:
            content = b""
        elif component == "Data.db":
            content = data
        elif component == "Digest.crc32":
            content = str(zlib.crc32(data)).encode()
        elif component == "TOC.txt":
            content = "\n".join(components).encode() + b"\n"
        if component not in without:
            (directory / f"{name}-{component}").write_bytes(content)


def table_id(number: int) -> str:
    return f"{number:032x}"


@dataclass
class NodeData:
    """A node's data directories, and snapshots of them as Cassandra makes them."""

    data_dirs: list[Path]
    tables: list[str] = field(default_factory=list)  # "ks/name-id", relative

    def table(
        self, keyspace: str, name: str, number: int, sstables: tuple[str, ...] = ("nb-1-big",), **more: object
    ) -> Path:
        """In the first data directory."""
        relative = f"{keyspace}/{name}-{table_id(number)}"
        if relative not in self.tables:
            self.tables.append(relative)
        directory = self.data_dirs[0] / relative
        directory.mkdir(parents=True, exist_ok=True)
        for sstable in sstables:
            write_sstable(directory, sstable, **more)  # type: ignore[arg-type]
        return directory

    def names(self) -> list[str]:
        """``keyspace.table`` of each."""
        return [relative.rpartition("-")[0].replace("/", ".") for relative in self.tables]

    def snapshot(self, name: str, entities: list[str] | None = None) -> None:
        """Hard links, manifest.json in the first directory that has the table, schema.cql beside it."""
        for relative, full in zip(self.tables, self.names(), strict=True):
            if entities and full not in entities and full.partition(".")[0] not in entities:
                continue
            listed: list[str] = []
            for data_dir in self.data_dirs:
                table = data_dir / relative
                if table.is_dir():
                    listed += _link(table, table / "snapshots" / name)
            home = self.data_dirs[0] / relative / "snapshots" / name
            home.mkdir(parents=True, exist_ok=True)
            (home / "manifest.json").write_text(json.dumps({"files": listed, "created_at": "2026-01-01T00:00:00Z"}))
            (home / "schema.cql").write_text(f"CREATE TABLE {full} (k int PRIMARY KEY);")

    def snapshots(self, name: str) -> list[Path]:
        return [path for data_dir in self.data_dirs for path in data_dir.glob(f"*/*/snapshots/{name}")]


def _link(table: Path, target: Path) -> list[str]:
    target.mkdir(parents=True, exist_ok=True)
    listed = []
    for entry in sorted(table.iterdir()):
        if entry.is_dir() and entry.name.startswith("."):
            listed += [f"{entry.name}/{name}" for name in _link(entry, target / entry.name)]
        elif entry.is_file():
            os.link(entry, target / entry.name)
            if entry.name.endswith("-Data.db"):
                listed.append(entry.name)
    return listed


def live_files(data_dir: Path) -> dict[str, bytes]:
    """What Cassandra would open: relative path -> content, without snapshots."""
    return {
        str(path.relative_to(data_dir)): path.read_bytes()
        for path in sorted(data_dir.rglob("*"))
        if path.is_file() and "snapshots" not in path.parts
    }
