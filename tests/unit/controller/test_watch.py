"""``step`` by table, ``watch`` by script."""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any

import pytest

from controller.builtin import CONFIGMAPS
from controller.errors import ConnectionFailed, Forbidden, Gone, ServerError, Timeout, TooManyRequests
from controller.lines import LineTooLong
from controller.objects import decode_raw
from controller.resource import Key
from controller.watch import (
    Apply,
    Bookmark,
    Broken,
    Changed,
    Delete,
    Ended,
    Failed,
    Init,
    InitApply,
    InitDone,
    Listed,
    PageEnd,
    Phase,
    Removed,
    Started,
    Undecoded,
    WatchState,
    step,
    watch,
)
from tests.fakes.clock import FakeClock
from tests.fakes.watches import ScriptedClient, line, obj, page

A = Key("ns", "a")
THING = decode_raw(b'{"metadata":{"name":"a","namespace":"ns","resourceVersion":"7"}}')

EMPTY = WatchState()
LISTING = WatchState(Phase.LISTING, token="t")
WATCHING = WatchState(Phase.WATCHING, "5")
BUSY = replace(WATCHING, brought=True)
TIRED = replace(WATCHING, failures=3)


def throttled(after: float | None) -> Failed:
    return Failed(TooManyRequests("slow down", status=429, retry_after=after))


@pytest.mark.parametrize(
    ("state", "got", "event", "after", "delay"),
    [
        # listing
        (EMPTY, Started(), Init(), WatchState(Phase.LISTING), 0),
        (LISTING, Listed(THING), InitApply(THING), LISTING, 0),
        (LISTING, Undecoded(A), Broken(A), LISTING, 0),
        (LISTING, PageEnd("u", "5"), None, replace(LISTING, token="u"), 0),
        (LISTING, PageEnd("", "5"), InitDone(), WATCHING, 0),
        # news
        (TIRED, Changed(THING, "7"), Apply(THING), WatchState(Phase.WATCHING, "7", brought=True), 0),
        (TIRED, Removed(A, "8"), Delete(A), WatchState(Phase.WATCHING, "8", brought=True), 0),
        (WATCHING, Undecoded(A, "9"), Broken(A), WatchState(Phase.WATCHING, "9", brought=True), 0),
        (TIRED, Bookmark("9"), None, WatchState(Phase.WATCHING, "9"), 0),
        # the end of a stream: resume at the last resourceVersion
        (BUSY, Ended(0.1), None, WATCHING, 0),
        (TIRED, Ended(300), None, WATCHING, 0),
        # an empty watch under one second counts as failed
        (WATCHING, Ended(0.9), None, replace(WATCHING, failures=1), 0.8),
        (TIRED, Ended(0.9), None, replace(WATCHING, failures=4), 6.4),
        # network errors: resume with backoff
        (BUSY, Failed(ConnectionFailed("reset")), None, replace(WATCHING, failures=1), 0.8),
        (TIRED, Failed(Timeout("silent")), None, replace(WATCHING, failures=4), 6.4),
        (replace(WATCHING, failures=40), Failed(Timeout("silent")), None, replace(WATCHING, failures=41), 30),
        (LISTING, Failed(ConnectionFailed("reset")), None, replace(LISTING, failures=1), 0.8),
        # 429: honour Retry-After and resume, however often
        (WATCHING, throttled(7), None, replace(WATCHING, failures=1), 7),
        (WATCHING, throttled(None), None, replace(WATCHING, failures=1), 0.8),
        (replace(WATCHING, failures=20), throttled(1), None, replace(WATCHING, failures=21), 30),
        # 410: list again, at once the first time
        (WATCHING, Failed(Gone("old", status=410)), None, WatchState(failures=1), 0),
        (TIRED, Failed(Gone("old", status=410)), None, WatchState(failures=4), 3.2),
        (LISTING, Failed(Gone("old token", status=410)), None, WatchState(failures=1), 0),
        (WATCHING, Failed(LineTooLong("40 MiB")), None, WatchState(failures=1), 0),
        # a server that refuses this very watch again and again may want a new list
        (WATCHING, Failed(ServerError("no", status=500)), None, replace(WATCHING, failures=1), 0.8),
        (replace(WATCHING, failures=7), Failed(Forbidden("no", status=403)), None, WatchState(failures=8), 30),
    ],
)
def test_step(state: WatchState, got: Any, event: Any, after: WatchState, delay: float) -> None:
    found = step(state, got)
    assert (found.event, found.state) == (event, after)
    assert found.delay == pytest.approx(delay)


async def collect(client: ScriptedClient, clock: FakeClock, seconds: float = 1000.0) -> list[Any]:
    """Events until the script is used up and the watch hangs."""
    events: list[Any] = []

    async def follow() -> None:
        source = watch(client, CONFIGMAPS, decode_raw, clock=clock, rng=random.Random(1))  # type: ignore[arg-type]
        async with aclosing(source) as stream:
            async for event in stream:
                events.append(short(event))  # noqa: PERF401  it never ends

    task = asyncio.create_task(follow())
    await clock.advance(seconds)
    if task.done():
        task.result()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return events


