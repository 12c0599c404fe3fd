"""Ids that were cancelled before they were known here: a request that comes late must not begin what nobody follows."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from agent import clock, files

if TYPE_CHECKING:
    from pathlib import Path

KEEP = 7 * 86400.0  # seconds; whoever sent the request may have slept for a weekend
MOST = 2000  # the oldest go first
_SUFFIX = ".withdrawn"

log = structlog.get_logger(__name__)


class Withdrawn:
    """``<directory>/<id>.withdrawn``, which holds its ``owner`` (see the journal) and is as old as it is."""

    def __init__(self, directory: Path, owner: str) -> None:
        self._directory = directory
        self._owner = owner
        self._since: dict[str, float] = {}  # id -> epoch seconds, the oldest first

    def __contains__(self, operation_id: str) -> bool:
        return operation_id in self._since

    async def load(self) -> None:
        self._since = await asyncio.to_thread(self._load)

    async def add(self, operation_id: str) -> None:
        """A disk that takes no more is no reason not to: it is remembered for as long as this process lives."""
        self._since.pop(operation_id, None)
        self._since[operation_id] = clock.wall()
        try:
            await asyncio.to_thread(files.write_atomic, self._path(operation_id), self._owner.encode())
        except OSError as error:
            log.warning("a withdrawn operation is remembered in memory alone", operation=operation_id, error=str(error))
        await self.prune()

    async def prune(self) -> None:
        """What is too old, or too much."""
        before, many = clock.wall() - KEEP, len(self._since) - MOST
        for number, (operation_id, since) in enumerate(list(self._since.items())):
            if since < before or number < many:
                self._since.pop(operation_id, None)
                await asyncio.to_thread(_remove, self._path(operation_id))

    def _load(self) -> dict[str, float]:
        """Of ours: on a volume that was moved or copied the same ids name another node's work."""
        found = {}
        for path in self._directory.glob(f"*{_SUFFIX}") if self._directory.is_dir() else ():
            try:
                owner, since = path.read_text(encoding="utf-8", errors="replace"), path.stat().st_mtime
            except OSError as error:
                log.warning("a withdrawn operation cannot be read", path=str(path), error=str(error))
                owner, since = self._owner, clock.wall()
            if owner and self._owner and owner != self._owner:
                _remove(path)
            else:
                found[path.name.removesuffix(_SUFFIX)] = since
        return dict(sorted(found.items(), key=lambda one: one[1]))

    def _path(self, operation_id: str) -> Path:
        return self._directory / f"{operation_id}{_SUFFIX}"


def _remove(path: Path) -> None:
    """A disk that lets nothing go has it removed another time: the agent has other work."""
    try:
        files.remove(path)
    except OSError as error:
        log.warning("a withdrawn operation stays on disk", path=str(path), error=str(error))
