from __future__ import annotations

import datetime as dt

import msgspec
import pytest

from agent.protocol import Kind, Operation, Progress, State
from controller.conditions import Condition
from reconcilers.api.backup_status import BackupDatacenter, BackupNode, BackupPhase, BackupStatus
from reconcilers.backup import status as said
from reconcilers.operations import View

NOW = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)


def node(pod: str = "p-0", **fields: object) -> BackupNode:
    return BackupNode(pod=pod, **fields)


def test_totals_are_the_nodes_sums() -> None:
    status = BackupStatus(
        phase=BackupPhase.UPLOADING,
        datacenters=[BackupDatacenter(name="foo")],
        nodes=[
            node("p-0", phase=said.COMPLETED, files=3, bytes_total=2048, bytes_done=2048, bytes_reused=48),
            node("p-1", phase=said.UPLOADING, files=2, bytes_total=1024, bytes_done=512, bytes_reused=12),
            node("p-2", phase=said.FAILED, files=1, bytes_total=1024, bytes_done=0),
        ],
    )
    said.summarize(status)
    assert status.totals is not None
    assert msgspec.to_builtins(status.totals) == {
        "nodes": 3, "completed": 1, "failed": 1, "files": 6, "bytes": 4096, "bytesUploaded": 2500, "bytesReused": 60,
    }  # fmt: skip
    assert (status.nodes_completed, status.size, status.progress, status.progress_percent) == (
        "1/3",
        "4.0KiB",
        "62%",
        62,
    )
    assert status.datacenters[0].phase == BackupPhase.UPLOADING


@pytest.mark.parametrize(
    ("nodes", "phase", "percent"),
    [
        ([], BackupPhase.PENDING, 0),
        ([node(bytes_total=10, bytes_done=5), node()], BackupPhase.UPLOADING, 0),  # the whole is not known yet
        ([node(bytes_total=10, bytes_done=10)], BackupPhase.FINALIZING, 99),  # not before the commit
        ([node(bytes_total=10, bytes_done=10, phase=said.COMPLETED)], BackupPhase.COMPLETED, 100),
        ([node(phase=said.COMPLETED)], BackupPhase.COMPLETED, 100),
        ([node(bytes_total=3, bytes_done=2)], BackupPhase.FAILED, 66),
    ],
)
def test_progress(nodes: list[BackupNode], phase: BackupPhase, percent: int) -> None:
    status = BackupStatus(phase=phase, nodes=nodes)
    said.summarize(status)
    assert status.progress_percent == percent
    assert status.progress == (f"{percent}%" if nodes else "")


def test_summing_up_twice_changes_nothing() -> None:
    status = BackupStatus(phase=BackupPhase.UPLOADING, nodes=[node(bytes_total=10, bytes_done=5)])
    said.summarize(status)
    again = msgspec.json.decode(msgspec.json.encode(status), type=BackupStatus)
    said.summarize(again)
    assert again == status


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0B"), (1, "1B"), (1023, "1023B"), (1024, "1.0KiB"), (1536, "1.5KiB"), (102400, "100KiB"),
        (1 << 20, "1.0MiB"), (int(1.5 * (1 << 30)), "1.5GiB"), (1 << 40, "1.0TiB"), (1 << 50, "1.0PiB"),
        (5000 << 50, "5000PiB"),
    ],
)  # fmt: skip
def test_human(size: int, text: str) -> None:
    assert said.human(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (59.9, "59s"), (60, "1m0s"), (200, "3m20s"), (3600, "1h0m0s"), (90061, "25h1m1s")]
)
def test_duration(seconds: float, text: str) -> None:
    assert said.duration("2026-01-01T12:00:00Z", NOW + dt.timedelta(seconds=seconds)) == text


def test_duration_of_what_never_started_or_starts_in_the_future() -> None:
    assert said.duration("", NOW) == ""
    assert said.duration("2027-01-01T12:00:00Z", NOW) == "0s"


def view(**progress: int) -> View:
    operation = Operation(
        id="op", kind=Kind.BACKUP, state=State.RUNNING, revision=1, session="s", progress=Progress(**progress)
    )
    return View(operation=operation, moved_at="2026-01-01T12:00:00Z")


def test_observe_takes_over_what_the_agent_says() -> None:
    seen = node(last_progress_time="2026-01-01T11:00:00Z")
    said.observe(seen, view(files=4, bytes=200, bytes_done=50, bytes_reused=20))
    assert (seen.operation_id, seen.agent_session, seen.files) == ("op", "s", 4)
    assert (seen.bytes_total, seen.bytes_done, seen.bytes_reused, seen.progress) == (200, 50, 20, "25%")
    assert seen.last_progress_time == "2026-01-01T12:00:00Z"


def test_a_phase_without_bytes_keeps_the_counters() -> None:
    seen = node(files=4, bytes_total=200, bytes_done=200, progress="100%")
    said.observe(seen, view(files=4))
    assert (seen.bytes_total, seen.bytes_done, seen.progress) == (200, 200, "100%")


