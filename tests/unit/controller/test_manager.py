from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from typing import Any

import pytest

from controller import config
from controller.builtin import CONFIGMAPS, LEASES
from controller.controller import Controller
from controller.errors import NotLeading
from controller.informer import Informer
from controller.manager import Manager, ManagerError
from controller.objects import RawObject, decode_raw
from controller.reconcile import Done, Outcome
from controller.resource import Key
from controller.triggers import to_self
from tests.fakes.client import FakeClient
from tests.fakes.clock import FakeClock, settle
from tests.fakes.watches import ScriptedClient, obj, page

LEASE = Key("ns", "cassandra-operator")


class Operator:
    """A manager with one informer, one controller and two tasks; ``log`` is what happened, in order."""

    def __init__(self, *, elect: bool = True, script: tuple[Any, ...] | None = None) -> None:
        self.clock = FakeClock()
        self.client = FakeClient()
        self.log: list[str] = []
        self.config = config.load(
            ["--health-address=", "--identity=me", "--lease-namespace=ns", f"--leader-elect={elect}"], {}
        )
        self.manager = Manager(self.config, self.client, clock=self.clock)  # type: ignore[arg-type]
        watched = ScriptedClient(*(script if script is not None else (page(obj("a", 1), version=5),)))
        self.informer: Informer[RawObject] = self.manager.add_informer(
            Informer(watched, CONFIGMAPS, decode_raw, clock=self.clock)  # type: ignore[arg-type]
        )
        self.controller = self.manager.add_controller(Controller("test", self, clock=self.clock))
        self.controller.watches(self.informer, to_self())
        self.gate: asyncio.Event | None = None
        self.ends: dict[str, asyncio.Future[None]] = {}
        self.manager.add_task("leaders", lambda: self.work("leaders"))
        self.manager.add_task("always", lambda: self.work("always"), leader_only=False)

    async def reconcile(self, key: Key) -> Outcome:
        self.log.append(f"reconcile {key.name}")
        try:
            if self.gate:
                await self.gate.wait()
        finally:
            self.log.append(f"reconciled {key.name}")
        return Done()

    async def work(self, name: str) -> None:
        self.log.append(f"{name} started")
        self.ends[name] = asyncio.get_running_loop().create_future()
        try:
            await self.ends[name]
        finally:
            held = self.client.objects.get((LEASES, LEASE), {}).get("spec", {}).get("holderIdentity")
            self.log.append(f"{name} ended, lease {'held' if held else 'free'}")

    async def start(self) -> asyncio.Task[None]:
        self.task = asyncio.create_task(self.manager.run())
        await settle()
        return self.task


@pytest.fixture
async def operators() -> Any:
    made: list[Operator] = []

    def make(**options: Any) -> Operator:
        made.append(Operator(**options))
        return made[-1]

    yield make
    for operator in made:
        operator.manager.stop()
        await operator.clock.advance(60)
        if not operator.task.done():
            operator.task.cancel()
            await operator.clock.advance(60)
        with suppress(ManagerError, asyncio.CancelledError):
            await operator.task


async def test_order_of_start_and_stop(operators: Any) -> None:
    operator = operators()
    task = await operator.start()
    assert operator.log == ["always started", "leaders started", "reconcile a", "reconciled a"]
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait({task}, timeout=10)  # a real signal comes through a real pipe
    assert task.done()
    assert operator.log[4:] == ["leaders ended, lease held", "always ended, lease free"]


async def test_nothing_of_the_leader_starts_before_every_store_is_ready(operators: Any) -> None:
    operator = operators(script=())
    await operator.start()
    assert operator.log == ["always started"]
    assert operator.manager._ready() == "not listed yet: configmaps"
    assert not operator.client.objects
    operator.manager.stop()
    await settle()
    assert operator.task.done()


async def test_informers_run_while_another_leads(operators: Any) -> None:
    operator = operators()
    await operator.client.create(
        LEASES,
        {
            "metadata": {"namespace": "ns", "name": "cassandra-operator"},
            "spec": {"holderIdentity": "other", "leaseDurationSeconds": 3600},
        },
    )
    await operator.start()
    await operator.clock.advance(100)
    assert operator.log == ["always started"]
    assert (len(operator.informer.store), operator.manager._ready()) == (1, "")


