"""The controllers as the process runs them, with informers, queues and real time: what wakes them is right."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from agent.protocol import Kind
from controller import builtin
from controller.backoff import Backoff
from controller.clock import RealClock
from controller.informer import Informer
from controller.objects import decode_raw
from controller.recorder import Recorder
from reconcilers import labels
from reconcilers.agents import Agents
from reconcilers.api.backup import BACKUPS, CassandraBackup
from reconcilers.api.datacenter import DATACENTERS, CassandraDataCenter
from reconcilers.api.restore import RESTORES, CassandraRestore
from reconcilers.backup.sightings import Sightings
from reconcilers.backup.wiring import backup_controller
from reconcilers.catalog.said import Said
from reconcilers.catalog.wiring import catalog_controller
from reconcilers.garbage.wiring import garbage_controller
from reconcilers.operations import Operations
from reconcilers.restore.wiring import restore_controller
from tests.api.backup.test_catalog import CATALOG
from tests.api.backup.test_catalog import INSPECTOR as CATALOGS_INSPECTOR
from tests.api.backup.test_importing import INSPECTOR, held
from tests.api.backup.world import MASTER, World
from tests.api.restore import steps
from tests.fakes.agents import FakeAgents

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from controller.client import Client
    from controller.resource import Resource
    from tests.api.apiserver import ApiServer

OURS = f"{labels.OPERATOR}={labels.OPERATOR_VALUE}"


class Live(World):
    """Real time, real watches."""

    def __init__(self, client: Client, apiserver: ApiServer, namespace: str) -> None:
        super().__init__(client, apiserver, namespace)
        self.clock: Any = RealClock()
        self.agents = FakeAgents(self.clock, tick=0.05, seconds=0.05)

    @asynccontextmanager
    async def operator(self) -> AsyncIterator[None]:
        client, clock = self.client, RealClock()

        def informer(resource: Resource, decode: Any, selector: str = "") -> Informer[Any]:
            return Informer(client, resource, decode, namespace=self.namespace, label_selector=selector)

        backups = informer(BACKUPS, CassandraBackup.decode)
        datacenters = informer(DATACENTERS, CassandraDataCenter.decode)
        restores = informer(RESTORES, CassandraRestore.decode)
        pods = informer(builtin.PODS, decode_raw, OURS)
        sets = informer(builtin.STATEFULSETS, decode_raw, OURS)
        maps = informer(builtin.CONFIGMAPS, decode_raw, OURS)
        inspectors = informer(builtin.PODS, decode_raw, labels.INSPECTOR)
        garbage = informer(builtin.CONFIGMAPS, decode_raw, labels.GARBAGE)
        recorder = Recorder(client, "cassandra-operator", clock)
        agents = Agents(self.agents, MASTER)
        operations = Operations(agents, clock)
        common: dict[str, Any] = {
            "client": client, "datacenters": datacenters, "pod_informer": pods, "operations": operations,
            "recorder": recorder, "clock": clock, "backoff": Backoff(clock, base=0.02, cap=0.1),
        }  # fmt: skip
        ours: dict[str, Any] = {
            "backups": backups, "restores": restores, "inspectors": inspectors, "agents": agents, **common,
        }  # fmt: skip
        sightings = Sightings()
        controllers = [
            backup_controller(master=MASTER, session="s", garbage_grace=1, sightings=sightings, **ours),
            restore_controller(statefulsets=sets, config_maps=maps, **ours),
            garbage_controller(config_maps=garbage, helpers=inspectors, master=MASTER, grace=1, **common),
            catalog_controller(said=Said(), sightings=sightings, **{k: ours[k] for k in ours.keys() - {"operations"}}),
        ]
        stores = [backups, datacenters, restores, pods, sets, maps, garbage, inspectors]
        parts = [*stores, recorder, operations, *controllers]
        tasks = [asyncio.create_task(part.run()) for part in parts]
        try:
            yield
        finally:
            for task in reversed(tasks):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def until(self, done: Callable[[], object]) -> None:
        """Nothing stands still for as long as a safety requeue takes: a watch or an agent must have woken it."""
        watched, before = (BACKUPS, RESTORES, builtin.PODS, builtin.CONFIGMAPS), None
        async with asyncio.timeout(None) as limit:
            while True:
                self.dirty.update(watched)
                await self.refresh()
                if done():
                    return
                now = [o.metadata.resource_version for resource in watched for o in self.stores[resource].all()]
                if now != before:
                    before = now
                    limit.reschedule(asyncio.get_running_loop().time() + 4.5)
                await asyncio.sleep(0.03)


@pytest.fixture
async def live(client: Client, apiserver: ApiServer, namespace: str, crds: object) -> AsyncIterator[Live]:
    made = Live(client, apiserver, namespace)
    async with made.operator():
        yield made


async def test_a_backup_from_its_creation_to_its_end(live: Live) -> None:
    await live.datacenter()
    live.agents.script(Kind.BACKUP, seconds=0.3)
    await live.backup()
    await live.until(lambda: live.phase() == "Completed")
    assert set(live.agents.executed.values()) == {1}
    steps_ = [what for what, _ in live.agents.order]
    assert steps_ == ["snapshot"] * 3 + ["uploaded"] * 3 + ["commit"]


async def test_pods_that_become_ready_wake_who_waits_for_them(live: Live) -> None:
    await live.backup()
    await live.until(lambda: live.get().status.reason == "NoPodsMatch")
    await live.datacenter(ready=False)
    await live.until(lambda: live.get().status.reason == "NodesNotReady")
    for i in range(3):
        await live.pod_status(f"cassandra-foo-cassandra-{i}", ready=True)
    await live.until(lambda: live.phase() == "Completed")


async def test_a_pod_made_anew_is_noticed(live: Live) -> None:
    datacenter = await live.datacenter(replicas=1)
    live.agents.script(Kind.BACKUP, seconds=1)
    await live.backup()
    await live.until(lambda: live.phase() == "Uploading")
    await live.replace_pod(datacenter, "cassandra-foo-cassandra-0")
    await live.until(lambda: live.phase() == "Completed")
    assert set(live.agents.executed.values()) == {1}


async def test_cancelling_and_deleting_are_noticed(live: Live) -> None:
    await live.datacenter()
    live.agents.script(Kind.BACKUP, seconds=600)
    await live.backup("one")
    await live.until(lambda: live.phase("one") == "Uploading")
    await live.patch(BACKUPS, "one", {"spec": {"cancel": True}})
    await live.until(lambda: live.phase("one") == "Cancelled")
    await live.backup("two")
    await live.until(lambda: live.phase("two") == "Uploading")
    await live.delete(BACKUPS, "two")
    await live.until(lambda: live.phase("two") == "gone")


async def test_a_restore_from_its_creation_to_its_end(live: Live) -> None:
    await live.datacenter()
    await live.backup()
    bar = await live.datacenter("bar", pods=False)
    await live.restore(datacenter="bar", backup={"name": "backup"})
    await live.until(lambda: steps.pod(live, steps.INSPECTOR) is not None)
    ip = live._new_ip()
    live.agents.add(steps.INSPECTOR, ip)
    await live.pod_status(steps.INSPECTOR, ready=True, podIP=ip)
    await live.until(lambda: live.restore_phase() == "Downloading")
    await steps.pods_come(live, bar)
    await live.until(lambda: live.restore_phase() == "Starting")
    await steps.pods_serve(live, bar)
    await live.until(lambda: live.restore_phase() == "Completed")
    await live.until(lambda: steps.pod(live, steps.INSPECTOR) is None)
    assert steps.plan(live) is None


async def test_deleting_with_the_data_where_the_datacenter_is_gone(live: Live) -> None:
    await live.datacenter(replicas=1)
    await live.backup(deletionPolicy="Delete")
    await live.until(lambda: live.phase() == "Completed")
    await live.lose_datacenter()
    await live.until(lambda: not live.stores[DATACENTERS].all())
    await live.delete(BACKUPS, "backup")
    await live.until(live.helpers)
    (helper,) = live.helpers()
    live.agents.add(helper.metadata.name, "10.9.9.9")
    await live.pod_status(helper.metadata.name, ready=True, podIP="10.9.9.9")
    await live.until(lambda: live.phase() == "gone")
    assert not live.agents.bucket.records
    (garbage,) = live.garbage()
    owners = lambda: {h.metadata.owner_references[0].uid for h in live.helpers()}  # noqa: E731
    await live.until(lambda: owners() == {garbage.metadata.uid})


async def inspector_comes(live: Live, name: str) -> None:
    await live.until(lambda: steps.pod(live, name) is not None)
    ip = live._new_ip()
    live.agents.add(name, ip)
    await live.pod_status(name, ready=True, podIP=ip)


async def test_an_import_is_woken_by_its_inspector(live: Live) -> None:
    held(live)
    await live.datacenter(replicas=0, pods=False)
    await live.backup(importExisting=True)
    await inspector_comes(live, INSPECTOR)
    await live.until(lambda: live.phase() == "Completed")
    await live.until(lambda: steps.pod(live, INSPECTOR) is None)


async def test_a_catalog_is_woken_by_its_datacenter_and_its_inspector(live: Live) -> None:
    held(live, "t1")
    await live.datacenter(replicas=0, pods=False)
    await live.patch(DATACENTERS, "foo-cassandra", {"spec": {"backup": CATALOG}})
    await inspector_comes(live, CATALOGS_INSPECTOR)
    await live.until(lambda: [one.status.phase for one in live.stores[BACKUPS].all()] == ["Completed"])


async def test_a_backup_is_woken_by_a_catalog_that_does_not_find_it(live: Live) -> None:
    await live.datacenter(replicas=1)
    await live.backup()
    await live.until(lambda: live.phase() == "Completed")
    live.agents.bucket.records.clear()
    await live.patch(DATACENTERS, "foo-cassandra", {"spec": {"backup": CATALOG}})
    await live.until(lambda: not live.get().good)
