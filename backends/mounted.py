"""Credentials in a directory: a Secret that is mounted, whose files the kubelet exchanges all at once when it changes.

Looked at with each request, which costs one or a few calls of the kernel: so keys that are exchanged while a store is
open are used from then on. Values of the process's own environment that are credentials do not count beside them.
"""

from __future__ import annotations

import os
from collections import ChainMap
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

import structlog

from backends.errors import Kind, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Where a store finds the directory, among its settings. A name that no shell can set.
DIRECTORY = "store credentials directory"
_LARGEST = 64 << 10  # bytes of one file
_SWAPPED = "..data"  # the kubelet's link to the files as they are now

T = TypeVar("T")

log = structlog.get_logger(__name__)


def settings(env: Mapping[str, str], directory: str) -> Mapping[str, str]:
    """``env`` for a store whose credentials are in ``directory`` alone; as it is where that is empty."""
    return ChainMap({DIRECTORY: directory}, dict(env)) if directory else env


class Watched(Generic[T]):
    """What ``build`` makes of a directory's files, made anew when they change."""

    def __init__(self, directory: str, store: str, build: Callable[[dict[str, str]], T]) -> None:
        """Raises UNAUTHENTICATED with what is wrong. ``store`` is for messages."""
        self._directory = Path(directory)
        self._store = store
        self._build = build
        self.changes = 0
        self._stamp: object = None
        self._value = self._read(self._look())

    def get(self) -> T:
        """Files that cannot be used leave the former in their place: they may be written at this moment."""
        try:
            stamp = self._look()
            if stamp != self._stamp:
                self._value = self._read(stamp)
                self.changes += 1
        except StoreError as error:
            log.warning("changed credentials cannot be used, the former are kept", error=error.message)
        return self._value

    def _look(self) -> object:
        try:
            with suppress(FileNotFoundError):
                link = (self._directory / _SWAPPED).lstat()
                return link.st_mtime_ns, link.st_ino
            with os.scandir(self._directory) as entries:
                stats = [(entry.name, entry.stat()) for entry in entries]
            return sorted((name, stat.st_mtime_ns, stat.st_size, stat.st_ino) for name, stat in stats)
        except OSError as error:
            raise self._refuse(f"it cannot be read ({error.strerror}): is the Secret mounted there?") from error

    def _read(self, stamp: object) -> T:
        self._stamp = stamp  # also of files that cannot be used: they are not read again until they change
        try:
            found = {
                path.name: self._text(path)
                for path in sorted(self._directory.iterdir())
                if not path.name.startswith(".") and path.is_file()
            }
        except OSError as error:
            raise self._refuse(f"{error.filename} cannot be read ({error.strerror})") from error
        try:
            return self._build({name: text for name, text in found.items() if text})
        except ValueError as error:
            raise self._refuse(str(error)) from None  # its cause may quote what it could not read

    def _text(self, path: Path) -> str:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise self._refuse(f"{path.name} is larger than {_LARGEST >> 10} KiB, which no credentials are")
        return data.decode(errors="replace").strip()

    def _refuse(self, why: str) -> StoreError:
        return StoreError(
            Kind.UNAUTHENTICATED, "open", self._store, "", f"no credentials found in {self._directory}: {why}"
        )


def pair(found: Mapping[str, str], *names: tuple[str, ...]) -> list[str]:
    """The value of each of ``names``, which are spellings of one thing. ValueError where one of them is missing.

    Empty where none of them is there at all.
    """
    values = [next((found[name] for name in spellings if name in found), "") for spellings in names]
    if not any(values):
        return []
    if missing := [spellings[0] for spellings, value in zip(names, values, strict=True) if not value]:
        there = [spellings[0] for spellings, value in zip(names, values, strict=True) if value]
        raise ValueError(f"{', '.join(there)} is there, and {', '.join(missing)} is missing or empty")
    return values


def others(found: Mapping[str, str]) -> str:
    """For a message: the files that are there and say nothing."""
    return f"; it has {', '.join(sorted(found))[:200]}" if found else "; it has no file with anything in it"
