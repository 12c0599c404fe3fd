"""What is shown while something works: a bar, lines, or nothing."""

from __future__ import annotations

import io

import pytest

from agent.cli import progress
from agent.cli.console import Console
from agent.cli.progress import Bar, Lines, Silent
from agent.protocol import Kind, Operation, Progress, State

MIB = 1 << 20


def operation(phase: str = "Uploading", **counts: float) -> Operation:
    return Operation(
        id="x", kind=Kind.BACKUP, state=State.RUNNING, revision=1, session="s", phase=phase, progress=Progress(**counts)
    )


def test_a_line_has_bytes_files_rate_and_time_left() -> None:
    shown = operation(files=12, files_done=3, bytes=4096 * MIB, bytes_done=1024 * MIB, rate=52 * MIB)
    assert progress.line(shown) == "Uploading: 1.0 GiB of 4.0 GiB (25%), 52.0 MiB/s, 0:59 left, 3 of 12 files"
    assert progress.line(operation("Preparing")) == "Preparing"
    assert progress.line(operation("Planning", files=10, files_done=4)) == "Planning: 4 of 10 files"


def test_a_bar_is_as_full_as_the_work_is_done() -> None:
    assert "[######------------------]" in progress.bar(operation(bytes=100, bytes_done=25), 80)
    assert "[------------------------]" in progress.bar(operation(files=8), 80)
    assert progress.bar(operation("Preparing"), 80) == "Preparing"


def test_a_narrow_terminal_gets_a_shorter_bar_and_all_that_is_said() -> None:
    shown = operation(bytes=100 * MIB, bytes_done=50 * MIB, rate=MIB)
    assert progress.bar(shown, 72) == "Uploading [#####-----] 50.0 MiB of 100.0 MiB (50%), 1.0 MiB/s, 0:50 left"
    for columns in (1, 20, 60, 66, 70, 79, 200):
        assert len(progress.bar(shown, columns)) <= columns
        if columns >= 62:
            assert progress.bar(shown, columns).endswith("0:50 left")


def test_more_than_all_is_all() -> None:
    """A store that asks for a body again is sent more bytes than there are."""
    shown = operation(bytes=100, bytes_done=130, rate=10)
    assert "[########################]" in progress.bar(shown, 80)
    assert "left" not in progress.line(shown)
    assert progress.done(Progress(bytes=100, bytes_done=-20)) == 0.0


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (59.6, "1:00"), (3723, "1:02:03")])
def test_durations(seconds: float, text: str) -> None:
    assert progress.duration(seconds) == text


def test_a_bar_fits_the_terminal_and_leaves_nothing() -> None:
    stream = io.StringIO()
    bar = Bar(stream, lambda: 20)
    bar.end()
    assert stream.getvalue() == ""
    bar.show(operation(bytes=100, bytes_done=25))
    shown = stream.getvalue().removeprefix("\r\x1b[K")
    assert len(shown) == 19
    bar.end()
    assert stream.getvalue().endswith("\r\x1b[K")


def test_a_line_a_phase_and_one_every_ten_seconds() -> None:
    now = 100.0
    stream = io.StringIO()
    lines = Lines(stream, lambda: now)
    lines.show(operation(""))
    for later in (0.0, 9.0, 10.0, 12.0, 21.0):
        now = 100.0 + later
        lines.show(operation(bytes=100, bytes_done=1))
    lines.show(operation("Committing"))
    assert [line.partition(":")[0] for line in stream.getvalue().splitlines()] == [*["Uploading"] * 3, "Committing"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_what_is_chosen() -> None:
    out = io.StringIO()
    assert isinstance(progress.choose(Console(out, Terminal())), Bar)
    assert isinstance(progress.choose(Console(out, io.StringIO())), Lines)
    assert isinstance(progress.choose(Console(out, Terminal(), quiet=True)), Silent)
    assert isinstance(progress.choose(Console(out, Terminal(), json=True)), Silent)
