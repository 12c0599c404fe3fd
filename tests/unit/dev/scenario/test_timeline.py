from __future__ import annotations

import threading

import pytest

from dev.scenario.timeline import Timeline, together


def test_the_table_says_what_failed() -> None:
    timeline = Timeline()
    with timeline.step("one") as step:
        step.detail = "with a detail"
    with pytest.raises(RuntimeError), timeline.step("two"):
        raise RuntimeError
    rows = timeline.table().splitlines()
    assert rows[1].startswith("one ")
    assert rows[1].endswith("with a detail")
    assert rows[2].endswith("FAILED")
    assert rows[3].startswith("in all ")


def test_together_is_at_the_same_time_and_tells_of_a_failure() -> None:
    meeting = threading.Barrier(2, timeout=10)

    def fails() -> None:
        meeting.wait()
        raise RuntimeError("one failed")

    with pytest.raises(RuntimeError, match="one failed"):
        together(meeting.wait, fails)