def test_time_never_goes_back() -> None:
    seen = node(last_progress_time="2026-01-01T13:00:00Z")
    said.observe(seen, view())
    assert seen.last_progress_time == "2026-01-01T13:00:00Z"
    said.observe(seen, View())
    assert seen.operation_id == "op"


def copy(status: BackupStatus) -> BackupStatus:
    return msgspec.convert(msgspec.to_builtins(status), BackupStatus)


def running(count: int) -> BackupStatus:
    status = BackupStatus(
        phase=BackupPhase.UPLOADING,
        nodes=[node(f"p-{i}", phase=said.UPLOADING, bytes_total=100) for i in range(count)],
        conditions=[Condition(type="Running", status="True", reason="Started")],
    )
    said.summarize(status)
    return status


def test_counters_are_not_urgent() -> None:
    old = running(3)
    new = copy(old)
    new.nodes[0].bytes_done, new.nodes[0].last_progress_time = 50, "2026-01-01T13:00:00Z"
    said.summarize(new)
    assert new != old
    assert not said.urgent(old, new)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("phase", BackupPhase.FINALIZING), ("reason", "Aborting"), ("message", "x"), ("queue_position", 1),
        ("conditions", []), ("snapshot_time", "2026-01-01T13:00:00Z"), ("observed_generation", 2), ("nodes", []),
    ],
)  # fmt: skip
def test_the_runs_own_state_is_urgent(field: str, value: object) -> None:
    old = running(100)
    new = copy(old)
    setattr(new, field, value)
    assert said.urgent(old, new)


@pytest.mark.parametrize(
    ("nodes", "changed", "urgent"), [(3, 1, True), (10, 1, True), (1000, 99, False), (1000, 100, True)]
)
def test_a_tenth_of_the_nodes_is_urgent(nodes: int, changed: int, urgent: bool) -> None:
    old = running(nodes)
    new = copy(old)
    for i in range(changed):
        new.nodes[i].phase = said.COMPLETED
    said.summarize(new)
    assert said.urgent(old, new) is urgent


def test_failed_nodes_are_named_the_first_few() -> None:
    nodes = [node(f"p-{i}", phase=said.FAILED, message=f"m{i}") for i in range(5)]
    assert said.failed_nodes(nodes[:1]) == "p-0: m0"
    assert said.failed_nodes([node("x", phase=said.COMPLETED), *nodes]) == "p-0: m0; p-1: m1; p-2: m2; and 2 more"


def test_a_partial_backup_is_as_large_as_what_it_has() -> None:
    nodes = [node(phase=said.COMPLETED, bytes_total=10, files=2), node(phase=said.FAILED, bytes_total=90, files=3)]
    status = BackupStatus(phase=BackupPhase.PARTIALLY_COMPLETED, nodes=nodes)
    said.summarize(status)
    assert status.totals is not None
    assert (status.totals.bytes, status.totals.files, status.size, status.progress) == (10, 2, "10B", "100%")


MIB = 1 << 20


@pytest.mark.parametrize(
    ("nodes", "rate", "left"),
    [
        ([node(phase=said.UPLOADING, bytes_total=100, bytes_done=50, bytes_per_second=10)], "10B/s", "5s"),
        (
            [
                node(phase=said.UPLOADING, bytes_total=900 * MIB, bytes_done=0, bytes_per_second=2 * MIB),
                node(phase=said.UPLOADING, bytes_total=100 * MIB, bytes_done=0, bytes_per_second=3 * MIB),
            ],
            "5.0MiB/s",
            "3m20s",
        ),
        # one waits for its turn and does not know its bytes
        (
            [node(phase=said.UPLOADING, bytes_total=9, bytes_per_second=3), node(phase=said.SNAPSHOTTED)],
            "3B/s",
            "",
        ),
        ([node(phase=said.UPLOADING, bytes_total=9, bytes_done=3)], "", ""),  # nothing moves
        ([node(phase=said.UPLOADING, bytes_total=9, bytes_per_second=3, reason="StorageThrottled")], "", ""),
        ([node(phase=said.COMPLETED, bytes_total=9, bytes_done=9, bytes_per_second=3)], "", ""),
    ],
)
def test_rate_and_time_left(nodes: list[BackupNode], rate: str, left: str) -> None:
    status = BackupStatus(phase=BackupPhase.UPLOADING, nodes=nodes)
    said.summarize(status)
    assert (status.rate, status.time_left) == (rate, left)


def test_what_is_read_back_has_a_rate() -> None:
    nodes = [node(phase=said.VERIFYING, bytes_total=9, bytes_done=9, bytes_per_second=3)]
    status = BackupStatus(phase=BackupPhase.FINALIZING, nodes=nodes)
    said.summarize(status)
    assert (status.rate, status.time_left) == ("3B/s", "")


def test_rates_wait_for_their_slot() -> None:
    old = BackupStatus(phase=BackupPhase.UPLOADING, nodes=[node(phase=said.UPLOADING)])
    new = BackupStatus(
        phase=BackupPhase.UPLOADING, rate="1B/s", time_left="1s", nodes=[node(phase=said.UPLOADING, bytes_per_second=1)]
    )
    assert not said.urgent(old, new)
