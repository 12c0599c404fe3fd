from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from backends.rate import TokenBucket, paid
from tests.fakes.clock import Time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.mark.parametrize("chunk", [1, 100, 5000, 100_000])
async def test_the_bucket_lets_the_rate_pass_and_no_more(chunk: int) -> None:
    time = Time()
    bucket = TokenBucket(10_000, clock=time, sleep=time.sleep)
    for _ in range(100_000 // chunk):
        await bucket.take(chunk)
    assert time.now - 100.0 == pytest.approx((100_000 - 2500) / 10_000, rel=0.01)


async def test_idle_time_is_not_saved_up() -> None:
    time = Time()
    bucket = TokenBucket(1000, clock=time, sleep=time.sleep)
    time.now += 3600
    await bucket.take(2250)
    assert time.now == pytest.approx(3702.0)


async def test_no_rate_is_no_limit() -> None:
    await TokenBucket(0).take(1 << 60)


async def test_all_who_share_a_bucket_get_its_rate_in_turn() -> None:
    time = Time()
    bucket = TokenBucket(40_000, clock=time, sleep=time.sleep)
    done: list[str] = []

    async def take(name: str, count: int) -> None:
        await bucket.take(count)
        done.append(name)

    await asyncio.gather(take("large", 400_000), take("small", 10_000))
    assert done == ["small", "large"]
    assert time.now - 100.0 == pytest.approx(10.0, rel=0.01)


async def test_a_new_rate_holds_for_who_waits_already() -> None:
    time = Time()
    bucket = TokenBucket(20_000, clock=time, sleep=time.sleep)

    async def taking() -> None:
        await bucket.take(2_000_000)  # 100 s at the first rate

    async def change() -> None:
        while time.now < 110:  # noqa: ASYNC110  the test's own time
            await asyncio.sleep(0)
        bucket.rate = 2_000_000

    await asyncio.gather(taking(), change())
    assert time.now - 110 == pytest.approx(0.9, abs=0.3)
    assert time.longest <= 0.3


async def test_no_burst_is_won_by_changing_the_rate() -> None:
    time = Time()
    bucket = TokenBucket(10_000, clock=time, sleep=time.sleep)
    for rate in (20_000, 10_000) * 20:
        await bucket.take(1000)
        bucket.rate = rate
    assert time.now - 100.0 >= (40_000 - 5000) / 20_000


async def test_who_is_cancelled_while_waiting_holds_nobody_up() -> None:
    bucket = TokenBucket(1 << 20)
    first = asyncio.create_task(bucket.take(1 << 30))
    await asyncio.sleep(0)
    second = asyncio.create_task(bucket.take(1))
    await asyncio.sleep(0)
    first.cancel()
    async with asyncio.timeout(10):
        await second


async def test_chunks_come_in_pieces_that_never_pause_for_long() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"a" * 200_000
        yield b""
        yield b"b" * 300

    time = Time()
    bucket = TokenBucket(20_000, clock=time, sleep=time.sleep)
    found = [piece async for piece in paid(chunks(), bucket)]
    assert b"".join(found) == b"a" * 200_000 + b"b" * 300
    assert time.longest <= 0.5
    assert time.now - 100.0 == pytest.approx(10, abs=0.5)


async def test_without_a_limit_chunks_stay_as_they_are() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"a" * 200_000

    assert [len(piece) async for piece in paid(chunks(), TokenBucket(0))] == [200_000]
