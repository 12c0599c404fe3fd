"""What a snapshot holds on disk: tables, their SSTables, and every component of each. All of it blocks: use a thread.

``<data dir>/<ks>/<table>-<id>/snapshots/<tag>/[.<index>/]<version>-<id>-<format>-<component>``. Any file with an
SSTable's prefix belongs to it; what makes it whole is in ``formats``. A table and its indexes may lie in several data
directories. Cassandra writes one ``manifest.json`` a table, in any of them, which names each SSTable's Data.db: every
file named there must be there, and whole, or the snapshot is no backup.
"""

from __future__ import annotations

import json
import os
import re
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from agent import formats
from agent.catalog import DATA, TablePath
from agent.errors import AgentError, Reason, reading
from agent.files import subdirectories
from agent.formats import TOC
from agent.found import Files, FoundFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["Files", "FoundFile", "FoundSSTable", "FoundTable", "Snapshot", "scan", "snapshots"]

DIGEST = "Digest.crc32"
SKIPPED = frozenset({"system", "system_traces"})  # the node's own: a restored node writes its own anew

_FILE = re.compile(r"(?P<sstable>[a-z]{2,8}-[0-9a-z_]{1,64}-[a-z]{1,16})-(?P<component>[A-Za-z0-9_][A-Za-z0-9_.+-]*)\Z")
_TABLE = re.compile(r"(?P<name>[A-Za-z0-9_]+)-(?P<id>[0-9a-f]{32})\Z")

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class FoundSSTable:
    """``name`` is ``<version>-<id>-<format>``."""

    name: str
    files: Files = field(init=False)

    def __post_init__(self) -> None:
        self.files = Files(self.name)

    def missing(self) -> list[str]:
        """Components without which this is no whole SSTable."""
        toc = None
        if TOC in self.files:
            toc = _read(self.files[TOC].path).decode("ascii", errors="replace").split()
        return formats.missing(self.name, dict(self.files.sizes()), toc)


@dataclass(slots=True)
class FoundTable:
    path: TablePath
    sstables: dict[str, FoundSSTable] = field(default_factory=dict)
    schema: str = ""
    listed: bool = False  # Cassandra's manifest.json was there


@dataclass(slots=True)
class Snapshot:
    """Index tables stand beside their table. ``dropped`` counts SSTables that were still being written."""

    tables: list[FoundTable]
    dropped: int = 0

    def files(self) -> Iterator[FoundFile]:
        for table in self.tables:
            for sstable in table.sstables.values():
                yield from sstable.files.values()


def parse(file: str) -> tuple[str, str] | None:
    """(SSTable, component) of a file's name; None for any other file."""
    found = _FILE.match(file)
    return (found["sstable"], found["component"]) if found else None


def scan(data_dirs: Sequence[Path], snapshot: str, *, skipped: Iterable[str] = SKIPPED) -> Snapshot:
    """The whole snapshot. Raises SnapshotGone when there is none (any more), SnapshotFailed when it is not whole."""
    try:
        return _scan(data_dirs, snapshot, frozenset(skipped))
    except FileNotFoundError as error:
        message = f"{error.filename} is gone: the snapshot was cleared while it was read; back up again"
        raise AgentError(Reason.SNAPSHOT_GONE, message, retryable=True) from error


def _scan(data_dirs: Sequence[Path], snapshot: str, skipped: frozenset[str]) -> Snapshot:
    found: dict[TablePath, FoundTable] = {}
    listed: dict[TablePath, set[str]] = {}  # table or index -> SSTables that Cassandra says the snapshot has
    for path, directory in _snapshot_directories(data_dirs, snapshot, skipped):
        for name in _read_table(found, path, directory) or ():
            index, _, file = name.rpartition("/")
            listed.setdefault(replace(path, index=index), set()).add(_named(path, file))
    if not found:
        raise AgentError(Reason.SNAPSHOT_GONE, f"no table has the snapshot {snapshot}: take it again", retryable=True)
    for path, table in found.items():
        if not path.index and not table.listed:
            raise _not_whole(path, "it has no manifest.json")
    _of_indexes(found, listed)
    if gone := sorted(path for path in listed if path not in found):
        raise _not_whole(gone[0], "its directory is not there")
    dropped = sum(_settle(table, listed.get(path, set())) for path, table in found.items())
    if strange := formats.unknown(name for table in found.values() for name in table.sstables):
        log.info("SSTables of versions that this agent does not know are kept as they are", versions=strange)
    return Snapshot([found[path] for path in sorted(found)], dropped)


def snapshots(data_dirs: Sequence[Path], prefix: str) -> dict[str, list[Path]]:
    """Every snapshot on disk whose tag starts with ``prefix``, and its directories."""
    found: dict[str, list[Path]] = {}
    for data_dir in data_dirs:
        for keyspace in subdirectories(data_dir):
            for table in subdirectories(keyspace):
                for snapshot in subdirectories(table / "snapshots"):
                    if snapshot.name.startswith(prefix):
                        found.setdefault(snapshot.name, []).append(snapshot)
    return found


