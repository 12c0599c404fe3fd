"""Where the bytes of an object may still lie on this node's disk: in the live table, or in any snapshot of it.

A file is held by its descriptor from the moment it is found, and read through it: Cassandra may compact it away, a
snapshot may be cleared, and its bytes stay until they are sent. Whether they are the right ones is for the checksum to
say: Cassandra rewrites a Statistics.db in place of an older one of the same name and size. All of it blocks.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from agent import catalog, integrity
from agent.catalog import BUNDLE, DATA
from agent.errors import AgentError
from agent.files import subdirectories
from agent.plan import Item, Member
from agent.sstables import FoundFile
from agent.verify import covered, pieces_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from agent.catalog import TablePath
    from agent.verify import Use


class Sources:
    """Of one object: ``items`` that may be it, in the order in which to try them; ``why`` there is none.

    ``size`` is that of its content, ``uses`` are the components that one manifest has in it, in order of place.
    ``close`` lets the files go.
    """

    def __init__(self, data_dirs: Sequence[Path], key: str, size: int, uses: Sequence[Use]) -> None:
        self.items: list[Item] = []
        self.why = ""
        self._data_dirs = data_dirs
        self._descriptors: list[int] = []
        try:
            if covered(size, pieces_of(uses)):
                self._find(key, size, uses)
            else:
                self.why = "no manifest names all that is in it"
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        while self._descriptors:
            os.close(self._descriptors.pop())

    def _find(self, key: str, size: int, uses: Sequence[Use]) -> None:
        identity, epoch = catalog.split_key(key)
        bundle = catalog.is_bundle(identity)
        if bundle and size > BUNDLE:
            self.why = "it is larger than any bundle that an agent makes"
            return
        choices: list[list[Member]] = []
        for use in uses:
            members = [Member(file, use.component.crc) for file in self._held(use)]
            if bundle:  # small: which one it is can be told at once
                members = [member for member in members if _matches(member)][:1]
            if not members:
                name = catalog.file_name(use.sstable, use.component.name)
                self.why = f"this node has no {name} of {use.table.relative} with the manifest's size and checksum"
                return
            choices.append(members)
        if bundle:
            choices = [[found[0] for found in choices]]
            self.items = [Item(identity, size, tuple(choices[0]), bundle=True, epoch=epoch)]
        else:
            self.items = [Item(identity, size, (member,), bundle=False, epoch=epoch) for member in choices[0]]

    def _held(self, use: Use) -> list[FoundFile]:
        """Each file of that name and size once, whatever number of links it has."""
        found: dict[tuple[int, int], FoundFile] = {}
        size = use.component.size
        for path in _places(self._data_dirs, use.table, catalog.file_name(use.sstable, use.component.name)):
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            except OSError:  # not there, or not to be read: then not here
                continue
            self._descriptors.append(descriptor)
            status = os.fstat(descriptor)
            inode = status.st_dev, status.st_ino
            if not stat.S_ISREG(status.st_mode) or status.st_size != size or inode in found:
                os.close(self._descriptors.pop())
                continue
            found[inode] = FoundFile(use.component.name, f"/proc/self/fd/{descriptor}", size, *inode)
        return list(found.values())


def _places(data_dirs: Sequence[Path], table: TablePath, name: str) -> Iterator[Path]:
    for data_dir in data_dirs:
        yield data_dir / table.relative / name
        base = data_dir / table.keyspace / f"{table.name}-{table.id}"
        for copies in (*subdirectories(base / "snapshots"), base / "backups"):
            yield copies / table.index / name


def _matches(member: Member) -> bool:
    try:
        sums = integrity.measure(member.file.path, member.file.size, digest=member.file.component == DATA)
    except (AgentError, OSError):
        return False
    return (sums.crc32 if member.data else sums.crc32c) == member.crc
