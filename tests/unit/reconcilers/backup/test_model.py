"""Whatever happens, and in whatever order, a backup comes to an end that is true: see model/ and CONTRIBUTING.md."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.reconcilers.backup.model.play import play
from tests.unit.reconcilers.backup.model.steps import DRAWN, NUMBERS

if TYPE_CHECKING:
    from collections.abc import Iterator

NIGHTLY = "MODEL_RUNS" in os.environ  # other lives each time; else the same ones, until the code changes
RUNS = int(os.environ.get("MODEL_RUNS", "2000"))


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """Nobody reads so many logs."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    with asyncio.Runner() as runner:
        yield runner
    structlog.configure(**before)


@pytest.mark.slow
@pytest.mark.timeout(max(900, RUNS))
def test_every_backup_comes_to_a_true_end(runner: asyncio.Runner) -> None:
    number = st.integers(0, NUMBERS - 1)
    step = st.tuples(st.sampled_from(DRAWN), number, number)

    @settings(
        max_examples=RUNS, derandomize=not NIGHTLY, deadline=None, database=None, report_multiple_bugs=False,
        suppress_health_check=[*HealthCheck],
    )  # fmt: skip
    @given(st.tuples(number, number), st.lists(step, min_size=10, max_size=50))
    def holds(first: tuple[int, int], steps: list[tuple[str, int, int]]) -> None:
        runner.run(play(first, steps))

    holds()