def short(event: Any) -> str:
    match event:
        case InitApply(o) | Apply(o):
            return f"{type(event).__name__} {o.metadata.name}@{o.metadata.resource_version}"
        case Delete(key) | Broken(key):
            return f"{type(event).__name__} {key.name}"
    return type(event).__name__


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


async def test_pages_then_changes(clock: FakeClock) -> None:
    client = ScriptedClient(
        page(obj("a", 1), version=5, token="more"),
        page(obj("b", 2), version=5),
        [line("ADDED", obj("c", 6)), line("MODIFIED", obj("a", 7)), line("DELETED", obj("b", 8)), ...],
    )
    expected = ["Init", "InitApply a@1", "InitApply b@2", "InitDone", "Apply c@6", "Apply a@7", "Delete b"]
    assert await collect(client, clock) == expected
    assert client.requests == [("list", ""), ("list", "more"), ("watch", "5")]
    assert clock.slept == []


async def test_end_of_stream_resumes_at_the_last_resource_version(clock: FakeClock) -> None:
    client = ScriptedClient(
        page(version=5),
        [line("ADDED", obj("a", 6))],
        [line("BOOKMARK", obj("", 9)), 300.0],
        [ConnectionFailed("reset")],
        ServerError("busy", status=503),
    )
    client.clock = clock
    await collect(client, clock)
    assert client.requests == [("list", ""), *[("watch", v) for v in ("5", "6", "9", "9", "9")]]
    assert [round(s, 1) for s in clock.slept] == [pytest.approx(0.8, abs=0.9), pytest.approx(2.4, abs=0.9)]


@pytest.mark.parametrize(
    "gone",
    [
        Gone("too old", status=410),
        [line("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"})],
    ],
    ids=["as status", "as event"],
)
async def test_410_lists_again(clock: FakeClock, gone: Any) -> None:
    client = ScriptedClient(page(obj("a", 1), version=5), gone, page(obj("b", 7), version=9))
    assert await collect(client, clock) == ["Init", "InitApply a@1", "InitDone", "Init", "InitApply b@7", "InitDone"]
    assert client.requests == [("list", ""), ("watch", "5"), ("list", ""), ("watch", "9")]
    assert clock.slept == []


async def test_410_in_the_middle_of_a_list_starts_it_again(clock: FakeClock) -> None:
    client = ScriptedClient(page(obj("a", 1), version=5, token="t"), Gone("old token", status=410), page(version=9))
    assert await collect(client, clock) == ["Init", "InitApply a@1", "Init", "InitDone"]


async def test_410_for_ever_does_not_list_in_a_hot_loop(clock: FakeClock) -> None:
    script: list[Any] = []
    for i in range(40):
        script += [page(version=i), Gone("too old", status=410)]
    client = ScriptedClient(*script)
    await collect(client, clock, seconds=60)
    assert len(client.requests) < 20


async def test_429_honours_retry_after_and_resumes(clock: FakeClock) -> None:
    client = ScriptedClient(page(version=5), TooManyRequests("slow", status=429, retry_after=20))
    await collect(client, clock)
    assert client.requests == [("list", ""), ("watch", "5"), ("watch", "5")]
    assert len(clock.slept) == 1
    assert clock.slept[0] >= 20


async def test_instantly_ending_watches_do_not_spin(clock: FakeClock) -> None:
    client = ScriptedClient(page(version=5), *[[] for _ in range(100)])
    await collect(client, clock, seconds=60)
    assert len(client.requests) < 10


async def test_html_instead_of_json_is_a_failure_like_others(clock: FakeClock) -> None:
    client = ScriptedClient(page(version=5), [b"<html>503</html>"], [line("ADDED", obj("a", 6)), ...])
    assert await collect(client, clock) == ["Init", "InitDone", "Apply a@6"]
    assert client.requests[-1] == ("watch", "5")


async def test_an_object_that_cannot_be_decoded_hides_no_other(clock: FakeClock) -> None:
    bad = {**obj("bad", 2), "spec": 1}

    def decode(raw: bytes) -> Any:
        found = decode_raw(raw)
        if "spec" in found.body:
            raise ValueError("not understood")
        return found

    client = ScriptedClient(page(bad, obj("a", 1), version=5), [line("MODIFIED", {**bad, "x": 1}), ...])
    events = []
    async with aclosing(watch(client, CONFIGMAPS, decode, clock=clock)) as stream:  # type: ignore[arg-type]
        async for event in stream:
            events.append(short(event))
            if len(events) == 5:
                break
    assert events == ["Init", "Broken bad", "InitApply a@1", "InitDone", "Broken bad"]


async def test_a_watch_is_asked_for_five_to_ten_minutes(clock: FakeClock) -> None:
    client = ScriptedClient(page(version=5), *[[line("ADDED", obj("a", i))] for i in range(6, 30)])
    await collect(client, clock)
    assert min(client.timeouts) >= 300
    assert max(client.timeouts) <= 600
    assert len(set(client.timeouts)) > 10