async def test_shutdown_waits_for_the_reconcile_under_way(operators: Any) -> None:
    operator = operators()
    operator.gate = asyncio.Event()
    await operator.start()
    operator.manager.stop()
    await operator.clock.advance(10)
    assert not operator.task.done()
    assert operator.client.objects[LEASES, LEASE]["spec"]["holderIdentity"] == "me"
    operator.gate.set()
    await settle()
    assert operator.task.done()
    operator.task.result()
    assert operator.client.objects[LEASES, LEASE]["spec"]["holderIdentity"] == ""


async def test_shutdown_ends_inside_the_grace_period_with_no_task_left(operators: Any) -> None:
    before = asyncio.all_tasks()
    operator = operators()
    operator.gate = asyncio.Event()  # never set: the reconcile has to be cancelled
    await operator.start()
    operator.manager.stop()
    await operator.clock.advance(operator.config.grace_seconds - 2.1)
    assert not operator.task.done()
    await operator.clock.advance(0.2)
    assert operator.task.done()
    operator.task.result()
    assert "reconciled a" in operator.log
    assert operator.client.objects[LEASES, LEASE]["spec"]["holderIdentity"] == ""
    assert asyncio.all_tasks() - before == set()


async def test_a_task_that_will_not_end_is_named_and_left_in_the_grace_period(operators: Any) -> None:
    operator = operators()
    end = asyncio.Event()

    async def deaf() -> None:
        while not end.is_set():
            with suppress(asyncio.CancelledError):
                await end.wait()

    operator.manager.add_task("deaf", deaf, leader_only=False)
    await operator.start()
    operator.manager.stop()
    await operator.clock.advance(operator.config.grace_seconds)
    ended = operator.task.done()
    end.set()
    await settle()
    assert ended
    with pytest.raises(ManagerError, match="still running after 25 s: deaf"):
        operator.task.result()


@pytest.mark.parametrize("name", ["leaders", "always"])
@pytest.mark.parametrize("error", [RuntimeError("a defect"), None], ids=["raised", "returned"])
async def test_a_dead_task_ends_the_process(operators: Any, name: str, error: Exception | None) -> None:
    operator = operators()
    await operator.start()
    if error:
        operator.ends[name].set_exception(error)
    else:
        operator.ends[name].set_result(None)
    await settle()
    assert operator.task.done()
    with pytest.raises(ManagerError, match="a defect" if error else f"{name} returned"):
        await operator.task
    assert operator.client.objects[LEASES, LEASE]["spec"]["holderIdentity"] == ""


async def test_a_dead_informer_ends_the_process_also_before_it_is_ready(operators: Any) -> None:
    operator = operators(script=(RuntimeError("a defect"),))
    await operator.start()
    assert operator.task.done()
    with pytest.raises(ManagerError, match="informer configmaps ended: a defect"):
        await operator.task


async def test_a_lost_lease_ends_the_process_and_all_writing(operators: Any) -> None:
    operator = operators()
    await operator.start()
    operator.client.objects[LEASES, LEASE]["spec"] = {"holderIdentity": "other", "leaseDurationSeconds": 15}
    operator.client.objects[LEASES, LEASE]["metadata"]["resourceVersion"] = "999"
    await operator.clock.advance(5)
    assert operator.task.done()
    with pytest.raises(ManagerError, match="the Lease was lost"):
        await operator.task
    with pytest.raises(NotLeading):
        operator.client.guard()


async def test_without_election(operators: Any) -> None:
    operator = operators(elect=False)
    await operator.start()
    assert "reconciled a" in operator.log
    assert operator.client.calls == []


async def test_probes_answer_on_their_port() -> None:
    import aiohttp

    settings = config.load(["--health-address=127.0.0.1:0", "--identity=me", "--leader-elect=no"], {})
    manager = Manager(settings, FakeClient())  # type: ignore[arg-type]
    manager.add_informer(Informer(ScriptedClient(), CONFIGMAPS, decode_raw))  # type: ignore[arg-type]
    task = asyncio.create_task(manager.run())
    while not manager.health.port and not task.done():  # noqa: ASYNC110  turns of the loop, no time
        await asyncio.sleep(0)
    base = f"http://127.0.0.1:{manager.health.port}"
    async with aiohttp.ClientSession() as session:
        found = {}
        for path in ("healthz", "readyz", "metrics", "debug/statistics"):
            async with session.get(f"{base}/{path}") as response:
                found[path] = (response.status, await response.text())
    manager.stop()
    await task
    assert found["healthz"] == (200, "ok")
    assert found["readyz"] == (503, "not listed yet: configmaps")
    assert 'operator_watch_lists_total{resource="configmaps"}' in found["metrics"][1]
    assert found["debug/statistics"] == (200, '{"stores":{"configmaps":0},"queues":{},"leader":null}')
