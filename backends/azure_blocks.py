"""Block names: Azure keeps of an uncommitted block its name and size alone, so the name says the rest.

A name is 45 characters, the same for all blocks of a blob as Azure wants it (60 after base64):

    upload (18 hex)  number (5 digits)  sent (13 hex: microseconds of the epoch)  kind (1)  crc32c (8 hex)

Kind ``w``: a whole part whose checksum was known before it went out. ``d``: the data of a part that was summed on its
way, and ``n``, a block of one byte that follows when the server's sum of ``d`` was right: its name has the checksum,
its content is nothing and it is never committed. So the bytes are read once, and a restarted process finds every part
with its checksum; what broke off or came damaged has no ``n`` and is no part. Of a number sent twice the later counts.
"""

from __future__ import annotations

import re
import secrets
import time
from typing import TYPE_CHECKING

import msgspec

from backends.base import Part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from backends.azure_xml import Block
    from backends.base import Parts

_NAME = re.compile(r"([0-9a-f]{18})(\d{5})([0-9a-f]{13})([wdn])([0-9a-f]{8})")
_UPLOAD = re.compile(r"[0-9a-f]{18}")


class BlockName(msgspec.Struct, frozen=True):
    upload: str
    number: int
    sent: int
    kind: str
    crc32c: int

    def __str__(self) -> str:
        return f"{self.upload}{self.number:05d}{self.sent:013x}{self.kind}{self.crc32c:08x}"


def new_upload() -> str:
    return secrets.token_hex(9)


def is_upload(text: str) -> bool:
    return _UPLOAD.fullmatch(text) is not None


def parsed(text: str) -> BlockName | None:
    """None for a name that is not ours."""
    found = _NAME.fullmatch(text)
    if found is None:
        return None
    upload, number, sent, kind, crc = found.groups()
    return BlockName(upload, int(number), int(sent, 16), kind, int(crc, 16))


class Ticks:
    """Microseconds of the epoch, each later than the one before, also where the clock is set back."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._last = 0

    def next(self) -> int:
        self._last = max(self._last + 1, int(self._clock() * 1e6))
        return self._last


def parts_of(upload: str, blocks: Iterable[Block]) -> Parts:
    """The parts that arrived whole, by number."""
    names = [(name, block) for block in blocks if (name := parsed(block.name)) and name.upload == upload]
    sums = {(name.number, name.sent): name.crc32c for name, _ in names if name.kind == "n"}
    sums |= {(name.number, name.sent): name.crc32c for name, _ in names if name.kind == "w"}
    latest: dict[int, tuple[int, Part]] = {}
    for name, block in names:
        crc = sums.get((name.number, name.sent))
        if name.kind == "n" or crc is None or name.sent < latest.get(name.number, (0, None))[0]:
            continue
        latest[name.number] = (name.sent, Part(name.number, block.size, block.name, crc))
    return [latest[number][1] for number in sorted(latest)]
