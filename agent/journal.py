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
from agent.withdrawn import Withdrawn

if TYPE_CHECKING:
    from pathlib import Path

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}\Z")

log = structlog.get_logger(__name__)


class Entry(msgspec.Struct, kw_only=True):
    """One operation.

    ``owner`` is the pod that it belongs to; empty: written by an agent that did not say, or that has no name.
    ``decided`` is the final state that the work came to before its cleanup began: cleaning up may take a restart, and
    what failed must not be tried again only because the agent died while it tidied.
    """

    request: OperationRequest
    operation: Operation
    decided: State | None = None
    cancelled: bool = False
    owner: str = ""


def check_id(operation_id: str) -> str:
    """An id is the name of a file."""
    if not _ID.match(operation_id):
        message = f"the operation id {operation_id!r} must be 1 to 200 of A-Z a-z 0-9 . _ -"
        raise AgentError(Reason.INVALID_SPEC, message)
    return operation_id


class Journal:
    """``<state dir>/operations/<id>.json``. Writers of one id must take turns.

    ``owner`` is who writes: a volume can be moved to another pod, or copied, and what is written in it then names
    another node's work, under whose path this one must send nothing.
    """

    def __init__(self, directory: Path, owner: str = "") -> None:
        self._directory = directory
        self._owner = owner
        self.withdrawn = Withdrawn(directory, owner)

    async def write(self, entry: Entry) -> None:
        entry.owner = self._owner
        data = msgspec.json.encode(entry)
        await asyncio.to_thread(files.write_atomic, self._path(entry.operation.id), data)

    async def remove(self, operation_id: str) -> None:
        await asyncio.to_thread(files.remove, self._path(operation_id))

    async def load(self) -> list[Entry]:
        """Every readable entry of ours. One that is not (another node's, an older format, a damaged disk) is put aside,
        never fatal.
        """
        return await asyncio.to_thread(self._load)

    def _load(self) -> list[Entry]:
        entries = []
        for path in sorted(self._directory.glob("*.json")) if self._directory.is_dir() else ():
            try:
                entry = msgspec.json.decode(path.read_bytes(), type=Entry)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OSError) as error:
                log.warning("an operation's journal cannot be read and is put aside", path=str(path), error=str(error))
                _put_aside(path, ".unreadable")
                continue
            if entry.owner and self._owner and entry.owner != self._owner:
                log.warning(
                    "an operation of another node is put aside: the volume was moved or copied",
                    path=str(path), owner=entry.owner, here=self._owner,
                )  # fmt: skip
                _put_aside(path, ".foreign")
            elif entry.operation.id == path.stem:
                entries.append(entry)
        return entries

    def _path(self, operation_id: str) -> Path:
        return self._directory / f"{check_id(operation_id)}.json"


def _put_aside(path: Path, suffix: str) -> None:
    """Kept for whoever looks for it. A disk that takes no rename has it put aside again by the next start."""
    try:
        path.replace(path.with_suffix(suffix))
    except OSError as error:
        log.warning("it stays where it is", path=str(path), error=str(error))
