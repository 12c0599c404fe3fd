"""Operations of a command: run here, to their end, with a journal in the state directory.

``<state dir>/runs/<name>.json`` says what a command began: given again after a stop it finds its id and its epoch
there, so what it sent is found again and a half-made snapshot is its own. It goes when the command is done.
"""

from __future__ import annotations

import asyncio
import base64
import fcntl
import hashlib
import os
import time
import uuid
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from agent import files
from agent.cli.console import InterruptedCommand, UsageError
from agent.errors import AgentError, Reason
from agent.journal import Journal
from agent.operations import Operations
from agent.protocol import Failure, OperationRequest, State

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
    from pathlib import Path

    from agent.cli.progress import Display
    from agent.operations import Handler
    from agent.protocol import Kind, Operation

_LOOK = 0.25  # seconds between two looks at an operation's progress


class Run(msgspec.Struct, kw_only=True):
    """What was begun. ``what`` is all that must be the same to go on with it: a digest of the command's meaning."""

    id: str
    epoch: str
    what: str
    tag: str = ""


class Runs:
    """Of one state directory. Blocks, for a small file."""

    def __init__(self, state_dir: Path) -> None:
        self._directory = state_dir / "runs"

    def begin(self, name: str, what: list[str], *, tag: str = "") -> tuple[Run, bool]:
        """(the run, whether it was begun before). UsageError where another one of that name is not finished."""
        meant = meaning(what)
        path = self._path(name)
        if (found := _read(path)) is not None:
            if found.what != meant:
                message = f"another run of this name is not finished: give its command again, or remove {path}"
                raise UsageError(message)
            return found, True
        run_id = uuid.uuid4().hex
        run = Run(id=run_id, epoch=new_epoch(time.time(), run_id), what=meant, tag=tag)
        files.write_atomic(path, msgspec.json.encode(run))
        return run, False

    def get(self, name: str) -> Run | None:
        return _read(self._path(name))

    def end(self, name: str) -> None:
        files.remove(self._path(name))

    def unfinished(self, command: str) -> list[str]:
        """Tags of this command's runs that were never ended."""
        found = [_read(path) for path in sorted(self._directory.glob(f"{command}-*.json"))]
        return [run.tag for run in found if run is not None and run.tag]

    def _path(self, name: str) -> Path:
        return self._directory / f"{name}.json"


class Runner:
    """Handlers, and the operations that they do. See :func:`running`."""

    def __init__(self, operations: Operations, journal: Journal, display: Display) -> None:
        self.operations = operations
        self._journal = journal
        self._display = display

    async def do(self, operation_id: str, kind: Kind, spec: Any) -> Operation:
        """To its success. What succeeded before is not done again; what failed or was stopped is.

        Raises its error as AgentError.
        """
        request = OperationRequest(kind=kind, spec=msgspec.to_builtins(spec))
        operation, _ = await self.operations.put(operation_id, request, retry=True)
        try:
            while not operation.state.final:
                self._display.show(operation)
                await self.operations.wait(operation_id, operation.revision, _LOOK)
        finally:
            self._display.end()
        if operation.state is not State.SUCCEEDED:
            error = operation.error or Failure(reason=Reason.INTERNAL, message="the operation was cancelled")
            raise AgentError(Reason(error.reason), error.message, retryable=error.retryable)
        return operation

    async def forget(self, *operation_ids: str) -> None:
        """They are over, and nobody will ask for them."""
        for operation_id in operation_ids:
            await self._journal.remove(operation_id)


async def start_over(state_dir: Path, operation_id: str) -> None:
    """Before :func:`running`: what it did is gone, so it is to be done again although it succeeded once."""
    await Journal(state_dir / "operations").remove(operation_id)


@asynccontextmanager
async def running(
    state_dir: Path, handlers: Mapping[Kind, Handler], display: Display, owner: str = ""
) -> AsyncIterator[Runner]:
    """Leaving it stops what still runs, and leaves it resumable. ``owner``: see the journal; a volume may be copied."""
    journal = Journal(state_dir / "operations", owner)
    operations = Operations(journal, handlers)
    await operations.load(resume=False)
    ticking = asyncio.create_task(operations.run())
    try:
        yield Runner(operations, journal, display)
    finally:
        await operations.stop()
        ticking.cancel()
        await asyncio.gather(ticking, return_exceptions=True)


@contextmanager
def locked(state_dir: Path) -> Iterator[None]:
    """Two commands with one state directory would take each other's journal for their own."""
    try:
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o750)
        descriptor = os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        message = f"the state directory {state_dir} cannot be written ({error.strerror}): give --state-dir"
        raise UsageError(message) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = f"another command works with the state directory {state_dir}: wait for it, or give --state-dir"
            raise UsageError(message) from error
        yield
    finally:
        os.close(descriptor)


async def stoppable(work: Awaitable[int], stop: asyncio.Event) -> int:
    """``work``, cancelled when told to stop: then InterruptedCommand, when it has ended."""
    task = asyncio.ensure_future(work)
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([task, stopped], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        # A runner leaves its operations where they are; what only reads is cut off.
        task.cancel()
        await asyncio.wait([task])
        if (
            not task.cancelled()
            and (error := task.exception()) is not None
            and not isinstance(error, InterruptedCommand)
        ):
            raise error
        raise InterruptedCommand
    finally:
        for one in (task, stopped):
            one.cancel()
        await asyncio.gather(task, stopped, return_exceptions=True)


def meaning(what: list[str]) -> str:
    """For ``Run.what``."""
    return hashlib.sha256("\n".join(what).encode()).hexdigest()[:32]


def new_epoch(now: float, run_id: str) -> str:
    """As the operator makes them: sorts by time, and no two runs share one (agent.md section 1)."""
    seconds = max(0, int(now) - 1_704_067_200)
    return base64.b32hexencode(seconds.to_bytes(5, "big")).decode().lower() + run_id[:4]


def _read(path: Path) -> Run | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Run)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None
