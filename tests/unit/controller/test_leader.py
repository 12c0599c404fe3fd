from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import Any

import pytest

from controller.builtin import LEASES
from controller.errors import ConnectionFailed, NotLeading, ServerError
from controller.leader import LeaderElector
from controller.resource import Key
from tests.fakes.client import FakeClient
from tests.fakes.clock import FakeClock, settle

LEASE = Key("ns", "operator")


class Work:
    """Runs until cancelled and notes when."""

    def __init__(self, clock: FakeClock, *, slow_end: float = 0.0, deaf: bool = False) -> None:
        self.clock = clock
        self.slow_end = slow_end
        self.deaf = deaf
        self.started: float | None = None
        self.ended: float | None = None
        self.result: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def __call__(self) -> None:
        self.started = self.clock.monotonic()
        try:
            while True:
                try:
                    return await asyncio.shield(self.result)
                except asyncio.CancelledError:
                    if self.slow_end:
                        await self.clock.sleep(self.slow_end)
                    if not self.deaf:
                        raise
        finally:
            self.ended = self.clock.monotonic()


class World:
    """One API server, one clock, as many electors as a test wants."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.client = FakeClient()
        self.down = False
        self.hangs = False
        self.abandoned: list[float] = []
        self.tasks: list[asyncio.Task[bool]] = []
        self.works: list[Work] = []

        async def fail(*_: Any) -> None:
            if self.down:
                raise ConnectionFailed("refused")
            if self.hangs:
                await asyncio.Event().wait()

        self.client.intercept = fail

    def elector(self, name: str, client: FakeClient | None = None) -> LeaderElector:
        return LeaderElector(
            client or self.client,  # type: ignore[arg-type]
            LEASE,
            name,
            clock=self.clock,
            rng=random.Random(1),
            abandon=lambda: self.abandoned.append(self.clock.monotonic()),
        )

    async def start(self, elector: LeaderElector, work: Work) -> asyncio.Task[bool]:
        task = asyncio.create_task(elector.run(work))
        self.tasks.append(task)
        self.works.append(work)
        await settle()
        return task

    @property
    def spec(self) -> dict[str, Any]:
        return self.client.objects[LEASES, LEASE]["spec"]  # type: ignore[no-any-return]


@pytest.fixture
async def world() -> Any:
    world = World()
    yield world
    world.down = world.hangs = False
    for work in world.works:
        work.deaf = False
    for task in world.tasks:
        task.cancel()
    for _ in range(3):
        await world.clock.advance(30)
    for task in world.tasks:
        with suppress(asyncio.CancelledError, Exception):
            await task


async def test_the_first_leads_and_renews(world: World) -> None:
    elector, work = world.elector("a"), Work(world.clock)
    await world.start(elector, work)
    assert work.started == 0
    elector.check()
    first = world.spec["renewTime"]
    await world.clock.advance(100)
    assert work.ended is None
    elector.check()
    assert world.spec["renewTime"] > first
    assert world.spec["acquireTime"] == first
    assert (world.spec["holderIdentity"], world.spec["leaseTransitions"]) == ("a", 0)


async def test_the_second_waits_and_takes_over_only_after_the_lease_duration_it_saw_itself(world: World) -> None:
    world.client.objects[LEASES, LEASE] = {
        "metadata": {"resourceVersion": "1", "uid": "u"},
        # a dead holder with a clock far ahead, and one with a clock far behind, are the same to us
        "spec": {"holderIdentity": "dead", "renewTime": "2099-01-01T00:00:00.000000Z", "leaseDurationSeconds": 15},
    }
    work = Work(world.clock)
    await world.start(world.elector("b"), work)
    await world.clock.advance(14.9)
    assert work.started is None
    await world.clock.advance(3)
    assert work.started is not None
    assert (world.spec["holderIdentity"], world.spec["leaseTransitions"]) == ("b", 1)


async def test_a_holder_that_renews_keeps_others_out(world: World) -> None:
    a, b = Work(world.clock), Work(world.clock)
    await world.start(world.elector("a"), a)
    await world.start(world.elector("b"), b)
    await world.clock.advance(300)
    assert (a.ended, b.started) == (None, None)


@pytest.mark.parametrize("trouble", ["down", "hangs"])
async def test_a_lost_lease_ends_the_work_before_another_may_begin(world: World, trouble: str) -> None:
    """The holder is cut off from the API server, the other is not."""
    near, far = world.elector("a"), World()
    far.client.objects, far.client._versions, far.clock = world.client.objects, world.client._versions, world.clock
    a, b = Work(world.clock, slow_end=2.0), Work(world.clock)
    lost = await world.start(near, a)
    await world.clock.advance(5)
    setattr(world, trouble, True)
    world.tasks.append(asyncio.create_task(far.elector("b").run(b)))
    await world.clock.advance(60)
    assert lost.done()
    assert lost.result() is False
    assert a.ended is not None
    assert b.started is not None
    assert a.ended < b.started
    assert world.abandoned == []
    with pytest.raises(NotLeading):
        near.check()


async def test_a_process_that_stood_still_may_not_write(world: World) -> None:
    """Stopped for a while: no timer has run, no task was cancelled yet, and still no write goes out."""
    elector, work = world.elector("a"), Work(world.clock)
    await world.start(elector, work)
    world.clock.jump(10.1)
    assert work.ended is None
    with pytest.raises(NotLeading):
        elector.check()
    assert elector.healthy
    world.clock.jump(5)
    assert not elector.healthy


async def test_work_that_will_not_end_ends_the_process(world: World) -> None:
    elector, work = world.elector("a"), Work(world.clock, deaf=True)
    lost = await world.start(elector, work)
    world.down = True
    await world.clock.advance(14.9)
    assert world.abandoned == []
    await world.clock.advance(0.2)
    assert world.abandoned == [15.0]
    work.result.set_result(None)
    await settle()
    assert lost.done()


async def test_a_short_outage_costs_nothing(world: World) -> None:
    work = Work(world.clock)
    await world.start(world.elector("a"), work)
    world.down = True
    await world.clock.advance(7)
    world.down = False
    await world.clock.advance(60)
    assert work.ended is None


async def test_one_request_that_hangs_does_not_lose_the_lease(world: World) -> None:
    work = Work(world.clock)
    await world.start(world.elector("a"), work)
    world.hangs = True
    await world.clock.advance(3)  # one renewal hangs
    world.hangs = False
    await world.clock.advance(60)
    assert work.ended is None


async def test_a_renewal_whose_answer_was_lost_is_found_again(world: World) -> None:
    """It changed the resourceVersion: the next write conflicts, a look shows that the Lease is ours still."""
    work = Work(world.clock)
    await world.start(world.elector("a"), work)
    lost = 0

    async def lose(verb: str, *_: Any) -> None:
        nonlocal lost
        if verb == "patch" and lost < 1:
            lost += 1
            raise ServerError("gateway", status=502)

    world.client.after = lose
    await world.clock.advance(60)
    assert lost == 1
    assert work.ended is None


async def test_the_lease_is_held_from_before_its_renewal_was_sent(world: World) -> None:
    """Others may have seen it at that moment, however late the answer came."""
    work = Work(world.clock)
    await world.start(world.elector("a"), work)
    answered: list[float] = []

    async def slow(verb: str, *_: Any) -> None:
        if verb == "patch" and not answered:
            await world.clock.sleep(4)
            answered.append(world.clock.monotonic())
            world.down = True

    world.client.after = slow
    await world.clock.advance(60)
    assert answered == [6]
    assert work.ended == 2 + 10


async def test_another_holder_ends_it_at_once(world: World) -> None:
    work = Work(world.clock)
    lost = await world.start(world.elector("a"), work)
    world.client.objects[LEASES, LEASE] = {
        "metadata": {"resourceVersion": "999", "uid": "u"},
        "spec": {"holderIdentity": "b", "renewTime": "2026-01-01T00:00:00.000000Z", "leaseDurationSeconds": 15},
    }
    await world.clock.advance(2.1)
    assert lost.done()
    assert work.ended == pytest.approx(2)
    assert world.spec["holderIdentity"] == "b"


async def test_a_crash_of_the_work_releases_the_lease(world: World) -> None:
    a, b = Work(world.clock), Work(world.clock)
    task = await world.start(world.elector("a"), a)
    await world.start(world.elector("b"), b)
    a.result.set_exception(RuntimeError("a defect"))
    await settle()
    with pytest.raises(RuntimeError, match="a defect"):
        task.result()
    assert world.spec["holderIdentity"] == ""
    await world.clock.advance(3)
    assert b.started is not None


async def test_a_clean_exit_releases_the_lease_after_the_work_has_ended(world: World) -> None:
    work = Work(world.clock, slow_end=12)
    task = await world.start(world.elector("a"), work)
    task.cancel()
    await world.clock.advance(11.9)
    assert world.spec["holderIdentity"] == "a"
    assert world.spec["renewTime"] >= "2026-01-01T00:00:10"  # renewed while the work ends
    assert work.ended is None
    await world.clock.advance(0.2)
    assert task.cancelled()
    assert world.spec["holderIdentity"] == ""


async def test_a_deleted_lease_is_made_again(world: World) -> None:
    work = Work(world.clock)
    await world.start(world.elector("a"), work)
    del world.client.objects[LEASES, LEASE]
    await world.clock.advance(10)
    assert work.ended is None
    assert world.spec["holderIdentity"] == "a"


async def test_of_two_that_create_the_lease_one_leads(world: World) -> None:
    works = [Work(world.clock) for _ in range(3)]
    for i, work in enumerate(works):
        await world.start(world.elector(str(i)), work)
    assert sum(work.started is not None for work in works) == 1


def test_settings_that_would_let_two_lead_are_refused() -> None:
    for lease_duration, renew_deadline, retry_period in ((10, 10, 2), (15, 2, 2), (15, 10, 0)):
        with pytest.raises(ValueError, match="lease_duration"):
            LeaderElector(
                FakeClient(),  # type: ignore[arg-type]
                LEASE,
                "a",
                lease_duration=lease_duration,
                renew_deadline=renew_deadline,
                retry_period=retry_period,
            )
