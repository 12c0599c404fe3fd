from __future__ import annotations

import asyncio
import time

import pytest

from agent.lag import EVERY, Lag


class Time:
    """Each sleep takes longer than it should by the next of ``stalls``."""

    def __init__(self, stalls: list[float]) -> None:
        self.now = 5.0
        self.stalls = stalls

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        if not self.stalls:
            raise asyncio.CancelledError
        self.now += seconds + self.stalls.pop(0)


async def watched(stalls: list[float]) -> tuple[Lag, list[float]]:
    observed: list[float] = []
    time_ = Time(stalls)
    lag = Lag(observed.append, clock=time_, sleep=time_.sleep)
    with pytest.raises(asyncio.CancelledError):
        await lag.run()
    return lag, observed


async def test_what_a_share_of_the_stalls_stays_within() -> None:
    lag, observed = await watched([0.001] * 98 + [0.04, 2.0])
    assert lag.longest == pytest.approx(2.0)
    assert lag.below(0.5) == pytest.approx(0.001, abs=0.0011)
    assert lag.below(0.99) == pytest.approx(0.04, abs=0.0011)
    assert lag.below(1.0) == pytest.approx(2.0, abs=0.0011)
    assert observed == pytest.approx([0.001] * 98 + [0.04, 2.0])


async def test_a_timer_that_fires_early_is_no_stall() -> None:
    lag, observed = await watched([-0.001])
    assert observed == [0.0]
    assert lag.below(1.0) == lag.longest == 0.0


def test_nothing_was_seen_yet() -> None:
    assert Lag().below(0.99) == 0.0


async def test_what_blocks_the_loop_is_seen() -> None:
    lag = Lag()
    task = asyncio.create_task(lag.run())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    time.sleep(0.15)  # noqa: ASYNC251  that is what is to be seen
    await asyncio.sleep(EVERY)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert lag.longest >= 0.15 - EVERY - 0.01
