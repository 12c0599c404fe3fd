"""A small operator, whole, on a real API server: what it writes, what it does not, and how it ends."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from controller.builtin import CONFIGMAPS, EVENTS
from controller.clock import RealClock
from controller.controller import Controller
from controller.desired import APPLIED, ensure
from controller.errors import NotFound
from controller.informer import Informer
from controller.manager import Manager
from controller.objects import RawObject, decode_raw, key_of
from controller.reconcile import Done, Outcome
from controller.recorder import Recorder
from controller.resource import Key
from controller.triggers import to_owner, to_self

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from controller.client import Client
    from controller.config import Config
    from tests.api.apiserver import ApiServer


class Copier:
    """Keeps a ConfigMap ``copy-of-X`` for every ConfigMap X that is labelled ``copy=yes``."""

    def __init__(self, config: Config, client: Client) -> None:
        clock = RealClock()
        self.client = client
        self.manager = Manager(config, client)

        def informer(selector: str) -> Informer[RawObject]:
            namespace = config.namespace
            made = Informer(client, CONFIGMAPS, decode_raw, namespace=namespace, label_selector=selector)
            return self.manager.add_informer(made)

        self.originals, self.copies = informer("copy=yes"), informer("copied=yes")
        self.controller = self.manager.add_controller(Controller("copier", self, clock=clock))
        self.controller.watches(self.originals, to_self()).watches(self.copies, to_owner("ConfigMap"))
        self.recorder = Recorder(client, "copier", clock)
        self.manager.add_task("events", self.recorder.run, leader_only=False)
        self.reconciled: list[str] = []
        self.busy = asyncio.Event()
        self.hold: asyncio.Event | None = None

    async def reconcile(self, key: Key) -> Outcome:
        original = self.originals.store.get(key)
        if original is not None:
            child = self.child(original)
            observed = self.copies.store.get(Key(key.namespace, child["metadata"]["name"]))
            if await ensure(self.client, CONFIGMAPS, child, observed):
                self.recorder.event(CONFIGMAPS, original, "Normal", "Copied", "the copy was written")
        self.busy.set()
        if self.hold is not None:
            await self.hold.wait()
        self.reconciled.append(key.name)
        return Done()

    @staticmethod
    def child(original: RawObject) -> dict[str, Any]:
        meta = original.metadata
        owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": meta.name, "uid": meta.uid, "controller": True}
        return {
            "metadata": {
                "namespace": meta.namespace,
                "name": f"copy-of-{meta.name}",
                "labels": {"copied": "yes"},
                "ownerReferences": [owner],
            },
            "data": original.body.get("data", {}),
        }


@asynccontextmanager
async def running(config: Config, client: Client) -> AsyncIterator[Copier]:
    copier = Copier(config, client.unguarded())
    task = asyncio.create_task(copier.manager.run())
    try:
        yield copier
    finally:
        copier.manager.stop()
        await task


def original(namespace: str, name: str, **data: str) -> dict[str, Any]:
    return {"metadata": {"namespace": namespace, "name": name, "labels": {"copy": "yes"}}, "data": data}


async def until(condition: Any, seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  another process's work
            await asyncio.sleep(0.02)


async def copied(client: Client, key: Key, data: dict[str, str]) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                found = await client.get(CONFIGMAPS, Key(key.namespace, f"copy-of-{key.name}"))
            except NotFound:
                found = {}
            if found.get("data", {}) == data:
                return
            await asyncio.sleep(0.02)


def copies_written(apiserver: ApiServer, namespace: str) -> int:
    written = (w["objectRef"] for w in apiserver.writes(namespace))
    return sum(ref["resource"] == "configmaps" and ref.get("name", "").startswith("copy-of-") for ref in written)


async def test_it_follows_its_objects(client: Client, namespace: str, operator_config: Config) -> None:
    key = Key(namespace, "a")
    async with running(operator_config, client):
        await client.create(CONFIGMAPS, original(namespace, "a", x="1", y="2"))
        await copied(client, key, {"x": "1", "y": "2"})
        # a field that is no longer wanted goes
        await client.patch(CONFIGMAPS, key, {"data": {"y": None}})
        await copied(client, key, {"x": "1"})
        # what somebody else changed is mended
        await client.patch(CONFIGMAPS, Key(namespace, "copy-of-a"), {"data": {"x": "9"}})
        await copied(client, key, {"x": "1"})
        # what somebody deleted comes back
        await client.delete(CONFIGMAPS, Key(namespace, "copy-of-a"))
        await copied(client, key, {"x": "1"})
    events = await client.list(EVENTS, namespace)
    assert [(e["reason"], e["involvedObject"]["name"]) for e in events] == [("Copied", "a")]
    assert events[0]["count"] == 4


async def test_a_steady_object_causes_no_write(
    client: Client, apiserver: ApiServer, namespace: str, operator_config: Config
) -> None:
    async with running(operator_config, client) as copier:
        await client.create(CONFIGMAPS, original(namespace, "a", x="1"))
        await copied(client, Key(namespace, "a"), {"x": "1"})
        await until(lambda: len(copier.copies.store) == 1)
        written = copies_written(apiserver, namespace)
        for i in range(5):  # changes that concern nothing of what is copied
            done = len(copier.reconciled)
            await client.patch(CONFIGMAPS, Key(namespace, "a"), {"metadata": {"annotations": {"i": str(i)}}})
            await until(lambda done=done: len(copier.reconciled) > done)
        assert (written, copies_written(apiserver, namespace)) == (1, 1)


async def test_a_restart_of_the_operator_causes_no_write_to_steady_objects(
    client: Client, apiserver: ApiServer, namespace: str, operator_config: Config
) -> None:
    names = [f"a{i}" for i in range(20)]
    for name in names:
        await client.create(CONFIGMAPS, original(namespace, name, x="1"))
    async with running(operator_config, client) as copier:
        await until(lambda: len(copier.copies.store) == 20)
    before = copies_written(apiserver, namespace)
    versions = {key_of(o): o.metadata.resource_version for o in copier.copies.store.all()}
    async with running(replace(operator_config, identity="another"), client) as restarted:
        await until(lambda: set(restarted.reconciled) == set(names))
        assert restarted.copies.store.all()[0].metadata.annotations.keys() == {APPLIED}
    assert (before, copies_written(apiserver, namespace)) == (20, 20)
    assert {key_of(o): o.metadata.resource_version for o in restarted.copies.store.all()} == versions


async def test_what_changed_while_no_operator_ran_is_done_at_its_start(
    client: Client, namespace: str, operator_config: Config
) -> None:
    await client.create(CONFIGMAPS, original(namespace, "a", x="1"))
    async with running(operator_config, client):
        await copied(client, Key(namespace, "a"), {"x": "1"})
    await client.patch(CONFIGMAPS, Key(namespace, "a"), {"data": {"x": "2"}})
    async with running(operator_config, client):
        await copied(client, Key(namespace, "a"), {"x": "2"})


@pytest.mark.parametrize("polite", [True, False], ids=["reconcile ends", "reconcile hangs"])
async def test_shutdown_inside_the_grace_period(
    client: Client, namespace: str, operator_config: Config, polite: bool
) -> None:
    await client.create(CONFIGMAPS, original(namespace, "a"))
    config = replace(operator_config, grace_seconds=30.0 if polite else 3.0)
    before = asyncio.all_tasks()
    async with running(config, client) as copier:
        copier.hold = asyncio.Event()
        await copier.busy.wait()
        if polite:
            asyncio.get_running_loop().call_later(0.2, copier.hold.set)
        started = time.monotonic()
    took = time.monotonic() - started
    assert took < (10.0 if polite else 3.0)
    assert (copier.reconciled == ["a"]) is polite
    assert asyncio.all_tasks() - before == set()


async def test_the_standby_is_ready_and_takes_over(client: Client, namespace: str, operator_config: Config) -> None:
    await client.create(CONFIGMAPS, original(namespace, "a", x="1"))
    async with running(replace(operator_config, identity="second", retry_period=0.2), client) as leader:
        await copied(client, Key(namespace, "a"), {"x": "1"})
        async with running(replace(operator_config, identity="standby", retry_period=0.2), client) as standby:
            await until(lambda: standby.copies.store.ready and len(standby.originals.store) == 1)
            assert standby.reconciled == []
            leader.manager.stop()
            await until(lambda: standby.reconciled == ["a"])