def _snapshot_directories(
    data_dirs: Sequence[Path], snapshot: str, skipped: frozenset[str]
) -> Iterator[tuple[TablePath, Path]]:
    for data_dir in data_dirs:
        for keyspace in subdirectories(data_dir):
            if keyspace.name in skipped or keyspace.name.startswith("."):
                continue
            for directory in subdirectories(keyspace):
                if not (taken := directory / "snapshots" / snapshot).is_dir():
                    continue
                found = _TABLE.match(directory.name)
                if found is None:  # of 2.0: later versions go on in the directory that they find
                    what = f"{keyspace.name}/{directory.name} has no table id in its name"
                    raise _not_understood(f"{what}: rename it to the table's name and id, while the node is down")
                yield TablePath(keyspace.name, found["name"], found["id"]), taken


def _read_table(found: dict[TablePath, FoundTable], path: TablePath, directory: Path) -> set[str] | None:
    """Adds one directory's files; the names in its manifest.json, None where it has none."""
    table = found.setdefault(path, FoundTable(path))
    named: set[str] | None = None
    for entry in _add_files(table, directory):
        if entry.is_dir(follow_symlinks=False) and entry.name.startswith("."):
            inner = replace(path, index=entry.name)
            _add_files(found.setdefault(inner, FoundTable(inner)), entry.path)
        elif entry.name == "manifest.json":
            named = _read_listed(path, entry.path)
            table.listed = True
        elif entry.name == "schema.cql":
            table.schema = _read(entry.path).decode("utf-8", errors="replace")
    return named


def _add_files(table: FoundTable, directory: str | Path) -> list[os.DirEntry[str]]:
    """The directory's components go into the table, in order of name; what is none of them is returned."""
    others: list[os.DirEntry[str]] = []
    with os.scandir(directory) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            parsed = parse(entry.name)
            if parsed is None:
                others.append(entry)
                continue
            if not entry.is_file(follow_symlinks=False):
                continue
            name, component = parsed[0], sys.intern(parsed[1])
            sstable = table.sstables.get(name)
            if sstable is None:
                sstable = table.sstables[name] = FoundSSTable(name)
            if component in sstable.files:
                raise _not_whole(table.path, f"{entry.name} is in two data directories")
            status = entry.stat(follow_symlinks=False)
            sstable.files[component] = FoundFile(
                component, entry.path, status.st_size, status.st_dev, status.st_ino, status.st_mtime_ns
            )
    return others


def _read(path: str | Path) -> bytes:
    """A small file. As ``Path.read_bytes`` in a third of its time: there is one of them an SSTable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = b""
        with reading(path):
            while piece := os.read(descriptor, 16 << 10):
                data += piece
        return data
    finally:
        os.close(descriptor)


def _read_listed(path: TablePath, file: str) -> set[str]:
    try:
        names = json.loads(Path(file).read_bytes())["files"]
        return {str(name) for name in names}
    except (ValueError, KeyError, TypeError) as error:
        raise _not_whole(path, f"its manifest.json cannot be read ({error})") from error


def _named(path: TablePath, file: str) -> str:
    """The SSTable of a Data.db in manifest.json. What has another name would be left out of the backup unseen."""
    parsed = parse(file)
    if parsed is None or parsed[1] != DATA:
        what = f"{path.relative} has the file {file!r}, which is named as no version of Cassandra from 2.2 on does it"
        raise _not_understood(f"{what}: run nodetool upgradesstables on {path.keyspace} {path.name}")
    return parsed[0]


def _of_indexes(found: dict[TablePath, FoundTable], listed: dict[TablePath, set[str]]) -> None:
    """Before 3.11.8 an index's manifest went over its table's, and named no directory (CASSANDRA-10968).

    What a table's manifest names and one of its indexes alone has is the index's.
    """
    for path in [path for path in listed if path in found and not path.index]:
        for name in listed[path] - found[path].sstables.keys():
            for other, table in found.items():
                if other.index and replace(other, index="") == path and name in table.sstables:
                    listed[path].discard(name)
                    listed.setdefault(other, set()).add(name)


def _settle(table: FoundTable, expected: set[str]) -> int:
    """Drops what was still being written when the links were made; what Cassandra lists must be whole."""
    for name in sorted(expected):
        missing = table.sstables[name].missing() if name in table.sstables else [DATA]
        if missing:
            raise _not_whole(table.path, f"{name} has no {', '.join(missing)}")
    partial = [
        name
        for name, sstable in table.sstables.items()
        if name not in expected and (TOC not in sstable.files or sstable.missing())
    ]
    for name in partial:
        del table.sstables[name]
    return len(partial)


def _not_whole(path: TablePath, what: str) -> AgentError:
    message = f"the snapshot of {path.relative} is not whole: {what}; take it again"
    return AgentError(Reason.SNAPSHOT_FAILED, message, retryable=True)


def _not_understood(what: str) -> AgentError:
    return AgentError(Reason.SNAPSHOT_FAILED, f"the snapshot cannot be backed up: {what}")
