"""Operations of a command: to their end, or left where they are."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from agent.cli.console import InterruptedCommand, UsageError
from agent.cli.progress import Silent
from agent.cli.run import locked, new_epoch, running, stoppable
from agent.errors import AgentError, Reason
from agent.protocol import ClearSpec, Kind
from backends.errors import Kind as StoreKind
from backends.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path

    from agent.job import Job
    from agent.protocol import State

SPEC = ClearSpec(tag="t1")
DONE = "one"


class Work:
    """A handler that does as it is told. ``tries`` counts; it waits for ``go``."""

    spec_type = ClearSpec

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.tries = 0
        self.finished: list[State] = []
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self.go.set()

    def check(self, spec: ClearSpec) -> None:
        if spec.tag == "bad":
            raise AgentError(Reason.INVALID_SPEC, "a bad tag")

    async def run(self, _job: Job, spec: ClearSpec) -> dict[str, Any]:
        self.tries += 1
        self.begun.set()
        await self.go.wait()
        if self.errors:
            raise self.errors.pop(0)
        return {"tag": spec.tag}

    async def finish(self, _job: Job, _spec: ClearSpec, state: State) -> None:
        self.finished.append(state)


async def do(state_dir: Path, work: Work, spec: ClearSpec = SPEC) -> dict[str, Any]:
    async with running(state_dir, {Kind.CLEAR_SNAPSHOTS: work}, Silent()) as runner:
        return (await runner.do(DONE, Kind.CLEAR_SNAPSHOTS, spec)).result


async def test_what_succeeded_is_not_done_again(tmp_path: Path) -> None:
    work = Work()
    assert [await do(tmp_path, work), await do(tmp_path, work)] == [{"tag": "t1"}] * 2
    assert work.tries == 1


async def test_what_failed_is_done_again_and_says_why(tmp_path: Path) -> None:
    work = Work(StoreError(StoreKind.FORBIDDEN, "put", "s3://b", "k", "no"), ValueError("odd"))
    with pytest.raises(AgentError, match="put s3://b/k: no") as caught:
        await do(tmp_path, work)
    assert caught.value.reason is Reason.ACCESS_DENIED
    with pytest.raises(AgentError, match="unexpected ValueError: odd"):
        await do(tmp_path, work)
    assert await do(tmp_path, work) == {"tag": "t1"}
    with pytest.raises(AgentError, match="a bad tag"):
        await do(tmp_path / "other", work, ClearSpec(tag="bad"))


async def test_what_is_stopped_is_left_for_the_next_command(tmp_path: Path) -> None:
    work = Work()
    work.go.clear()
    stop = asyncio.Event()

    async def command() -> int:
        await do(tmp_path, work)
        return 0

    ended = asyncio.create_task(stoppable(command(), stop))
    await work.begun.wait()
    stop.set()
    with pytest.raises(InterruptedCommand):
        await ended
    assert not work.finished, "no clean-up: the work goes on"
    work.go.set()
    assert await do(tmp_path, work) == {"tag": "t1"}
    assert work.tries == 2


async def test_a_command_that_ends_before_it_is_stopped() -> None:
    async def done() -> int:
        return 3

    async def failed() -> int:
        raise UsageError("wrong")

    stop = asyncio.Event()
    assert await stoppable(done(), stop) == 3
    with pytest.raises(UsageError):
        await stoppable(failed(), stop)


async def test_an_error_on_the_way_out_is_not_hidden() -> None:
    stop = asyncio.Event()
    begun = asyncio.Event()

    async def clumsy() -> int:
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            raise OSError(28, "No space left on device", "/state")
        return 0

    ended = asyncio.create_task(stoppable(clumsy(), stop))
    await begun.wait()
    stop.set()
    with pytest.raises(OSError, match="No space left"):
        await ended


def test_a_lock_is_given_back(tmp_path: Path) -> None:
    with (
        locked(tmp_path / "state"),
        pytest.raises(UsageError, match="another command works"),
        locked(tmp_path / "state"),
    ):
        pass
    with locked(tmp_path / "state"):
        pass


def test_epochs_sort_by_time_and_differ() -> None:
    epochs = [new_epoch(1_764_000_000 + later, "ab12" * 8) for later in (0, 1, 3600, 10**8)]
    assert epochs == sorted(epochs)
    assert new_epoch(1_764_000_000, "ab12") != new_epoch(1_764_000_000, "ab13")
    assert new_epoch(-5, "ab12").isalnum()
