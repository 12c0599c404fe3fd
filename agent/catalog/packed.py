"""Lists that may have hundreds of thousands of entries, in little memory: compressed JSON, read again at each look."""

from __future__ import annotations

import os
from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar, cast, overload

import msgspec
import zstandard

_T = TypeVar("_T")

_BLOCK = 256  # entries that are compressed together, and decoded for one of them
_HELD = 4  # decoded blocks, for whoever asks for one entry after the other: the order is nearly that of the list


class Packed(Sequence[_T]):
    """Grows at its end. What comes out of it is made anew each time: to change that changes nothing here."""

    def __init__(self, kind: type[_T]) -> None:
        self._name = kind.__name__
        self._decoder = msgspec.json.Decoder(list[kind], dec_hook=_make)  # type: ignore[valid-type]
        self._data = bytearray()  # the blocks, in one piece of memory: between many there would be gaps
        self._ends = array("Q", [0])  # of each, after that of none
        self._begins = array("Q")  # the number of each one's first entry
        self._last: list[bytes] = []  # not a block yet
        self._count = 0
        self._held: OrderedDict[int, list[_T]] = OrderedDict()

    def append(self, value: _T) -> None:
        self._append(_ENCODER.encode(value))

    def extend_json(self, texts: Iterable[bytes]) -> None:
        """The text of each entry; msgspec's errors for one that is none."""
        for text in texts:
            self._append(text)
        self._settle()

    def _append(self, text: bytes) -> None:
        self._last.append(text)
        self._count += 1
        if len(self._last) == _BLOCK:
            self._settle()

    def _settle(self) -> None:
        if not (count := len(self._last)):
            return
        block = b"[%b]" % b",".join(self._last)
        if len(self._decoder.decode(block)) != count:
            raise msgspec.ValidationError("there is more or less than one entry in a line")
        self._last.clear()
        self._begins.append(self._count - count)
        self._data += zstandard.compress(block, 1)
        self._ends.append(len(self._data))

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, at: int) -> _T: ...
    @overload
    def __getitem__(self, at: slice) -> list[_T]: ...
    def __getitem__(self, at: int | slice) -> _T | list[_T]:
        if isinstance(at, slice):
            return [self[one] for one in range(*at.indices(self._count))]
        self._settle()
        at = range(self._count)[at]
        number = bisect_right(self._begins, at) - 1
        found = self._held.pop(number, None) or self._decoded(number)
        self._held[number] = found
        if len(self._held) > _HELD:
            self._held.popitem(last=False)
        return found[at - self._begins[number]]

    def __iter__(self) -> Iterator[_T]:
        self._settle()
        for number in range(len(self._begins)):
            yield from self._decoded(number)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # as a list

    def __repr__(self) -> str:
        return f"<{self._count} of {self._name}>"

    def _decoded(self, number: int) -> list[_T]:
        with memoryview(self._data) as data:
            block = zstandard.decompress(data[self._ends[number] : self._ends[number + 1]])
        return self._decoder.decode(block)


def mapped(entries: Sequence[_T], change: Callable[[_T], _T]) -> list[_T]:
    """What ``change`` makes of each; of packed ones each time it is asked for."""
    return cast("list[_T]", _Mapped(entries, change)) if isinstance(entries, Packed) else [*map(change, entries)]


class _Mapped(Sequence[_T]):
    def __init__(self, entries: Packed[_T], change: Callable[[_T], _T]) -> None:
        self._entries = entries
        self._change = change

    def __len__(self) -> int:
        return len(self._entries)

    @overload
    def __getitem__(self, at: int) -> _T: ...
    @overload
    def __getitem__(self, at: slice) -> list[_T]: ...
    def __getitem__(self, at: int | slice) -> _T | list[_T]:
        found = self._entries[at]
        return [*map(self._change, found)] if isinstance(found, list) else self._change(found)

    def __iter__(self) -> Iterator[_T]:
        return map(self._change, self._entries)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # as a list


_ENCODER = msgspec.json.Encoder(enc_hook=os.fspath)


def _make(kind: type, value: Any) -> Any:
    """What JSON has no word for, as paths."""
    return kind(value)
