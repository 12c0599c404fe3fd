"""Whatever happens, and in whatever order, every complete backup is whole: agent.md §7. See interleavings.py."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.agent.interleavings import Interleaving, Pool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EXAMPLES = int(__import__("os").environ.get("EX", "5000"))


@pytest.fixture
def play(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes], Interleaving]]:
    """Plays a tape. Threads would bring an order of their own: what goes to one is done at once."""

    async def inline(work: Callable[..., Any], *values: Any, **more: Any) -> Any:
        return work(*values, **more)

    monkeypatch.setattr("asyncio.to_thread", inline)
    monkeypatch.setattr("agent.upload.run", inline)
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    pool = Pool(tmp_path)
    with asyncio.Runner() as runner:

        def one(tape: bytes) -> Interleaving:
            played = Interleaving(pool, tape)
            runner.run(played.run())
            return played

        yield one
    structlog.configure(**before)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_complete_backup_is_whole_at_every_point(play: Callable[[bytes], Interleaving]) -> None:
    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=[*HealthCheck], derandomize=False
    )
    @given(st.binary(max_size=160))
    def holds(tape: bytes) -> None:
        play(tape)

    holds()
