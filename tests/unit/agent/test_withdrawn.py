"""An operation that was cancelled before it was known, and the request for it that comes late."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

import pytest

from agent import files, withdrawn
from agent.errors import AgentError
from agent.journal import Journal
from agent.operations import Operations
from agent.protocol import Kind, State
from tests.unit.agent.test_operations import REQUEST, Fake, Process, names

if TYPE_CHECKING:
    from pathlib import Path

    from agent.journal import Entry


async def withdraw(process: Process, *ids: str) -> None:
    for one in ids:
        with pytest.raises(KeyError):
            await process.operations.cancel(one)


async def refused(process: Process, operation_id: str) -> bool:
    try:
        await process.operations.put(operation_id, REQUEST)
    except AgentError as error:
        return (error.reason, error.retryable) == ("OperationWithdrawn", False)
    return False


async def test_what_was_cancelled_before_it_came_is_never_begun(tmp_path: Path) -> None:
    async with Process(tmp_path) as process:
        await withdraw(process, "a", "a")
        assert await refused(process, "a")
        assert not await refused(process, "b")
        assert [operation.id for operation in process.operations.all()] == ["b"]
    async with Process(tmp_path) as process:
        assert await refused(process, "a"), "another process of the agent"
        await withdraw(process, "a")


async def test_an_end_that_was_seen_withdraws_nothing(tmp_path: Path) -> None:
    """What is known stays known: the late request reads how it ended."""
    async with Process(tmp_path) as process:
        process.fake.go.set()
        await process.operations.put("a", REQUEST)
        await process.operations.over("a")
        await process.operations.cancel("a")
        operation, started = await process.operations.put("a", REQUEST)
        assert (operation.state, started) == (State.SUCCEEDED, False)
    assert names(tmp_path) == {"a.json"}


async def test_an_init_container_begins_what_its_plan_says(tmp_path: Path) -> None:
    """Who asks to retry stands in this process: no network has delayed it."""
    async with Process(tmp_path) as process:
        await withdraw(process, "a")
        _, started = await process.operations.put("a", REQUEST, retry=True)
        assert started


async def test_a_cancel_that_meets_the_request_halfway_stops_it(tmp_path: Path) -> None:
    """The operation is being journalled, and not known yet. Either it is cancelled, or it is not begun."""
    writing, go = asyncio.Event(), asyncio.Event()

    class Slow(Journal):
        async def write(self, entry: Entry) -> None:
            writing.set()
            await go.wait()
            await super().write(entry)

    fake = Fake()
    operations = Operations(Slow(tmp_path), {Kind.CLEAR_SNAPSHOTS: fake})
    putting = asyncio.create_task(operations.put("a", REQUEST))
    await writing.wait()
    cancelling = asyncio.create_task(operations.cancel("a"))
    await asyncio.sleep(0)
    go.set()
    await putting
    assert (await cancelling).state is State.CANCELLED
    assert fake.finished == [State.CANCELLED]


async def test_they_are_forgotten_when_they_are_old_or_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Process(tmp_path) as process:
        await withdraw(process, "old", "young")
    then = time.time() - withdrawn.KEEP - 1
    os.utime(tmp_path / "old.withdrawn", (then, then))
    async with Process(tmp_path) as process:
        await process.operations.prune()
        assert names(tmp_path) == {"young.withdrawn"}
        assert await refused(process, "young")
        assert not await refused(process, "old")
        monkeypatch.setattr(withdrawn, "MOST", 3)
        await withdraw(process, "b", "young", "c", "d")
        assert {name for name in names(tmp_path) if name.endswith("withdrawn")} == {
            "young.withdrawn", "c.withdrawn", "d.withdrawn",
        }  # fmt: skip


async def test_another_nodes_are_not_ours(tmp_path: Path) -> None:
    """One backup's ids are the same on every node, and a volume can be copied to another one."""
    for owner, expected in (("c-0", True), ("c-1", False), ("c-0", False)):
        journal = Journal(tmp_path, owner)
        await journal.withdrawn.load()
        if owner == "c-0" and expected:
            await journal.withdrawn.add("a")
        assert ("a" in journal.withdrawn) is expected


async def test_a_full_disk_does_not_let_it_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    async with Process(tmp_path) as process:
        with monkeypatch.context() as patch:
            patch.setattr(files, "write_atomic", full)
            await withdraw(process, "a")
        assert await refused(process, "a")


async def test_a_disk_that_lets_nothing_go_stops_no_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stuck(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    async with Process(tmp_path) as process:
        await withdraw(process, "a")
        monkeypatch.setattr(files, "remove", stuck)
        monkeypatch.setattr(withdrawn, "KEEP", -1.0)
        await asyncio.gather(process.operations.prune(), process.operations.prune())
        assert not await refused(process, "a"), "too old"
    assert names(tmp_path) >= {"a.withdrawn"}


async def test_an_id_that_is_none_is_told_so(tmp_path: Path) -> None:
    async with Process(tmp_path) as process:
        with pytest.raises(AgentError, match="must be 1 to 200 of"):
            await process.operations.cancel("../a")
    assert not tmp_path.parent.joinpath("a.withdrawn").exists()
