"""Idempotent operations, over the restarts of a process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

import pytest

from agent.errors import AgentError, Reason
from agent.files import write_atomic
from agent.journal import Journal
from agent.operations import Operations, OtherSpecError
from agent.protocol import ClearSpec, Kind, OperationRequest, State

if TYPE_CHECKING:
    from pathlib import Path

    from agent.job import Job


class Fake:
    """Work that waits to be let go."""

    spec_type = ClearSpec

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.running = asyncio.Event()
        self.runs = 0
        self.finished: list[State] = []
        self.error: Exception | None = None

    def check(self, spec: ClearSpec) -> None:
        if spec.tag == "bad":
            raise AgentError(Reason.INVALID_SPEC, "bad")

    async def run(self, job: Job, spec: ClearSpec) -> dict[str, Any]:
        self.runs += 1
        await job.enter("Working", files=1, size=10)
        self.running.set()
        await self.go.wait()
        job.count(10)
        if self.error:
            raise self.error
        return {"tag": spec.tag}

    async def finish(self, job: Job, spec: ClearSpec, state: State) -> None:
        self.finished.append(state)


REQUEST = OperationRequest(kind=Kind.CLEAR_SNAPSHOTS, spec={"tag": "t"})


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


class Process:
    def __init__(self, directory: Path) -> None:
        self.fake = Fake()
        self.operations = Operations(Journal(directory), {Kind.CLEAR_SNAPSHOTS: self.fake})

    async def __aenter__(self) -> Self:
        await self.operations.load()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.operations.stop()


async def test_one_id_is_one_work(tmp_path: Path) -> None:
    async with Process(tmp_path) as process:
        first, started = await process.operations.put("a", REQUEST)
        again, started_again = await process.operations.put("a", REQUEST)
        assert (started, started_again) == (True, False)
        assert first is again
        process.fake.go.set()
        await process.operations.over("a")
        assert first.state is State.SUCCEEDED
        assert first.result == {"tag": "t"}
        await process.operations.put("a", REQUEST)
        assert process.fake.runs == 1
        assert process.fake.finished == [State.SUCCEEDED]


async def test_another_spec_under_a_known_id_is_refused(tmp_path: Path) -> None:
    async with Process(tmp_path) as process:
        await process.operations.put("a", REQUEST)
        with pytest.raises(OtherSpecError):
            await process.operations.put("a", OperationRequest(kind=Kind.CLEAR_SNAPSHOTS, spec={"tag": "u"}))


@pytest.mark.parametrize(
    ("operation_id", "kind", "spec"),
    [
        ("../a", Kind.CLEAR_SNAPSHOTS, {"tag": "t"}),
        (".a", Kind.CLEAR_SNAPSHOTS, {"tag": "t"}),
        ("", Kind.CLEAR_SNAPSHOTS, {"tag": "t"}),
        ("a", Kind.CLEAR_SNAPSHOTS, {}),
        ("a", Kind.CLEAR_SNAPSHOTS, {"tag": 5}),
        ("a", Kind.CLEAR_SNAPSHOTS, {"tag": "bad"}),
        ("a", Kind.RESTORE, {}),
    ],
)
async def test_what_no_try_could_do_is_refused_at_once(
    tmp_path: Path, operation_id: str, kind: Kind, spec: dict[str, Any]
) -> None:
    async with Process(tmp_path) as process:
        with pytest.raises(AgentError) as caught:
            await process.operations.put(operation_id, OperationRequest(kind=kind, spec=spec))
        assert caught.value.reason == "InvalidSpec"
        assert process.operations.all() == []


async def test_a_restart_takes_it_up_in_another_session_with_a_larger_revision(tmp_path: Path) -> None:
    async with Process(tmp_path) as process:
        await process.operations.put("a", REQUEST)
        await process.fake.running.wait()
        (job,) = process.operations.unfinished()
        for _ in range(50):  # shown to whoever polls, and not journalled
            job.count(1)
            job.tick()
        session, revision = job.operation.session, job.operation.revision
        await asyncio.sleep(0.06)  # a restart takes longer than the revisions it must be past
    async with Process(tmp_path) as process:
        await process.fake.running.wait()
        operation = process.operations.get("a")
        assert (operation.state, operation.attempts) == (State.RUNNING, 2)
        assert operation.session != session
        assert operation.revision > revision
        process.fake.go.set()
        await process.operations.over("a")
    async with Process(tmp_path) as process:
        assert process.operations.get("a").state is State.SUCCEEDED
        assert process.fake.runs == 0


async def test_a_failure_has_its_reason_and_a_bug_has_one_too(tmp_path: Path) -> None:
    async with Process(tmp_path) as process:
        process.fake.go.set()
        process.fake.error = AgentError(Reason.SNAPSHOT_GONE, "gone", retryable=True)
        await process.operations.put("a", REQUEST)
        await process.operations.over("a")
        error = process.operations.get("a").error
        assert error is not None
        assert (error.reason, error.message, error.retryable) == ("SnapshotGone", "gone", True)
        process.fake.error = ZeroDivisionError("bug")
        await process.operations.put("b", REQUEST)
        await process.operations.over("b")
        error = process.operations.get("b").error
        assert error is not None
        assert error.reason == "Internal"


async def test_a_full_disk_is_named(tmp_path: Path) -> None:
    async with Process(tmp_path) as process:
        process.fake.go.set()
        process.fake.error = OSError(28, "No space left on device")
        await process.operations.put("a", REQUEST)
        await process.operations.over("a")
        error = process.operations.get("a").error
        assert error is not None
        assert error.reason == "DiskFull"


async def test_cancelling_is_final_and_survives_the_process(tmp_path: Path) -> None:
    async with Process(tmp_path) as process:
        await process.operations.put("a", REQUEST)
        await process.fake.running.wait()
        operation = await process.operations.cancel("a")
        assert operation.state is State.CANCELLED
        assert process.fake.finished == [State.CANCELLED]
        assert (await process.operations.cancel("a")).state is State.CANCELLED
        with pytest.raises(KeyError):
            await process.operations.cancel("b")
    async with Process(tmp_path) as process:
        assert process.operations.get("a").state is State.CANCELLED


async def test_a_cancellation_that_the_process_did_not_live_to_do_is_done_by_the_next(tmp_path: Path) -> None:
    async with Process(tmp_path) as process:
        await process.operations.put("a", REQUEST)
        await process.fake.running.wait()
    journal = Journal(tmp_path)
    (entry,) = await journal.load()
    entry.cancelled = True
    await journal.write(entry)
    async with Process(tmp_path) as process:
        await process.operations.over("a")
        assert process.operations.get("a").state is State.CANCELLED
        assert process.fake.runs == 0


async def test_long_polls_wake_on_change_and_end_in_time(tmp_path: Path) -> None:
    async with Process(tmp_path) as process:
        operations = process.operations
        await operations.put("a", REQUEST)
        await process.fake.running.wait()
        since = operations.get("a").revision
        waiting = asyncio.create_task(operations.wait("a", since, 30))
        process.fake.go.set()
        assert (await waiting).revision > since
        await operations.over("a")
        since = operations.get("a").revision
        assert (await operations.wait("a", since, 0.01)).revision == since
        assert (await operations.wait("a", since - 1, 30)).revision == since
        waiting = asyncio.create_task(operations.wait("a", since, 30))
        await asyncio.sleep(0)
        await operations.stop()  # those who wait get an answer
        async with asyncio.timeout(10):
            await waiting


async def test_progress_shows_once_a_tick_and_not_without_change(tmp_path: Path) -> None:
    async with Process(tmp_path) as process:
        await process.operations.put("a", REQUEST)
        await process.fake.running.wait()
        (job,) = process.operations.unfinished()
        await job.save()
        revision = job.operation.revision
        for _ in range(1000):
            job.count(5)
        assert job.operation.revision == revision
        job.tick()
        shown = job.operation.revision
        assert shown > revision
        assert job.operation.progress.bytes_done == 5000
        assert job.operation.progress.rate > 0
        job.tick()
        assert job.operation.revision == shown


async def test_what_is_long_over_is_forgotten(tmp_path: Path) -> None:
    async with Process(tmp_path) as process:
        process.fake.go.set()
        for name in ("a", "b"):
            await process.operations.put(name, REQUEST)
            await process.operations.over(name)
        process.operations.get("a").finished_at = "2020-01-01T00:00:00Z"
        await process.operations.prune()
        assert [operation.id for operation in process.operations.all()] == ["b"]
    assert names(tmp_path) == {"b.json"}


async def test_an_unreadable_journal_is_put_aside(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a.json", b"{")
    write_atomic(tmp_path / "b.json", b'{"request": 5}')
    async with Process(tmp_path) as process:
        assert process.operations.all() == []
        await process.operations.put("a", REQUEST)
    assert names(tmp_path) == {"a.json", "a.unreadable", "b.unreadable"}


async def test_a_retry_begins_again_with_the_new_spec(tmp_path: Path) -> None:
    async with Process(tmp_path) as process:
        process.fake.go.set()
        process.fake.error = ValueError("no")
        await process.operations.put("a", REQUEST)
        await process.operations.over("a")
        process.fake.error = None
        changed = OperationRequest(kind=Kind.CLEAR_SNAPSHOTS, spec={"tag": "u"})
        operation, started = await process.operations.put("a", changed, retry=True)
        assert started
        await process.operations.over("a")
        assert (operation.state, operation.attempts, operation.error) == (State.SUCCEEDED, 2, None)
        assert (await process.operations.put("a", REQUEST, retry=True)) == (operation, False)


async def test_a_journal_that_cannot_be_written_ends_the_operation_in_memory(tmp_path: Path) -> None:
    async with Process(tmp_path) as process:
        await process.operations.put("a", REQUEST)
        await process.fake.running.wait()
        (job,) = process.operations.unfinished()

        async def full(_entry: object) -> None:
            raise OSError(28, "No space left on device")

        job._journal.write = full  # type: ignore[method-assign, assignment]
        process.fake.go.set()
        await process.operations.over("a")
        error = process.operations.get("a").error
        assert error is not None
        assert error.reason == "DiskFull"
