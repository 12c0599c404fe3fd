"""Keys of objects, numbered as they come: some 70 bytes each, as a node may have hundreds of thousands."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

if TYPE_CHECKING:
    from collections.abc import Iterable

_FEWEST = 1 << 6  # slots
_LOAD = 2  # slots a key, at least


class Keys(Sequence[str]):
    """The part before the second last slash, which is that of a table, is kept once."""

    def __init__(self) -> None:
        self._tables: dict[str, int] = {}
        self._names: list[str] = []  # of the tables
        self._of = array("I")  # table of each key
        self._rests = bytearray()
        self._ends = array("Q", [0])
        self._slots = array("I", bytes(4 * _FEWEST))  # an open hash table of numbers, each one more than it is

    def add(self, key: str) -> int:
        """Its number, also where it is known."""
        slot = self._slot(key)
        if found := self._slots[slot]:
            return found - 1
        table, rest = _divide(key)
        number = self._tables.setdefault(table, len(self._names))
        if number == len(self._names):
            self._names.append(table)
        self._of.append(number)
        self._rests += rest.encode()
        self._ends.append(len(self._rests))
        self._slots[slot] = len(self)
        if len(self) * _LOAD > len(self._slots):
            self._grow()
        return len(self) - 1

    def find(self, key: str) -> int | None:
        """Its number."""
        found = self._slots[self._slot(key)]
        return found - 1 if found else None

    def order(self, numbers: Iterable[int]) -> array[int]:
        """``numbers`` by their keys."""
        return array("I", sorted(numbers, key=self.__getitem__))

    def __len__(self) -> int:
        return len(self._of)

    @overload
    def __getitem__(self, number: int) -> str: ...
    @overload
    def __getitem__(self, number: slice) -> list[str]: ...
    def __getitem__(self, number: int | slice) -> str | list[str]:
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(len(self)))]
        rest = self._rests[self._ends[number] : self._ends[number + 1]]
        return self._names[self._of[number]] + rest.decode()

    def _slot(self, key: str) -> int:
        """Where it is, or would be."""
        last = len(self._slots) - 1
        slot = hash(key) & last
        while (found := self._slots[slot]) and self[found - 1] != key:
            slot = slot + 1 & last
        return slot

    def _grow(self) -> None:
        self._slots = array("I", bytes(2 * len(self._slots) * self._slots.itemsize))
        for number, key in enumerate(self):
            self._slots[self._slot(key)] = number + 1


def _divide(key: str) -> tuple[str, str]:
    end = key.rfind("/", 0, max(0, key.rfind("/"))) + 1
    return key[:end], key[end:]
