"""The shell round a reconcile, and the workers."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from controller import metrics
from controller.backoff import Backoff
from controller.builtin import CONFIGMAPS
from controller.controller import Controller
from controller.errors import Conflict, ServerError, TerminalError
from controller.informer import Informer
from controller.objects import RawObject, raw_object
from controller.reconcile import Done, Outcome, RequeueAfter
from controller.resource import Key
from controller.triggers import to_self
from controller.watch import Apply, Init, InitDone
from tests.fakes.client import FakeClient
from tests.fakes.clock import FakeClock, settle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from controller.store import StoreWriter

A, B = Key("ns", "a"), Key("ns", "b")


class Scripted:
    """Answers with what the script says: an outcome, an exception, or an Event to wait for. Then Done."""

    def __init__(self, *script: Any) -> None:
        self.script = list(script)
        self.calls: list[Key] = []
        self.running = 0

    async def reconcile(self, key: Key) -> Outcome:
        self.calls.append(key)
        self.running += 1
        try:
            answer = self.script.pop(0) if self.script else Done()
            if isinstance(answer, asyncio.Event):
                await answer.wait()
                return Done()
            if isinstance(answer, Exception):
                raise answer
            assert isinstance(answer, Done | RequeueAfter)
            return answer
        finally:
            self.running -= 1


class _NoJitter(random.Random):
    def uniform(self, a: float, b: float) -> float:
        return b


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def make(clock: FakeClock) -> Callable[..., tuple[Controller, Scripted]]:
    def build(*script: Any, workers: int = 2) -> tuple[Controller, Scripted]:
        reconciler = Scripted(*script)
        backoff = Backoff(clock, rng=_NoJitter())
        return Controller("test", reconciler, clock=clock, workers=workers, timeout=60, backoff=backoff), reconciler

    return build


@asynccontextmanager
async def running(controller: Controller) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(controller.run())
    await settle()
    yield task
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def configmaps(clock: FakeClock) -> tuple[Informer[RawObject], StoreWriter[RawObject]]:
    informer: Informer[RawObject] = Informer(FakeClient(), CONFIGMAPS, lambda _: raw_object({}), clock=clock)  # type: ignore[arg-type]
    return informer, informer._writer


async def test_no_worker_starts_before_every_store_it_reads_is_ready(clock: FakeClock, make: Any) -> None:
    controller, reconciler = make()
    (first, first_writer), (second, second_writer) = configmaps(clock), configmaps(clock)
    controller.watches(first, to_self()).reads(second)
    controller.queue.add(A)
    async with running(controller):
        for writer in (first_writer, second_writer):
            assert reconciler.calls == []
            writer.apply(Init())
            writer.apply(InitDone())
            await settle()
        assert reconciler.calls == [A]


async def test_a_change_in_a_store_adds_the_keys_its_trigger_names(clock: FakeClock, make: Any) -> None:
    controller, reconciler = make()
    informer, writer = configmaps(clock)
    controller.watches(informer, to_self())
    obj = raw_object({"metadata": {"namespace": "ns", "name": "a"}})
    for event in (Init(), InitDone(), Apply(obj)):
        for change in writer.apply(event):
            for handler in informer._handlers:
                handler(*change)
    with capture_logs() as logs:
        async with running(controller):
            assert reconciler.calls == [A]
    line = next(entry for entry in logs if entry["event"] == "reconciled")
    assert line["outcome"] == "done"


async def test_a_key_is_never_reconciled_twice_at_once_and_exactly_once_more(make: Any) -> None:
    gate = asyncio.Event()
    controller, reconciler = make(gate, workers=4)
    controller.queue.add(A)
    async with running(controller):
        for _ in range(3):
            controller.queue.add(A)
        await settle()
        assert (reconciler.calls, reconciler.running) == ([A], 1)
        gate.set()
        await settle()
        assert reconciler.calls == [A, A]


async def test_requeue_after(clock: FakeClock, make: Any) -> None:
    controller, reconciler = make(RequeueAfter(30, "wait for a pod"))
    controller.queue.add(A)
    async with running(controller):
        await clock.advance(29)
        assert len(reconciler.calls) == 1
        await clock.advance(1)
        assert len(reconciler.calls) == 2


@pytest.mark.parametrize(
    "error", [RuntimeError("a defect"), ServerError("busy", status=500), Conflict("stale", status=409)]
)
async def test_a_key_that_raised_keeps_its_backoff_until_it_succeeds(
    clock: FakeClock, make: Any, error: Exception
) -> None:
    controller, reconciler = make(error, error, Done(), error)
    controller.queue.add(A)
    async with running(controller):
        times = [0.0]
        for _ in range(100):
            before = len(reconciler.calls)
            await clock.advance(0.25)
            times += [clock.monotonic()] * (len(reconciler.calls) - before)
        assert times == [0, 0.5, 1.5]
        assert controller.queue.failures(A) == 0
        controller.queue.add(A)
        await clock.advance(0.5)
        assert len(reconciler.calls) == 5  # the backoff began anew


async def test_a_terminal_error_is_not_tried_again_until_something_changes(clock: FakeClock, make: Any) -> None:
    controller, reconciler = make(TerminalError("no such class"))
    controller.queue.add(A)
    async with running(controller):
        await clock.advance(10_000)
        assert len(reconciler.calls) == 1
        controller.queue.add(A)
        await settle()
        assert len(reconciler.calls) == 2


async def test_a_reconcile_that_takes_too_long_is_cancelled_and_tried_again(clock: FakeClock, make: Any) -> None:
    controller, reconciler = make(asyncio.Event())
    controller.queue.add(A)
    with capture_logs() as logs:
        async with running(controller):
            await clock.advance(60)
            assert reconciler.running == 0
            await clock.advance(1)
            assert len(reconciler.calls) == 2
    assert [e["outcome"] for e in logs if "outcome" in e] == ["timeout", "done"]


async def test_a_cancelled_reconcile_leaves_its_key_dirty(make: Any) -> None:
    controller, reconciler = make(asyncio.Event())
    controller.queue.add(A)
    async with running(controller):
        assert reconciler.running == 1
        assert A not in controller.queue
    assert reconciler.running == 0
    assert A in controller.queue
    assert controller.statistics().processing == 0


async def test_one_bad_key_does_not_hold_up_others(make: Any) -> None:
    controller, reconciler = make(asyncio.Event(), workers=2)
    controller.queue.add(A)
    controller.queue.add(B)
    async with running(controller):
        assert reconciler.calls == [A, B]


async def test_stop_lets_the_reconcile_under_way_end_and_starts_no_other(make: Any) -> None:
    gate = asyncio.Event()
    controller, reconciler = make(gate, workers=1)
    controller.queue.add(A)
    controller.queue.add(B)
    async with running(controller) as task:
        stopping = asyncio.create_task(controller.stop())
        await settle()
        assert not stopping.done()
        gate.set()
        await stopping
        await task
    assert reconciler.calls == [A]


async def test_one_line_and_one_count_a_reconcile(make: Any) -> None:
    def count() -> float:
        return float(metrics.RECONCILES.labels("test", "error")._value.get())

    before = count()
    controller, _ = make(RuntimeError("a defect"))
    controller.queue.add(A, reason="Pod changed")
    with capture_logs() as logs:
        async with running(controller):
            pass
    [line] = [e for e in logs if "outcome" in e]
    assert (line["event"], line["outcome"], line["error"], line["retry_seconds"]) == (
        "reconcile failed",
        "error",
        "a defect",
        0.5,
    )
    assert count() == before + 1
