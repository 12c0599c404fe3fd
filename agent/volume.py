"""The data volume under a restore. All of it blocks.

    <data dir>/.restore-<id>/<ks>/<table>-<id>/…     staged; a file under its final name is whole and synced
    <state dir>/restore/<id>.placing                 everything is staged and checked: from here only renames are left
    <state dir>/restore.json                         what Cassandra's configuration must carry over
    <state dir>/restore/<id>.done                    the marker, last: nothing is ever restored twice

A crash anywhere leaves one of these states, and each of them is gone on from.
"""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from agent import files
from agent.errors import AgentError, Reason
from agent.files import subdirectories

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from agent.catalog import TablePath

_STAGING = ".restore-"


class Restored(msgspec.Struct, kw_only=True, rename="camel"):
    """Read by configuration.py at every start of a node whose volume was restored.

    ``tokens`` are where the data belongs: they must be the node's, and its number of tokens may never change again.
    """

    restore_id: str
    tag: str
    tokens: list[str]
    uuid_ids: bool = False
    newer_files: bool = False  # what a node in storage_compatibility_mode CASSANDRA_4, the default, does not open
    settings: dict[str, str | int | bool | None] = msgspec.field(default_factory=dict)
    restored_at: str = ""


class Volume:
    """Of one restore into one pod."""

    def __init__(self, data_dirs: Sequence[Path], state_dir: Path, restore_id: str) -> None:
        self.data_dirs = tuple(data_dirs)
        self._state_dir = state_dir
        self._id = restore_id

    @property
    def done(self) -> bool:
        return self._marker("done").exists()

    @property
    def placing(self) -> bool:
        return self._marker("placing").exists()

    def check_empty(self) -> None:
        """VolumeNotEmpty when a Cassandra ever ran here. Deletes nothing."""
        if found := occupied(self.data_dirs):
            message = f"the volume already has data ({found}) and no mark of this restore: nothing was touched; restore"
            raise AgentError(Reason.VOLUME_NOT_EMPTY, f"{message} into an empty volume")

    def prepare(self) -> None:
        """What an earlier restore of another backup staged and never placed is only in the way."""
        for data_dir in self.data_dirs:
            data_dir.mkdir(parents=True, exist_ok=True)
            for directory in subdirectories(data_dir):
                if directory.name.startswith(_STAGING) and directory.name != self._staging_name:
                    files.remove_tree(directory)

    def staged(self, data_dir: Path, table: TablePath) -> Path:
        return data_dir / self._staging_name / table.relative

    def begin_placing(self) -> None:
        files.write_atomic(self._marker("placing"), b"")

    def place(self, tables: Mapping[TablePath, Path]) -> None:
        """Renames every table's directory into its data directory. May be run again over its own half."""
        for table, data_dir in tables.items():
            source, target = self.staged(data_dir, table), data_dir / table.relative
            if source.is_dir():
                target.parent.mkdir(parents=True, exist_ok=True)
                _rename(source, target)
                files.sync_directory(target.parent)
            elif not target.is_dir():
                message = f"{table.relative} is neither staged nor in place: the volume was changed during the restore"
                raise AgentError(Reason.CORRUPT, message)
        for data_dir in self.data_dirs:
            files.sync_directory(data_dir)

    def finish(self, restored: Restored) -> None:
        files.write_atomic(self._state_dir / "restore.json", msgspec.json.encode(restored))
        for data_dir in self.data_dirs:
            files.remove_tree(data_dir / self._staging_name)
        files.write_atomic(self._marker("done"), b"")
        files.remove(self._marker("placing"))

    @property
    def _staging_name(self) -> str:
        return _STAGING + self._id

    def _marker(self, kind: str) -> Path:
        return self._state_dir / "restore" / f"{self._id}.{kind}"


def occupied(data_dirs: Iterable[Path]) -> str:
    """Something that a running Cassandra left here; empty when there is nothing."""
    for data_dir in data_dirs:
        for keyspace in subdirectories(data_dir):
            if keyspace.name.startswith("."):
                continue
            for table in subdirectories(keyspace):
                if any(table.iterdir()):
                    return str(table)
        for log in sorted((data_dir.parent / "commitlog").glob("CommitLog-*.log")):
            return str(log)
    return ""


def read_restored(state_dir: Path) -> Restored | None:
    try:
        return msgspec.json.decode((state_dir / "restore.json").read_bytes(), type=Restored)
    except FileNotFoundError:
        return None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        message = f"{state_dir / 'restore.json'} cannot be read ({error}): without its tokens this node must not start"
        raise AgentError(Reason.CORRUPT, message) from error


def spread(sizes: Mapping[TablePath, int], data_dirs: Sequence[Path]) -> dict[TablePath, Path]:
    """Tables over data directories, evenly by bytes; an index goes with its table.

    The same for the same input, so that a resumed restore finds its files.
    """
    used = dict.fromkeys(data_dirs, 0)
    chosen: dict[TablePath, Path] = {}
    bases: dict[TablePath, int] = {}
    for table, size in sizes.items():
        base = replace(table, index="")
        bases[base] = bases.get(base, 0) + size
    for base, size in sorted(bases.items(), key=lambda pair: (-pair[1], pair[0])):
        target = min(data_dirs, key=lambda data_dir: used[data_dir])
        used[target] += size
        chosen[base] = target
    return dict(sorted(chosen.items()))


def _rename(source: Path, target: Path) -> None:
    try:
        source.rename(target)
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
            raise
        raise AgentError(Reason.VOLUME_NOT_EMPTY, f"{target} has files already: nothing was overwritten") from error
