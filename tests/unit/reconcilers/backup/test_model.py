"""Whatever happens, and in whatever order, a backup comes to an end that is true: see model/ and CONTRIBUTING.md."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest
import structlog
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.unit.reconcilers.backup.model.lives import LEAST, MOST, lived

if TYPE_CHECKING:
    from collections.abc import Iterator

RUNS = int(os.environ.get("MODEL_RUNS", "2000"))
NIGHTLY = "MODEL_RUNS" in os.environ  # other lives each time, or those of MODEL_SEED; else the same ones for ever


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
    """A life is one draw: of a list hypothesis would play five variations for each that is new, which finds less."""

    @settings(
        max_examples=RUNS, derandomize=not NIGHTLY, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=[*HealthCheck],
    )  # fmt: skip
    @given(st.binary(min_size=LEAST, max_size=MOST))
    def holds(life: bytes) -> None:
        runner.run(lived(life))

    chosen = seed(int(os.environ["MODEL_SEED"]))(holds) if "MODEL_SEED" in os.environ else holds
    chosen()
