"""Two electors and one real API server, on a real clock with short terms."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from controller.builtin import CONFIGMAPS, LEASES
from controller.errors import ApiError, NotLeading
from controller.leader import LeaderElector
from controller.resource import Key

if TYPE_CHECKING:
    from controller.client import Client
    from tests.api.apiserver import ApiServer

LEASE_DURATION, RENEW_DEADLINE, RETRY = 3.0, 1.5, 0.2


class Writer:
    """Leader's work: writes one ConfigMap again and again, and notes when each write began."""

    def __init__(self, client: Client, key: Key) -> None:
        self.client = client
        self.key = key
        self.writes: list[float] = []
        self.refused = 0
        self.ended = 0.0

    async def __call__(self) -> None:
        body = {"metadata": {"namespace": self.key.namespace, "name": self.key.name}}
        try:
            while True:
                at = time.monotonic()
                try:
                    await self.client.apply(CONFIGMAPS, {**body, "data": {"at": str(at)}}, timeout=0.5)
                    self.writes.append(at)
                except NotLeading:
                    self.refused += 1
                except ApiError:
                    pass
                await asyncio.sleep(0.05)
        finally:
            self.ended = time.monotonic()


def elector(client: Client, namespace: str, name: str) -> LeaderElector:
    made = LeaderElector(
        client,
        Key(namespace, "operator"),
        name,
        lease_duration=LEASE_DURATION,
        renew_deadline=RENEW_DEADLINE,
        retry_period=RETRY,
    )
    client.set_guard(made.check)
    return made


async def until(condition: Any, seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  another process's work
            await asyncio.sleep(0.02)


async def cancel(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def holder(client: Client, namespace: str) -> str:
    return (await client.unguarded().get(LEASES, Key(namespace, "operator")))["spec"]["holderIdentity"]  # type: ignore[no-any-return]


async def test_one_dies_and_the_other_takes_over(client: Client, connect: Any, namespace: str) -> None:
    async with connect("a") as (near, wire):
        first, second = Writer(near, Key(namespace, "w")), Writer(client, Key(namespace, "w"))
        a = asyncio.create_task(elector(near, namespace, "a").run(first))
        await until(lambda: first.writes)
        b = asyncio.create_task(elector(client, namespace, "b").run(second))
        wire.cut()  # before it is cancelled: it releases nothing, as if it were killed
        await cancel(a)
        died = time.monotonic()
        await until(lambda: second.writes)
        assert second.writes[0] - died > LEASE_DURATION - RENEW_DEADLINE
        await cancel(b)
        assert await holder(client, namespace) == ""


@pytest.mark.parametrize("fault", ["cut", "hold"])
async def test_a_lost_lease_ends_writing_before_another_begins(
    client: Client, connect: Any, namespace: str, fault: str
) -> None:
    async with connect("a") as (near, wire):
        first, second = Writer(near, Key(namespace, "w")), Writer(client, Key(namespace, "w"))
        a = asyncio.create_task(elector(near, namespace, "a").run(first))
        await until(lambda: first.writes)
        b = asyncio.create_task(elector(client, namespace, "b").run(second))
        await asyncio.sleep(0.5)
        getattr(wire, fault)()
        await until(lambda: second.writes)
        assert a.done()
        assert a.result() is False
        assert first.ended < second.writes[0] - 0.5
        wire.mend()
        with pytest.raises(NotLeading):
            await near.apply(CONFIGMAPS, {"metadata": {"namespace": namespace, "name": "w"}})
        await cancel(b)


async def test_a_clean_exit_hands_over_at_once(client: Client, connect: Any, namespace: str) -> None:
    async with connect("a") as (near, _):
        first, second = Writer(near, Key(namespace, "w")), Writer(client, Key(namespace, "w"))
        a = asyncio.create_task(elector(near, namespace, "a").run(first))
        await until(lambda: first.writes)
        b = asyncio.create_task(elector(client, namespace, "b").run(second))
        await asyncio.sleep(0.3)
        await cancel(a)
        left = time.monotonic()
        await until(lambda: second.writes)
        assert second.writes[0] - left < LEASE_DURATION - 2 * RETRY
        assert first.ended < second.writes[0]
        await cancel(b)


async def test_of_many_one_leads(client: Client, apiserver: ApiServer, namespace: str) -> None:
    leading: list[str] = []

    async def lead(name: str) -> None:
        leading.append(name)
        await asyncio.Event().wait()

    def run(name: str) -> asyncio.Task[bool]:
        return asyncio.create_task(elector(client.unguarded(), namespace, name).run(lambda: lead(name)))

    tasks = [run(str(i)) for i in range(8)]
    await until(lambda: leading)
    await asyncio.sleep(1)
    assert len(leading) == 1
    assert await holder(client, namespace) == leading[0]
    await cancel(*tasks)
    assert {w["verb"] for w in apiserver.writes(namespace)} >= {"create", "patch"}
