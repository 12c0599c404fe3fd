"""An SSTable's components in 20 bytes each: a manifest that is read may have a million."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import cast, overload

from agent.catalog.manifest import Component

_ROW = struct.Struct("<QIiI")  # size, crc, object, offset


def packed(components: list[Component]) -> list[Component]:
    """To be read as the list; the list itself where a number is none that an agent would have written."""
    try:
        rows = b"".join([_ROW.pack(one.size, one.crc, one.object, one.offset) for one in components])
    except struct.error:
        return components
    return cast("list[Component]", _Packed(_shared(tuple(one.name for one in components)), rows))


def like(before: list[Component], components: list[Component]) -> list[Component]:
    """Packed where those before were."""
    return packed(components) if type(before) is not list else components


class _Packed(Sequence[Component]):
    __slots__ = ("_names", "_rows")

    def __init__(self, names: tuple[str, ...], rows: bytes) -> None:
        self._names = names
        self._rows = rows

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, at: int) -> Component: ...
    @overload
    def __getitem__(self, at: slice) -> list[Component]: ...
    def __getitem__(self, at: int | slice) -> Component | list[Component]:
        return list(self)[at]

    def __iter__(self) -> Iterator[Component]:
        for name, row in zip(self._names, _ROW.iter_unpack(self._rows), strict=True):
            yield Component(name, *row)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def __hash__(self) -> int:
        return hash((self._names, self._rows))

    def __repr__(self) -> str:
        return repr(list(self))


@lru_cache(maxsize=4096)
def _shared(names: tuple[str, ...]) -> tuple[str, ...]:
    """SSTables have few sets of components."""
    return tuple(sys.intern(name) for name in names)
