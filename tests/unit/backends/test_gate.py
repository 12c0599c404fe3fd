"""Whatever comes, goes and is cancelled: the bounds hold, nobody who fits waits, and everything is given back."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from backends.gate import Gate

SIZE = 10
STEP = st.one_of(
    st.tuples(st.just("come"), st.integers(0, 15)),
    st.tuples(st.just("leave"), st.integers(0, 20)),
    st.tuples(st.just("cancel"), st.integers(0, 20)),
    st.tuples(st.just("leave and cancel the next"), st.integers(0, 20)),
    st.tuples(st.just("entries"), st.integers(1, 5)),
)


class Visitor:
    def __init__(self, gate: Gate, size: int) -> None:
        self.size = min(size, SIZE)
        self.inside = False
        self.leaving = asyncio.Event()
        self.task = asyncio.create_task(self._visit(gate, size))

    async def _visit(self, gate: Gate, size: int) -> None:
        async with gate.entered(size):
            self.inside = True
            try:
                await self.leaving.wait()
            finally:
                self.inside = False


async def rest() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def end(what: str, chosen: Visitor, alive: list[Visitor]) -> None:
    if what == "cancel":
        chosen.task.cancel()
        return
    chosen.leaving.set()
    if what == "leave and cancel the next":
        # In one turn of the loop: the next may have been let in and be cancelled before it knows.
        await asyncio.sleep(0)
        for visitor in alive:
            if not visitor.inside and visitor is not chosen:
                visitor.task.cancel()
                break


def check(gate: Gate, visitors: list[Visitor], before: set[Visitor]) -> None:
    inside = [visitor for visitor in visitors if visitor.inside]
    assert gate.inside == len(inside)
    assert gate.held == sum(visitor.size for visitor in inside) <= SIZE
    if not {*inside} <= before:
        assert len(inside) <= gate.entries
    waiting = [visitor for visitor in visitors if not visitor.inside and not visitor.task.done()]
    assert gate.wanted == bool(waiting)
    if waiting:
        assert gate.inside >= gate.entries or gate.held + waiting[0].size > SIZE, "the first fits and waits"


async def play(steps: list[tuple[str, int]]) -> None:
    gate = Gate(2, SIZE)
    visitors: list[Visitor] = []
    for what, number in steps:
        before = {visitor for visitor in visitors if visitor.inside}
        if what == "come":
            visitors.append(Visitor(gate, number))
        elif what == "entries":
            gate.entries = number
        elif alive := [visitor for visitor in visitors if not visitor.task.done()]:
            await end(what, alive[number % len(alive)], alive)
        await rest()
        check(gate, visitors, before)
    for visitor in visitors:
        visitor.leaving.set()
    async with asyncio.timeout(10):
        await asyncio.gather(*(visitor.task for visitor in visitors), return_exceptions=True)
    assert (gate.inside, gate.held, gate.wanted) == (0, 0, False)


@settings(max_examples=200, deadline=None)
@given(st.lists(STEP, max_size=40))
def test_the_bounds_hold_and_no_wakeup_is_lost(steps: list[tuple[str, int]]) -> None:
    asyncio.run(play(steps))


async def test_who_wants_much_is_not_overtaken() -> None:
    gate = Gate(5, SIZE)
    order: list[int] = []

    async def visit(size: int) -> None:
        async with gate.entered(size):
            order.append(size)
            await rest()

    await asyncio.gather(*(visit(size) for size in (6, 9, 1, 2)))
    assert order == [6, 9, 1, 2]


async def test_what_is_larger_than_the_bound_goes_alone() -> None:
    gate = Gate(5, SIZE)
    async with gate.entered(1):
        large = Visitor(gate, 1000)
        await rest()
        assert not large.inside
    await rest()
    assert large.inside
    assert gate.held == SIZE
    large.leaving.set()
    await large.task
