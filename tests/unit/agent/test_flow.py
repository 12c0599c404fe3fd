from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from agent.flow import Flow, MeteredBody, TokenBucket, each
from backends.checksums import crc32c
from tests.unit.agent.conftest import until

if TYPE_CHECKING:
    from pathlib import Path


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize("chunk", [1, 100, 5000])
async def test_the_bucket_lets_the_rate_pass_and_no_more(chunk: int) -> None:
    time = Time()
    bucket = TokenBucket(1000, clock=time, sleep=time.sleep)
    for _ in range(10_000 // chunk):
        await bucket.take(chunk)
    assert time.now - 100.0 == pytest.approx((10_000 - 250) / 1000, rel=0.01)


async def test_idle_time_is_not_saved_up() -> None:
    time = Time()
    bucket = TokenBucket(1000, clock=time, sleep=time.sleep)
    time.now += 3600
    await bucket.take(2250)
    assert time.now == pytest.approx(3702.0)


async def test_no_rate_is_no_limit() -> None:
    await TokenBucket(0).take(1 << 60)


async def test_slots_and_bytes_in_flight_are_bounded() -> None:
    flow = Flow(3, in_flight=100)
    held: list[int] = []
    release = asyncio.Event()

    async def use(size: int) -> None:
        async with flow.slot(size):
            held.append(size)
            await release.wait()

    tasks = [asyncio.create_task(use(size)) for size in (60, 30, 40, 10)]
    await until(lambda: len(held) == 2)
    await asyncio.sleep(0)
    assert held == [60, 30]
    release.set()
    await asyncio.gather(*tasks)
    assert sorted(held) == [10, 30, 40, 60]


async def test_what_is_larger_than_the_bound_goes_alone() -> None:
    flow = Flow(2, in_flight=10)
    async with asyncio.timeout(5), flow.slot(1000):
        pass


async def test_each_raises_the_error_as_it_was_and_ends_the_rest() -> None:
    done: list[int] = []

    async def work(item: int) -> None:
        if item == 2:
            raise ValueError("two")
        if item > 2:
            await asyncio.Event().wait()
        done.append(item)

    with pytest.raises(ValueError, match="two"):
        await each(range(10), 3, work)
    assert done == [0, 1]


async def test_a_body_that_is_read_again_takes_back_what_it_counted(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"x" * 1000)
    counted: list[int] = []
    body = MeteredBody(path, 100, 800, crc32c(b"x" * 800), bucket=TokenBucket(0), count=counted.append)
    for _ in range(2):
        assert b"".join([chunk async for chunk in body.chunks()]) == b"x" * 800
    assert sum(counted) == 800


async def test_a_limited_body_flows_in_small_pieces_and_never_pauses_for_long(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"x" * 200_000)
    time = Time()
    bucket = TokenBucket(20_000, clock=time, sleep=time.sleep)
    body = MeteredBody(path, 0, 200_000, crc32c(b"x" * 200_000), bucket=bucket, count=lambda _: None)
    pauses, last = [], time()
    async for _ in body.chunks():
        pauses.append(time() - last)
        last = time()
    assert sum(pauses) == pytest.approx(10, abs=0.5)
    assert max(pauses) <= 0.5
