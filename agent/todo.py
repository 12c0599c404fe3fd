"""What a restore has to fetch, SSTable by SSTable: packed, as there may be a million files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.catalog.packed import Packed
from agent.download import Run, Wanted, divide

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Todo:
    """``files`` and ``size`` (bytes) are of all of the restore, ``files_left`` and ``left`` of what is not staged."""

    def __init__(self) -> None:
        self.files = self.size = self.files_left = self.left = 0
        self._large: dict[int, Packed[Wanted]] = {}  # by the power of two that is above their size
        self._small = Packed(Run)

    def add(self, files: Sequence[Wanted], missing: Sequence[Wanted]) -> None:
        """An SSTable's."""
        self.files += len(files)
        self.size += sum(file.component.size for file in files)
        self.files_left += len(missing)
        self.left += sum(file.component.size for file in missing)
        large, small = divide(missing)
        for file in large:
            self._large.setdefault(file.component.size.bit_length(), Packed(Wanted)).append(file)
        for run in small:
            self._small.append(run)

    def large(self) -> Iterator[Wanted]:
        """The largest first, more or less, so that none of them is what all the others wait for."""
        for _, files in sorted(self._large.items(), reverse=True):
            yield from files

    def small(self) -> Iterator[Run]:
        yield from self._small
