from __future__ import annotations

from dataclasses import dataclass

import pytest

from agent.bandwidth import FLOOR, Direction, Meter, NodeRate, Pace, node_rate
from backends.rate import TokenBucket
from tests.fakes.clock import Time

MIB = 1 << 20


@dataclass(eq=False)
class User:
    slots: int = 8


def meter(time: Time, seconds: float, total: int, bandwidth: int = 0) -> Meter:
    pace = Pace(seconds, total, clock=time, sleep=time.sleep)
    return Meter(TokenBucket(bandwidth, clock=time, sleep=time.sleep), pace, lambda _: None)


async def passed(meter: Meter, time: Time, size: int, *, chunk: int = MIB, slower: float = 0.0) -> float:
    """Seconds; ``slower``: that many more for each chunk, on the way."""
    started = time.now
    for _ in range(size // chunk):
        await meter.take(chunk)
        time.now += slower
    return time.now - started


async def test_it_is_done_shortly_before_the_time() -> None:
    time = Time()
    assert await passed(meter(time, 100, 1000 * MIB), time, 1000 * MIB) == pytest.approx(95, abs=1)


async def test_what_was_slow_at_first_is_made_good() -> None:
    time = Time()
    paced = meter(time, 100, 1000 * MIB)
    slow = await passed(paced, time, 200 * MIB, slower=0.25)  # 50 s for a fifth
    assert slow == pytest.approx(50, abs=2)
    assert slow + await passed(paced, time, 800 * MIB) == pytest.approx(95, abs=1)


async def test_what_must_be_sent_again_counts_as_left() -> None:
    time = Time()
    paced = meter(time, 100, 500 * MIB)
    first = await passed(paced, time, 250 * MIB)
    paced.give_back(250 * MIB)
    assert first + await passed(paced, time, 500 * MIB) == pytest.approx(95, abs=1)


async def test_late_it_goes_as_fast_as_the_bandwidth_lets_it() -> None:
    time = Time()
    paced = meter(time, 10, 1000 * MIB, bandwidth=10 * MIB)
    assert await passed(paced, time, 1000 * MIB) == pytest.approx(100, abs=1)
    fast = meter(time, 10, 1000 * MIB)
    time.now += 11
    assert await passed(fast, time, 1000 * MIB) == 0


async def test_it_never_crawls() -> None:
    time = Time()
    paced = meter(time, 86400, 60 * FLOOR)
    assert await passed(paced, time, 60 * FLOOR) == pytest.approx(60, abs=1)


async def test_more_than_was_told_is_not_held_up() -> None:
    time = Time()
    paced = meter(time, 100, 10 * MIB)
    await passed(paced, time, 10 * MIB)
    assert await passed(paced, time, 100 * MIB) < 1


def test_pieces_suit_the_slowest_limit() -> None:
    time = Time()
    assert meter(time, 100, 1000 * MIB, bandwidth=4 * MIB).piece == MIB
    assert meter(time, 1000, 1000 * MIB, bandwidth=400 * MIB).piece < MIB
    assert Meter(TokenBucket(), None, lambda _: None).piece == 0


def test_the_node_goes_as_slow_as_the_slowest_of_those_who_transfer() -> None:
    node = NodeRate()
    fast, slow, free = User(), User(), User(5)
    node.join(free, 0)
    assert node.bucket.rate == 0
    node.join(fast, 200)
    node.join(slow, 100)
    assert (node.bucket.rate, node.slots) == (100, 21)
    node.leave(slow)
    assert node.bucket.rate == 200
    node.leave(fast)
    assert node.bucket.rate == 0
    node.leave(free)
    assert (node.bucket.rate, node.slots) == (0, 0)


async def test_stopping_between_two_files_wins_no_burst() -> None:
    time = Time()
    node = NodeRate()
    node.bucket = TokenBucket(clock=time, sleep=time.sleep)
    user = User()
    for _ in range(100):
        node.join(user, 100_000)
        await node.bucket.take(10_000)
        node.leave(user)
    assert time.now - 100 == pytest.approx(10, abs=0.3)


async def test_one_process_is_one_node() -> None:
    assert node_rate(Direction.SEND) is node_rate(Direction.SEND)
    assert node_rate(Direction.SEND) is not node_rate(Direction.RECEIVE)
