"""A node's tables as they lie on its disk, without a snapshot: for a dry run, and for a stopped node. Blocks."""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from agent import scope, sstables
from agent.catalog import DATA, TablePath
from agent.errors import AgentError, Reason
from agent.files import subdirectories
from agent.formats import TOC
from agent.sstables import SKIPPED, FoundFile, FoundSSTable, FoundTable, Snapshot

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

_TABLE = re.compile(r"(?P<name>[A-Za-z0-9_]+)-(?P<id>[0-9a-f]{32})\Z")
_NOT_TABLES = frozenset({"backups", "snapshots"})  # directories in a table's own
_UNFINISHED = re.compile(r"[a-z]{2}_txn_[a-z]+_.*\.log\Z")  # a compaction, flush or stream that has not ended


def tables(data_dirs: Sequence[Path], entities: Collection[str] = ()) -> Iterator[tuple[TablePath, Path]]:
    """Tables and their index tables, one data directory after the other; of all, or of those that are meant."""
    for data_dir in data_dirs:
        for keyspace in subdirectories(data_dir):
            if keyspace.name in SKIPPED or keyspace.name.startswith("."):
                continue
            for directory in subdirectories(keyspace):
                found = _TABLE.match(directory.name)
                if found and scope.covers(entities, keyspace.name, found["name"]):
                    path = TablePath(keyspace.name, found["name"], found["id"])
                    yield path, directory
                    for index in subdirectories(directory):
                        if index.name.startswith(".") and index.name not in _NOT_TABLES:
                            yield replace(path, index=index.name), index


def scan(data_dirs: Sequence[Path], entities: Collection[str] = ()) -> Snapshot:
    """What a snapshot taken now would hold, less what is in memory. Cassandra may run: what vanishes was not there."""
    found: dict[TablePath, FoundTable] = {}
    for path, directory in tables(data_dirs, entities):
        table = found.setdefault(path, FoundTable(path))
        for name, component, entry in _components(directory):
            with suppress(FileNotFoundError):
                status = entry.stat(follow_symlinks=False)
                file = FoundFile(
                    component, entry.path, status.st_size, status.st_dev, status.st_ino, status.st_mtime_ns
                )
                table.sstables.setdefault(name, FoundSSTable(name)).files[component] = file
    dropped = 0
    for table in found.values():
        partial = [name for name, one in table.sstables.items() if not _whole(one)]
        dropped += len(partial)
        for name in partial:
            del table.sstables[name]
    return Snapshot([found[path] for path in sorted(found)], dropped)


def link(data_dirs: Sequence[Path], name: str, entities: Collection[str] = ()) -> None:
    """A snapshot as Cassandra makes it: hard links and a manifest.json a table. SnapshotFailed while Cassandra runs.

    A Cassandra that runs would move files under us, and what is in its memory would be missing without a trace.
    """
    before = _data_files(data_dirs)
    listed: dict[Path, list[str]] = {}  # the snapshot of a table -> its Data.db files
    homes: dict[TablePath, Path] = {}
    for path, directory in tables(data_dirs, entities):
        _check_settled(directory)
        base = directory.parent if path.index else directory
        home = base / "snapshots" / name
        target = home / path.index if path.index else home
        target.mkdir(parents=True, exist_ok=True)
        named = listed.setdefault(homes.setdefault(replace(path, index=""), home), [])
        for sstable, component, entry in _components(directory):
            os.link(entry.path, target / entry.name, follow_symlinks=False)
            if component == DATA:
                file = f"{sstable}-{DATA}"
                named.append(f"{path.index}/{file}" if path.index else file)
    if _data_files(data_dirs) != before:
        message = "SSTables came or went while they were linked: Cassandra is running, back up without --offline"
        raise AgentError(Reason.SNAPSHOT_FAILED, message)
    for home, names in listed.items():
        (home / "manifest.json").write_text(json.dumps({"files": names}))


def _check_settled(directory: Path) -> None:
    """Which of a cut-off compaction's files count is Cassandra's to say, at its next start."""
    with os.scandir(directory) as entries:
        logs = sorted(entry.name for entry in entries if _UNFINISHED.match(entry.name))
    if logs:
        message = f"{directory / logs[0]} says that Cassandra was cut off there: start it, run nodetool drain, stop it,"
        raise AgentError(Reason.SNAPSHOT_FAILED, f"{message} and back up again")


def unflushed(data_dirs: Sequence[Path]) -> Path | None:
    """A commit log that may hold writes which no SSTable has."""
    for data_dir in data_dirs:
        logs = sorted((data_dir.parent / "commitlog").glob("CommitLog-*.log"))
        if logs:
            return logs[0].parent
    return None


def _whole(sstable: FoundSSTable) -> bool:
    try:
        return TOC in sstable.files and not sstable.missing()
    except FileNotFoundError:
        return False


def _components(directory: Path) -> Iterator[tuple[str, str, os.DirEntry[str]]]:
    """(SSTable, component, its entry), in order of name."""
    with os.scandir(directory) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if (parsed := sstables.parse(entry.name)) and entry.is_file(follow_symlinks=False):
                yield *parsed, entry


def _data_files(data_dirs: Sequence[Path]) -> set[str]:
    return {
        entry.path
        for _, directory in tables(data_dirs)
        for _, component, entry in _components(directory)
        if component == DATA
    }
