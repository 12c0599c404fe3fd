"""The files of an SSTable as a scan found them, in few bytes: a node may have a million of them."""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_NUMBERS = struct.Struct("<QQQ")  # size, inode, mtime_ns
_MOST = 1 << 64


@dataclass(slots=True)
class FoundFile:
    """``device``, ``inode`` and ``mtime_ns`` are those of the live file, which a snapshot's link shares."""

    component: str
    path: str | Path
    size: int
    device: int = 0
    inode: int = 0
    mtime_ns: int = 0


class Files(MutableMapping[str, FoundFile]):
    """Component -> file. What comes out is made anew each time: to change it is to set it again.

    Files of one directory and device, with Cassandra's names, take 24 bytes each; any other is kept as it is.
    """

    __slots__ = ("_device", "_directory", "_names", "_numbers", "_odd", "_sstable")

    def __init__(self, sstable: str) -> None:
        self._sstable = sstable
        self._directory = ""
        self._device = 0
        self._names: tuple[str, ...] = ()
        self._numbers = b""
        self._odd: dict[str, FoundFile] | None = None

    def __getitem__(self, component: str) -> FoundFile:
        if self._odd is not None and component in self._odd:
            return self._odd[component]
        if component not in self._names:
            raise KeyError(component)
        return self._file(component, *_NUMBERS.unpack_from(self._numbers, self._names.index(component) * _NUMBERS.size))

    def __setitem__(self, component: str, file: FoundFile) -> None:
        if component in self:
            del self[component]
        directory = self._plain(component, file)
        if directory is None:
            self._odd = {**(self._odd or {}), component: file}
            return
        self._directory, self._device = directory, file.device
        self._names = _shared((*self._names, component))
        self._numbers += _NUMBERS.pack(file.size, file.inode, file.mtime_ns)

    def __delitem__(self, component: str) -> None:
        if self._odd is not None and component in self._odd:
            del self._odd[component]
            return
        if component not in self._names:
            raise KeyError(component)
        at = self._names.index(component)
        self._names = _shared(self._names[:at] + self._names[at + 1 :])
        self._numbers = self._numbers[: at * _NUMBERS.size] + self._numbers[(at + 1) * _NUMBERS.size :]

    def __iter__(self) -> Iterator[str]:
        yield from self._names
        yield from self._odd or ()

    def __contains__(self, component: object) -> bool:
        return component in self._names or (self._odd is not None and component in self._odd)

    def __len__(self) -> int:
        return len(self._names) + len(self._odd or ())

    def sizes(self) -> Iterator[tuple[str, int]]:
        """(component, size), without the rest of each."""
        for component, (size, _, _) in zip(self._names, _NUMBERS.iter_unpack(self._numbers), strict=True):
            yield component, size
        for component, file in (self._odd or {}).items():
            yield component, file.size

    def _file(self, component: str, size: int, inode: int, mtime_ns: int) -> FoundFile:
        path = f"{self._directory}{self._sstable}-{component}"
        return FoundFile(component, path, size, self._device, inode, mtime_ns)

    def _plain(self, component: str, file: FoundFile) -> str | None:
        """The directory with its slash, of a file that can be packed. The first one decides for all."""
        name = f"{self._sstable}-{component}"
        path = os.fspath(file.path)
        fits = all(0 <= number < _MOST for number in (file.size, file.inode, file.mtime_ns))
        if not isinstance(file.path, str) or not path.endswith(f"/{name}") or file.component != component or not fits:
            return None
        directory = sys.intern(path.removesuffix(name))
        if self._names and (directory, file.device) != (self._directory, self._device):
            return None
        return directory


@lru_cache(maxsize=4096)
def _shared(names: tuple[str, ...]) -> tuple[str, ...]:
    """SSTables have few sets of components."""
    return names
