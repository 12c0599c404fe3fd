"""Datacenters and their pods, with the agents in them, as Kubernetes has them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from controller import builtin
from controller.resource import Key
from reconcilers import labels
from reconcilers.api.backup import BACKUPS
from reconcilers.api.datacenter import DATACENTERS
from reconcilers.api.restore import RESTORES
from tests.api.crds.objects import body as least_body
from tests.fakes.agents import FakeAgents
from tests.fakes.apiserver import FakeApiServer
from tests.fakes.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from controller.resource import Resource
    from tests.fakes.apiserver import Told

NAMESPACE = "ns"
_STARTS = 3.0  # seconds until a pod is up

Object = dict[str, Any]


class Cluster:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.server = FakeApiServer(self.clock)
        self.server.heard.append(self._kubelet)
        self.agents = FakeAgents(self.clock, tick=3.0, seconds=3.0)
        self.told: list[str] = []
        self.unreachable: dict[str, float] = {}  # by pod: when its agent was last out of an operator's reach
        self.schedulable = True  # helper pods come up
        self._names = self._addresses = 0
        self._deeds: set[asyncio.Task[Any]] = set()  # nobody's of the operators

    def say(self, text: str) -> None:
        self.told.append(f"{self.clock.monotonic():7.1f}  {text}")

    def later(self, seconds: float, do: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Done by nobody that could die meanwhile."""

        def due() -> None:
            task = asyncio.create_task(do())
            self._deeds.add(task)
            task.add_done_callback(self._deeds.discard)

        self.clock.call_later(seconds, due)

    def found(self, resource: Resource) -> list[Object]:
        return [body for (kind, _), body in self.server.objects.items() if kind == resource]

    # what people do

    def name(self, kind: str = "backup") -> str:
        self._names += 1
        return f"{kind}-{self._names}"

    async def create_backup(self, name: str, own: dict[str, str], **spec: Any) -> None:
        body = least_body(BACKUPS, name, **spec)
        body["metadata"] |= {"namespace": NAMESPACE, "labels": own}
        await self.server.create(BACKUPS, body)

    async def create_restore(self, name: str, datacenter: str) -> None:
        body = least_body(RESTORES, name, datacenter=datacenter)
        body["metadata"]["namespace"] = NAMESPACE
        await self.server.create(RESTORES, body)

    # what Kubernetes does

    async def datacenter(self, name: str, replicas: int) -> None:
        body = least_body(DATACENTERS, name, replicas=replicas)
        body["metadata"]["namespace"] = NAMESPACE
        body["status"] = {"clusterName": f"{name}-cluster", "datacenterName": f"{name}-dc"}
        await self.server.create(DATACENTERS, body)
        for number in range(replicas):
            await self.pod(f"{name}-{number}")

    async def pod(self, name: str) -> None:
        """It comes, and its agent at a new address on the volume that the last one had."""
        datacenter = self.server.objects.get((DATACENTERS, key_of(name.rpartition("-")[0])))
        if datacenter is None or (builtin.PODS, key_of(name)) in self.server.objects:
            return
        ip = self._address()
        own = {
            labels.OPERATOR: labels.OPERATOR_VALUE,
            labels.SEED_DATACENTER: datacenter["metadata"]["name"],
            labels.DATACENTER: datacenter["metadata"]["name"],
            labels.DATACENTER_UID: datacenter["metadata"]["uid"],
            labels.RACK: labels.DEFAULT_RACK,
            "app": "cassandra",
        }
        known = any(agent.pod == name for agent in self.agents)
        self.agents.add(name, ip)
        if known:
            self.agents[name].silent = False
            self.agents[name].restart()
        await self.server.create(
            builtin.PODS,
            {
                "metadata": {"namespace": NAMESPACE, "name": name, "labels": own},
                "spec": {"containers": [{"name": labels.CASSANDRA_CONTAINER}, {"name": labels.SIDECAR_CONTAINER}]},
                "status": {"podIP": ip, "conditions": [{"type": "Ready", "status": "True"}]},
            },
        )

    def _kubelet(self, told: Told) -> None:
        """Helper pods come up where that is possible, and go with their owner."""
        resource, key, before, now = told
        if resource == builtin.PODS and now is None and key.name in {agent.pod for agent in self.agents}:
            self.agents.remove(key.name)
        if resource == builtin.PODS and before is None and now is not None and _helps(now) and self.schedulable:
            self.later(_STARTS, lambda: self._helper(key))
        if resource == BACKUPS and before is not None and now is None:
            self.later(_STARTS, lambda: self._collect(before["metadata"]["uid"]))

    async def _helper(self, key: Key) -> None:
        if (builtin.PODS, key) in self.server.objects:
            self.say(f"helper pod {key.name} comes")
            ip = self._address()
            self.agents.add(key.name, ip).lose_volume()  # the last one's, which it never had
            await self.server.patch(builtin.PODS, key, {"status": {"podIP": ip}}, subresource="status")

    async def _collect(self, owner: str) -> None:
        """As Kubernetes does with what it owned."""
        for pod in self.found(builtin.PODS):
            if _helps(pod) and pod["metadata"]["ownerReferences"][0]["uid"] == owner:
                await self.server.delete(builtin.PODS, key_of(pod["metadata"]["name"]))

    def _address(self) -> str:
        self._addresses += 1
        return f"10.0.0.{self._addresses}"

    async def lose_pod(self, name: str) -> None:
        if await self.server.delete(builtin.PODS, key_of(name)):
            self.unreachable[name] = self.clock.monotonic()


def key_of(name: str) -> Key:
    return Key(NAMESPACE, name)


def _helps(pod: Object) -> bool:
    return labels.INSPECTOR in pod["metadata"].get("labels", {})
