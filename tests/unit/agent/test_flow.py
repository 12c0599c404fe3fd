from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from agent import flow as flow_module
from agent.bandwidth import Direction
from agent.flow import MOST, START, STREAMED, Flow, MeteredBody, each
from backends.base import BytesBody
from backends.checksums import crc32c
from backends.errors import Kind
from backends.memory import MemoryStore
from backends.observe import ObserveStore, Statistics
from backends.retry import Policy, RetryStore
from tests.fakes.clock import Time
from tests.fakes.faulty_store import Fault, FaultyStore
from tests.fakes.faulty_store import error as store_error
from tests.unit.agent.conftest import until

if TYPE_CHECKING:
    from pathlib import Path


class Busy:
    """A flow whose slots are all in use and wanted."""

    def __init__(self, flow: Flow, time: Time) -> None:
        self.flow, self.time = flow, time

    async def interval(self, rate: float, seconds: float = 5.0) -> int:
        """``rate`` bytes a second pass for five seconds; the slots afterwards."""
        async with asyncio.TaskGroup() as group:
            release = asyncio.Event()
            tasks = [group.create_task(self._hold(release)) for _ in range(self.flow.most + 1)]
            await asyncio.sleep(0)
            self.time.now += seconds
            await self.flow.bucket.take(int(rate * seconds))
            release.set()
        assert all(task.done() for task in tasks)
        return self.flow.slots

    async def _hold(self, release: asyncio.Event) -> None:
        async with self.flow.slot(1):
            await release.wait()


async def test_slots_grow_while_that_makes_it_faster() -> None:
    time = Time()
    busy = Busy(Flow(MOST, clock=time), time)
    assert busy.flow.slots == START
    assert [await busy.interval(slots * 10e6) for slots in range(8, 12)] == [9, 10, 11, 12]


async def test_slots_stay_where_one_more_brings_nothing() -> None:
    time = Time()
    busy = Busy(Flow(MOST, clock=time), time)
    assert [await busy.interval(100e6) for _ in range(6)] == [9] * 6
    found = [await busy.interval(100e6) for _ in range(7)]
    assert found[-1] == 10, "now and then one more is tried: the store may have changed"


async def test_slots_that_nobody_waits_for_do_not_grow() -> None:
    time = Time()
    flow = Flow(MOST, clock=time)
    for step in range(1, 6):
        async with flow.slot(1):
            time.now += 5
            await flow.bucket.take(step * 1_000_000_000)
    assert flow.slots == START


async def test_an_interval_is_five_seconds() -> None:
    time = Time()
    busy = Busy(Flow(MOST, clock=time), time)
    assert await busy.interval(100e6, 4.9) == START
    assert await busy.interval(100e6, 0.1) == START + 1


@pytest.mark.parametrize(("asked", "first", "most"), [(0, 8, 32), (3, 3, 3), (64, 8, 64)])
async def test_a_number_given_is_the_most_there_will_be(asked: int, first: int, most: int) -> None:
    flow = Flow.of(asked, 0)
    assert (flow.slots, flow.most) == (first, most)
    time = Time()
    busy = Busy(Flow(asked or MOST, clock=time), time)
    for step in range(1, most + 3):
        await busy.interval(1e6 * 2**step)
    assert busy.flow.slots == most


async def test_trouble_halves_the_slots_once_for_all_that_fails_together() -> None:
    time = Time()
    flow = Flow(MOST, clock=time)
    for _ in range(8):
        flow.trouble()
    assert flow.slots == 4
    found = []
    for _ in range(4):
        time.now += 1.01
        flow.trouble()
        found.append(flow.slots)
    assert found == [2, 1, 1, 1]


async def test_after_trouble_the_slots_grow_again_from_there() -> None:
    time = Time()
    busy = Busy(Flow(MOST, clock=time), time)
    await busy.interval(100e6)
    busy.flow.trouble()
    time.now += 4
    assert busy.flow.slots == 4
    assert await busy.interval(50e6, 0.9) == 4, "five seconds without trouble come first"
    assert await busy.interval(50e6) == 5


@pytest.mark.parametrize(
    ("kind", "slots"),
    [(Kind.THROTTLED, 4), (Kind.UNAVAILABLE, 4), (Kind.TIMEOUT, 4), (Kind.CORRUPT, 8), (Kind.NOT_FOUND, 8)],
)
async def test_a_flow_hears_of_its_own_requests_and_of_no_others(kind: Kind, slots: int) -> None:
    """Below the retries, so that a request which went well in the end counts too."""

    async def at_once(_: float) -> None: ...

    faulty = FaultyStore(MemoryStore())
    faulty.fail("put", Fault(store_error(kind, retryable=True)))
    store = RetryStore(ObserveStore(faulty, Statistics(on_error=flow_module.failed)), Policy(sleep=at_once))
    mine, other = Flow.of(0, 0), Flow.of(0, 0)
    async with other.slot(1):
        pass
    async with mine.slot(1):
        await store.put("key", BytesBody(b"x"))
    assert (mine.slots, other.slots) == (slots, START)
    faulty.fail("put", Fault(store_error(Kind.THROTTLED)))
    await store.put("key", BytesBody(b"x"))
    assert (mine.slots, other.slots) == (slots, START), "no transfer: nobody's slots"


async def test_bytes_in_flight_are_bounded() -> None:
    flow = Flow(3, in_flight=100)
    held: list[int] = []
    release = asyncio.Event()

    async def use(size: int) -> None:
        async with flow.slot(size, whole=True):
            held.append(size)
            await release.wait()

    tasks = [asyncio.create_task(use(size)) for size in (60, 30, 40, 10)]
    await until(lambda: len(held) == 2)
    await asyncio.sleep(0)
    assert held == [60, 30]
    release.set()
    await asyncio.gather(*tasks)
    assert sorted(held) == [10, 30, 40, 60]


async def test_what_is_streamed_holds_its_buffers_only() -> None:
    flow = Flow(3, start=3, in_flight=2 * STREAMED)
    async with asyncio.timeout(10), flow.slot(100 * STREAMED), flow.slot(100 * STREAMED):
        waiting = asyncio.create_task(flow.slot(STREAMED).__aenter__())
        await asyncio.sleep(0)
        assert not waiting.done()
        waiting.cancel()


@pytest.mark.slow
async def test_operations_at_once_share_the_nodes_bandwidth() -> None:
    """Two backups get the rate of one, in all; a restore beside them is another direction."""
    loop = asyncio.get_running_loop()
    rate = 40 << 20

    async def transfer(flow: Flow, size: int) -> float:
        async with flow.slot(size):
            await flow.bucket.take(size)
        return loop.time()

    started = loop.time()
    sends = [Flow.of(4, rate), Flow.of(4, 2 * rate)]
    receive = Flow.of(4, 0, direction=Direction.RECEIVE)
    async with sends[0].slot(1):
        ends = await asyncio.gather(*(transfer(flow, rate // 4) for flow in sends), transfer(receive, 100 * rate))
    assert max(ends[:2]) - started == pytest.approx(0.5, abs=0.12)
    assert ends[2] - started < 0.1


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
    flow = Flow(1)
    body = MeteredBody(path, 100, 800, crc32c(b"x" * 800), bucket=flow.bucket, count=counted.append)
    for _ in range(2):
        assert b"".join([chunk async for chunk in body.chunks()]) == b"x" * 800
    assert sum(counted) == flow._moved == 800
