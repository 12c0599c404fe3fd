from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from controller.builtin import CONFIGMAPS, EVENTS
from controller.errors import ServerError
from controller.objects import raw_object
from controller.recorder import MAX_MESSAGE, MAX_PENDING, Recorder
from tests.fakes.client import FakeClient
from tests.fakes.clock import FakeClock, settle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

THING = raw_object({"metadata": {"namespace": "ns", "name": "a", "uid": "u"}})


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def client() -> FakeClient:
    return FakeClient()


@pytest.fixture
def recorder(client: FakeClient, clock: FakeClock) -> Recorder:
    return Recorder(client, "operator", clock)  # type: ignore[arg-type]


@asynccontextmanager
async def running(recorder: Recorder) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(recorder.run())
    await settle()
    yield task
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def events(client: FakeClient) -> list[dict[str, Any]]:
    return [body for (resource, _), body in client.objects.items() if resource == EVENTS]


async def test_an_event_names_its_object_and_reason(client: FakeClient, recorder: Recorder) -> None:
    async with running(recorder):
        recorder.event(CONFIGMAPS, THING, "Warning", "NameTaken", "the name is taken")
        await settle()
    [event] = events(client)
    assert event["involvedObject"] == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "namespace": "ns",
        "name": "a",
        "uid": "u",
    }
    assert (event["type"], event["reason"], event["message"], event["count"]) == (
        "Warning",
        "NameTaken",
        "the name is taken",
        1,
    )


async def test_the_same_event_raises_a_count(client: FakeClient, recorder: Recorder, clock: FakeClock) -> None:
    async with running(recorder):
        for _ in range(3):
            recorder.event(CONFIGMAPS, THING, "Normal", "Queued", "waits")
        await settle()
        await clock.advance(60)
        recorder.event(CONFIGMAPS, THING, "Normal", "Queued", "waits")
        recorder.event(CONFIGMAPS, THING, "Normal", "Queued", "waits for another")
        await settle()
    first, second = events(client)
    assert (first["count"], first["firstTimestamp"], first["lastTimestamp"]) == (
        4,
        "2026-01-01T00:00:00Z",
        "2026-01-01T00:01:00Z",
    )
    assert (second["count"], second["message"]) == (1, "waits for another")


async def test_an_event_that_expired_is_made_again(client: FakeClient, recorder: Recorder, clock: FakeClock) -> None:
    async with running(recorder):
        recorder.event(CONFIGMAPS, THING, "Normal", "Queued", "waits")
        await settle()
        client.objects.clear()
        await clock.advance(7200)
        recorder.event(CONFIGMAPS, THING, "Normal", "Queued", "waits")
        await settle()
    assert [e["count"] for e in events(client)] == [1]


async def test_it_neither_blocks_nor_raises(client: FakeClient, recorder: Recorder, clock: FakeClock) -> None:
    for i in range(MAX_PENDING + 10):  # nothing runs yet: a full queue drops
        recorder.event(CONFIGMAPS, THING, "Normal", "Queued", f"{i}")
    recorder.event(CONFIGMAPS, None, "Normal", "Queued", "no object")  # type: ignore[arg-type]
    recorder.event(CONFIGMAPS, THING, "Normal", "Long", "ä" * 5000)

    async def hang(*_: Any) -> None:
        await asyncio.Event().wait()

    async def fail(*_: Any) -> None:
        raise ServerError("busy", status=503)

    async with running(recorder) as task:
        client.intercept = hang
        recorder.event(CONFIGMAPS, THING, "Normal", "Queued", "hangs")
        await clock.advance(11)
        client.intercept = fail
        recorder.event(CONFIGMAPS, THING, "Normal", "Queued", "fails")
        await clock.advance(11)
        client.intercept = None
        recorder.event(CONFIGMAPS, THING, "Normal", "Long", "ä" * 5000)
        await settle()
        assert not task.done()
    found = events(client)
    assert len(found) == MAX_PENDING + 1
    assert len(found[-1]["message"].encode()) == MAX_MESSAGE


async def test_what_is_pending_is_written_at_the_end(client: FakeClient, recorder: Recorder) -> None:
    task = asyncio.create_task(recorder.run())
    await settle()
    recorder.event(CONFIGMAPS, THING, "Normal", "Stopped", "the operator ends")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [e["reason"] for e in events(client)] == ["Stopped"]
