"""How far a rolling reading has come, kept in the state dir: ``<state dir>/verify/<name>.json``.

It may be lost at any time: that costs reads. All of it blocks.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec
import structlog

from agent import files

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SUSPECTS = 1000

log = structlog.get_logger(__name__)


class Place(msgspec.Struct, kw_only=True):
    """``after``: the last key that was read. ``suspects`` were not right, and are read in every run until they are."""

    of: str
    after: str = ""
    suspects: list[str] = msgspec.field(default_factory=list)


class Cursor:
    """Of what the words name: the store, the node, the backup."""

    def __init__(self, state_dir: Path, *words: str) -> None:
        self._of = "\n".join(words)
        name = hashlib.sha256(self._of.encode()).hexdigest()[:16]
        self._path = state_dir / "verify" / f"{name}.json"

    def load(self) -> Place:
        """From the beginning where there is none, or none that can be read."""
        try:
            place = msgspec.json.decode(self._path.read_bytes(), type=Place)
        except (OSError, msgspec.MsgspecError, ValueError):
            return Place(of=self._of)
        return place if place.of == self._of else Place(of=self._of)

    def keep(self, after: str, suspects: Sequence[str]) -> None:
        """A disk that takes no more is no reason to fail: the next run reads the same part again."""
        try:
            files.write_atomic(
                self._path, msgspec.json.encode(Place(of=self._of, after=after, suspects=list(suspects[:SUSPECTS])))
            )
        except OSError as error:
            log.warning("the place of the verification is not kept: the part is read again", error=str(error))


class Progress:
    """Of work on a sequence, several at once: up to which item all is done."""

    def __init__(self) -> None:
        self._done: set[int] = set()
        self.low = 0  # items, from the first on, that are done

    def done(self, at: int) -> None:
        self._done.add(at)
        while self.low in self._done:
            self._done.remove(self.low)
            self.low += 1
