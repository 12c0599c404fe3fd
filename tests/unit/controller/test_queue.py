"""Each rule of the queue, one test."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from controller.backoff import Backoff
from controller.queue import QueueClosed, WorkQueue
from controller.resource import Key
from tests.fakes.clock import FakeClock, settle

A, B, C = Key("ns", "a"), Key("ns", "b"), Key("ns", "c")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def queue(clock: FakeClock) -> WorkQueue:
    return WorkQueue(clock, Backoff(clock, rng=_NoJitter()), name="test")


class _NoJitter(random.Random):
    def uniform(self, a: float, b: float) -> float:
        return b


async def take(queue: WorkQueue) -> Key | None:
    """A key that is due now, or None."""
    getter = asyncio.create_task(queue.get())
    await settle()
    if getter.done():
        return getter.result()
    getter.cancel()
    await settle()
    return None


async def test_keys_come_out_in_the_order_they_became_due(queue: WorkQueue, clock: FakeClock) -> None:
    queue.add(A, after=2)
    queue.add(B)
    queue.add(C, after=1)
    await clock.advance(3)
    assert [await take(queue), await take(queue), await take(queue)] == [B, C, A]


async def test_a_key_added_many_times_comes_out_once(queue: WorkQueue) -> None:
    for _ in range(5):
        queue.add(A)
    assert await take(queue) == A
    queue.done(A)
    assert await take(queue) is None


async def test_a_key_is_never_with_two_workers(queue: WorkQueue) -> None:
    queue.add(A)
    assert await take(queue) == A
    queue.add(A)
    assert await take(queue) is None


async def test_added_while_in_work_it_runs_exactly_once_more(queue: WorkQueue) -> None:
    queue.add(A)
    assert await take(queue) == A
    for _ in range(3):
        queue.add(A)
    queue.done(A)
    assert await take(queue) == A
    queue.done(A)
    assert await take(queue) is None


@pytest.mark.parametrize(("first", "second"), [(5.0, 1.0), (1.0, 5.0)])
async def test_the_earlier_of_two_delays_wins(queue: WorkQueue, clock: FakeClock, first: float, second: float) -> None:
    queue.add(A, after=first)
    queue.add(A, after=second)
    await clock.advance(0.9)
    assert await take(queue) is None
    await clock.advance(0.1)
    assert await take(queue) == A
    queue.done(A)
    await clock.advance(10)
    assert await take(queue) is None


async def test_an_immediate_add_takes_the_place_of_a_delayed_one(queue: WorkQueue, clock: FakeClock) -> None:
    queue.add(A, after=60)
    queue.add(A)
    assert await take(queue) == A
    queue.done(A)
    await clock.advance(120)
    assert await take(queue) is None


async def test_a_delay_added_in_work_counts_from_the_add(queue: WorkQueue, clock: FakeClock) -> None:
    queue.add(A)
    assert await take(queue) == A
    queue.add(A, after=10)
    await clock.advance(4)
    queue.done(A)
    await clock.advance(5.9)
    assert await take(queue) is None
    await clock.advance(0.1)
    assert await take(queue) == A


async def test_a_waiting_getter_is_woken_by_add_and_by_time(queue: WorkQueue, clock: FakeClock) -> None:
    getters = [asyncio.create_task(queue.get()) for _ in range(2)]
    await settle()
    queue.add(A)
    queue.add(B, after=3)
    await settle()
    assert [g.done() for g in getters] == [True, False]
    await clock.advance(3)
    assert {g.result() for g in getters} == {A, B}


async def test_the_backoff_grows_until_the_key_is_forgotten(queue: WorkQueue, clock: FakeClock) -> None:
    delays = [queue.retry(A) for _ in range(4)]
    assert delays == [0.5, 1.0, 2.0, 4.0]
    queue.add(A)  # an event in between may come at once, but ends no backoff
    assert await take(queue) == A
    assert queue.retry(A) == 8.0
    queue.forget(A)
    assert queue.retry(A) == 0.5


async def test_many_failing_keys_share_one_bucket(clock: FakeClock) -> None:
    queue = WorkQueue(clock, name="test")
    delays = [queue.retry(Key("ns", str(i))) for i in range(200)]
    assert max(delays[:100]) <= 0.5
    assert delays[-1] == pytest.approx(10.0, abs=0.2)


async def test_a_cancelled_get_loses_no_key(queue: WorkQueue) -> None:
    getter = asyncio.create_task(queue.get())
    await settle()
    queue.add(A)  # the key is handed over, the task has not run yet
    getter.cancel()
    await settle()
    assert getter.cancelled()
    assert await take(queue) == A


async def test_shutdown_waits_for_the_work_and_gives_no_more(queue: WorkQueue) -> None:
    queue.add(A)
    queue.add(B)
    assert await take(queue) == A
    down = asyncio.create_task(queue.shutdown())
    await settle()
    assert not down.done()
    with pytest.raises(QueueClosed):
        await queue.get()
    queue.done(A)
    await down


async def test_shutdown_with_drain_gives_what_is_due_also_what_was_added_in_work(
    queue: WorkQueue, clock: FakeClock
) -> None:
    queue.add(A)
    queue.add(B)
    queue.add(C, after=60)
    assert await take(queue) == A
    queue.add(A)
    down = asyncio.create_task(queue.shutdown(drain=True))
    await settle()
    queue.done(A)
    assert [await take(queue), await take(queue)] == [B, A]
    queue.done(B)
    assert not down.done()
    queue.done(A)
    await down
    with pytest.raises(QueueClosed):
        await queue.get()


async def test_shutdown_wakes_those_who_wait(queue: WorkQueue) -> None:
    getter = asyncio.create_task(queue.get())
    await settle()
    await queue.shutdown()
    with pytest.raises(QueueClosed):
        await getter


async def test_the_reason_is_that_of_the_add_that_counts(queue: WorkQueue, clock: FakeClock) -> None:
    queue.add(A, after=5, reason="later")
    queue.add(A, reason="now")
    assert await take(queue) == A
    assert queue.reason(A) == "now"


async def test_statistics(queue: WorkQueue) -> None:
    queue.add(A)
    queue.add(B, after=5)
    queue.add(C)
    await take(queue)
    queue.retry(A)
    assert queue.statistics() == (1, 2, 1, 1, 4)


async def test_random_histories_keep_the_promises() -> None:
    """Workers, adds, failures and cancellations at random: no key twice at once, none that was added is left."""
    for seed in range(30):
        await _random_history(random.Random(seed))


async def _random_history(rng: random.Random) -> None:
    clock = FakeClock()
    queue = WorkQueue(clock, Backoff(clock, rng=rng), name="test")
    keys = [Key("ns", str(i)) for i in range(6)]
    running: Counter[Key] = Counter()
    seen: dict[Key, int] = {}  # the version of each key that its last finished run saw at its start
    version: Counter[Key] = Counter()

    async def worker() -> None:
        while True:
            try:
                key = await queue.get()
            except QueueClosed:
                return
            try:
                running[key] += 1
                assert running[key] == 1
                at = version[key]
                await clock.sleep(rng.choice([0, 0.1, 1]))
                if rng.random() < 0.3:
                    queue.retry(key)
                else:
                    queue.forget(key)
                    seen[key] = at
            except asyncio.CancelledError:
                queue.add(key)
                raise
            finally:
                running[key] -= 1
                queue.done(key)

    workers = [asyncio.create_task(worker()) for _ in range(3)]
    for _ in range(60):
        key = rng.choice(keys)
        version[key] += 1
        queue.add(key, after=rng.choice([0, 0, 0.5]))
        if rng.random() < 0.1:
            i = rng.randrange(3)
            workers[i].cancel()
            await asyncio.gather(workers[i], return_exceptions=True)
            workers[i] = asyncio.create_task(worker())
        await clock.advance(rng.choice([0, 0.05, 0.3]))
    await clock.advance(3000)
    assert seen == dict(version)
    await queue.shutdown()
    await asyncio.gather(*workers)
