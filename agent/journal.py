"""Operations on disk, one file each: what a restarted agent goes on from. Writes are atomic and synced."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import msgspec
import structlog

from agent import files
from agent.errors import AgentError, Reason
from agent.protocol import Operation, OperationRequest, State  # noqa: TC001  msgspec reads the annotations

if TYPE_CHECKING:
    from pathlib import Path

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}\Z")

log = structlog.get_logger(__name__)


class Entry(msgspec.Struct, kw_only=True):
    """One operation.

    ``decided`` is the final state that the work came to before its cleanup began: cleaning up may take a restart, and
    what failed must not be tried again only because the agent died while it tidied.
    """

    request: OperationRequest
    operation: Operation
    decided: State | None = None
    cancelled: bool = False


def check_id(operation_id: str) -> str:
    """An id is the name of a file."""
    if not _ID.match(operation_id):
        message = f"the operation id {operation_id!r} must be 1 to 200 of A-Z a-z 0-9 . _ -"
        raise AgentError(Reason.INVALID_SPEC, message)
    return operation_id


class Journal:
    """``<state dir>/operations/<id>.json``. Writers of one id must take turns."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def write(self, entry: Entry) -> None:
        data = msgspec.json.encode(entry)
        await asyncio.to_thread(files.write_atomic, self._path(entry.operation.id), data)

    async def remove(self, operation_id: str) -> None:
        await asyncio.to_thread(files.remove, self._path(operation_id))

    async def load(self) -> list[Entry]:
        """Every readable entry. One that is not (an older format, a damaged disk) is put aside, never fatal."""
        return await asyncio.to_thread(self._load)

    def _load(self) -> list[Entry]:
        entries = []
        for path in sorted(self._directory.glob("*.json")) if self._directory.is_dir() else ():
            try:
                entry = msgspec.json.decode(path.read_bytes(), type=Entry)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                log.warning("an operation's journal cannot be read and is put aside", path=str(path), error=str(error))
                path.replace(path.with_suffix(".unreadable"))
                continue
            if entry.operation.id == path.stem:
                entries.append(entry)
        return entries

    def _path(self, operation_id: str) -> Path:
        return self._directory / f"{check_id(operation_id)}.json"
