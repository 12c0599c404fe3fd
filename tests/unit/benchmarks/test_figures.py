"""What the benchmark makes of its measurements."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

import msgspec
import pytest

from benchmarks import facts, ours, servers, transfer
from benchmarks.figures import Medians, cpu_per_gb, wall
from benchmarks.goals import GOALS
from benchmarks.report import render, spread
from benchmarks.session import DEFAULTS, FULL, OURS, RESTORE, S5CMD, TUNED, UNCHANGED, Record

if TYPE_CHECKING:
    from pathlib import Path


def record(tool: str, step: str = FULL, *, number: int = 0, **more: float | str | dict[str, float]) -> Record:
    values = {
        "kind": "http", "case": "real", "step": step, "tool": tool, "round": number, "wall": 10.0, "cpu": 4.0,
        "memory": 100 << 20, "files": 9, "size": 2_000_000_000, "requests": 7, "server_cpu": 1.0,
        "date": "2026-01-01", "load": 0.5, "extra": {},
    }  # fmt: skip
    return Record(**(values | more))


def verdicts(records: list[Record]) -> dict[str, str]:
    """Goal -> what the report says about it."""
    lines = render(records, {}, "").splitlines()
    cells = [line.strip("| ").split(" | ") for line in lines if line.startswith("|")]
    return {row[0]: row[1] for row in cells if row[0] in {goal.text for goal in GOALS}}


def test_medians_are_of_the_rounds_and_ratios_of_medians() -> None:
    walls = (1.0, 9.0, 2.0)
    records = [record(OURS, number=number, wall=value) for number, value in enumerate(walls)]
    medians = Medians([*records, record(S5CMD, wall=3.0)])
    group = ("http", "real", FULL)
    assert medians.of(group, OURS, wall) == 2.0
    assert medians.faster(group, S5CMD) == 1.5
    assert medians.faster(group, TUNED) is None
    assert medians.of(group, OURS, cpu_per_gb) == 2.0
    assert medians.tools(group) == [OURS, S5CMD]  # asking for one that did not run adds none


def test_the_worst_is_of_all_steps_and_of_the_agent_alone() -> None:
    medians = Medians([record(OURS, memory=5), record(OURS, RESTORE, memory=9), record(S5CMD, memory=99)])
    assert medians.most("http", lambda one: one.memory) == 9
    assert medians.most("https", lambda one: one.memory) is None


def test_goals_are_reached_at_their_very_limit_and_not_beyond() -> None:
    def run(*, up: float, down: float, cpu: float, idle: float, memory: int, stall: float) -> dict[str, str]:
        return verdicts(
            [
                record(OURS, wall=up, cpu=cpu, memory=memory, extra={"stall_p99": stall}),
                record(OURS, RESTORE, wall=down, cpu=cpu, extra={"durable": down}),
                record(OURS, UNCHANGED, wall=idle),
                *(record(S5CMD, step, wall=13.0, cpu=8.0, extra={"durable": 13.0}) for step in (FULL, RESTORE)),
                record(TUNED, wall=30.0),
                record(TUNED, RESTORE, wall=39.0),
            ]
        )

    good = run(up=10.0, down=13.0, cpu=4.0, idle=0.5, memory=255 << 20, stall=0.049)
    assert len(good) == len(GOALS)
    assert all(verdict.startswith("reached") for verdict in good.values()), good
    bad = run(up=10.01, down=13.01, cpu=4.01, idle=0.51, memory=256 << 20, stall=0.05)
    assert all(verdict.startswith("**not reached**") for verdict in bad.values()), bad


def test_what_is_not_on_the_disk_yet_is_not_restored() -> None:
    slow, quick = record(OURS, RESTORE, wall=5.0, extra={"durable": 5.0}), record(S5CMD, RESTORE, wall=4.0)
    quick.extra = {"durable": 6.0}
    found = verdicts([slow, quick])
    assert found["restore as fast as s5cmd"] == "**not reached**: 0.80 times"
    assert found["restore as fast as s5cmd, until the bytes are on the disk"] == "reached: 1.20 times"


def test_what_was_not_run_is_not_measured() -> None:
    assert set(verdicts([record(S5CMD)]).values()) == {"not measured"}


@pytest.mark.parametrize(
    ("values", "text"), [([], "-"), ([2.0], "2"), ([1.234], "1.23"), ([3.5, 1.25, 250.4], "3.50 [1.25-250]")]
)
def test_a_cell_has_the_median_and_its_spread(values: list[float], text: str) -> None:
    assert spread(values) == text


def test_requests_are_summed_by_name() -> None:
    text = """
