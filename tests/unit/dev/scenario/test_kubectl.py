"""What is read out of kubectl's own output."""

from __future__ import annotations

from dev.scenario.kubectl import columns

TABLE = """\
NAME      STATUS   PROGRESS   NODES   COMPLETED   REASON            AGE
nightly   Queued              0/3                 waits for a turn  5s
"""


def test_a_cell_may_be_empty_and_may_have_blanks() -> None:
    assert columns(TABLE) == {
        "NAME": "nightly",
        "STATUS": "Queued",
        "PROGRESS": "",
        "NODES": "0/3",
        "COMPLETED": "",
        "REASON": "waits for a turn",
        "AGE": "5s",
    }