# HELP minio_api_requests_total Total number of requests
minio_api_requests_total{name="PutObject",server="a",type="s3"} 12
minio_api_requests_total{name="PutObject",server="b",type="s3"} 1.5e+2
minio_api_requests_total{name="GetObject",server="a",type="s3"} 3
minio_api_requests_errors_total{name="GetObject",server="a",type="s3"} 9
"""
    assert servers.counted(text) == {"PutObject": 162, "GetObject": 3}


def test_a_quantile_is_of_what_came_between_two_looks() -> None:
    before = {0.01: 100.0, 0.05: 100.0, float("inf"): 100.0}
    after = {0.01: 150.0, 0.05: 200.0, float("inf"): 200.0}
    assert ours.quantile(before, after, 0.5) == pytest.approx(0.01)
    assert ours.quantile(before, after, 0.75) == pytest.approx(0.03)
    assert ours.quantile(before, before, 0.99) is None
    assert ours.quantile({}, {}, 0.99) is None
    assert ours.quantile({}, {0.01: 0.0, 0.05: 1.0, float("inf"): 100.0}, 0.99) == 0.05  # no more is known


def test_buckets_are_read_with_and_without_other_labels() -> None:
    name = "cassandra_agent_event_loop_stall_seconds"
    text = f'{name}_bucket{{le="0.01"}} 5.0\n{name}_bucket{{a="b",le="+Inf"}} 6.0\n{name}_count 6.0\n'
    assert ours.buckets(text) == {0.01: 5.0, float("inf"): 6.0}


def test_a_restores_stall_is_the_last_that_was_said() -> None:
    assert ours.said('{"p99_ms": 1, "event": "x"}\n{"p99_ms": 102.5, "max_ms": 7}\n') == 0.1025
    assert ours.said('{"event": "listening"}') is None


def test_each_tool_is_the_first_of_a_round_in_turn() -> None:
    found = list(transfer.sessions(["http"], ["real"], [OURS, S5CMD, TUNED], 3))
    firsts = [session.tool for session in found[::3]]
    assert firsts == [OURS, S5CMD, TUNED]
    assert [session.round for session in found] == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_of_the_synthetic_sets_medusa_has_one_round() -> None:
    found = [(one.tool, one.round) for one in transfer.sessions(["http"], ["many"], [OURS, TUNED], 3)]
    assert found == [(OURS, 0), (TUNED, 0), (OURS, 1), (OURS, 2)]


def test_a_tool_that_cannot_is_left_out() -> None:
    assert {one.tool for one in transfer.sessions(["gcs"], ["real"], [OURS, S5CMD, DEFAULTS], 1)} == {OURS, DEFAULTS}
    assert {one.tool for one in transfer.sessions(["http"], ["huge"], [OURS, DEFAULTS], 1)} == {OURS}
    assert list(transfer.sessions(["azure"], ["real"], [S5CMD], 3)) == []
    assert [one.case for one in transfer.sessions(["azure"], ["real", "many", "huge"], [OURS], 1)] == ["real"]


def test_a_column_without_a_figure_is_left_out() -> None:
    def header(*records: Record) -> str:
        return next(line for line in render(records, {}, "").splitlines() if line.startswith("| tool"))

    assert "requests" in header(record(OURS), record(S5CMD))
    assert "times as fast as s5cmd" in header(record(OURS), record(S5CMD))
    bare = header(record(OURS, requests=0))
    assert "requests" not in bare
    assert "times as fast as s5cmd" not in bare
    assert "peak MiB" in bare


def test_a_part_that_is_run_again_replaces_its_own_figures_alone(tmp_path: Path) -> None:
    kept = [record(OURS), record(OURS, kind="https"), record(OURS, case="many"), record(OURS, RESTORE)]
    (tmp_path / "T.jsonl").write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in kept))
    options = Namespace(add=True, only=["http", "azure"], cases=["real"], report=tmp_path / "T.md")
    assert [(one.kind, one.case) for one in transfer._others(options)] == [("https", "real"), ("http", "many")]
    options.add = False
    assert transfer._others(options) == []


def test_the_report_says_how_each_data_set_was_run() -> None:
    records = [record(OURS), record(OURS, kind="https", number=2), record(OURS, case="many", number=1)]
    assert facts.how(records).splitlines()[2:] == [
        "    make bench-transfer ARGS='--add --only http,https --cases real --rounds 3'",
        "    make bench-transfer ARGS='--add --only http --cases many --rounds 2'",
    ]
    assert facts.facts(records, quick=False)["data set real"] == "9 files, 2.00 GB"
