"""Datacenters, agents, a bucket, an API server and operators, all of them fake but for what the operators run."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from controller import builtin
from controller.clock import parse_rfc3339
from controller.objects import raw_object
from controller.resource import Key
from reconcilers import labels
from reconcilers.api.backup import BACKUPS, CassandraBackup
from reconcilers.api.datacenter import DATACENTERS
from reconcilers.api.restore import RESTORES
from reconcilers.identity import MasterKey
from tests.api.crds.objects import body as least_body
from tests.fakes.agents import FakeAgents
from tests.fakes.apiserver import FakeApiServer
from tests.fakes.clock import FakeClock, settle
from tests.unit.reconcilers.backup.model.operator import KINDS, Fates, Operator

if TYPE_CHECKING:
    from controller.resource import Resource

NAMESPACE = "ns"
Object = dict[str, Any]


class BrokenRuleError(AssertionError):
    """With all that happened before it."""


class World:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.server = FakeApiServer(self.clock)
        self.agents = FakeAgents(self.clock)
        self.calls, self.requests = Fates(), Fates()
        self.operators: list[Operator] = []
        self.master: Any = MasterKey(b"m" * 32)
        self.recorder: Any = _Recorder(self)
        self.log: Any = _Log(self)
        self.author: Operator | None = None  # of the write that is being made
        self.told: list[str] = []
        self.broken: list[str] = []
        self.overlapped = False  # two operators were at work at once
        self.unreachable: dict[str, float] = {}  # by pod: when its agent was last out of an operator's reach
        self.hurt = False  # something happened that may fail a backup
        self._decoded: dict[tuple[Resource, Key, str], Any] = {}
        self.pause = 2.0  # seconds until another operator leads
        self._born = self._names = 0
        self._addresses = 0

    # what is told of it

    def say(self, text: str) -> None:
        self.told.append(f"{self.clock.monotonic():7.1f}  {text}")

    def breaks(self, rule: str) -> None:
        self.say(f"BROKEN: {rule}")
        self.broken.append(rule)

    def check(self) -> None:
        if self.broken:
            raise BrokenRuleError("\n".join([self.broken[0], "", *self.told]))

    # operators

    def lead(self) -> Operator:
        self._born += 1
        operator = Operator(self, f"operator-{self._born}")
        self.operators.append(operator)
        self.say(f"{operator.name} leads")
        return operator

    def living(self) -> list[Operator]:
        return [operator for operator in self.operators if operator.alive]

    async def dies(self, operator: Operator) -> None:
        """At this very await."""
        self.kill(operator)
        await asyncio.get_running_loop().create_future()

    def kill(self, operator: Operator, *, pause: float | None = None) -> None:
        """Another leads after ``pause`` seconds."""
        if not operator.alive:
            return
        self.say(f"{operator.name} is gone")
        operator.end()

        def another() -> None:
            if not self.living():
                self.lead()

        self.clock.call_later(self.pause if pause is None else pause, another)

    async def passes(self, seconds: float) -> None:
        try:
            await self.clock.advance(seconds)
        except AssertionError as error:  # as ``settle`` says it
            self.breaks(str(error))
            self.check()
        for pod in self.out_of_reach():
            self.unreachable[pod] = self.clock.monotonic()

    async def end(self) -> None:
        for operator in self.operators:
            operator.end()
        tasks = [task for operator in self.operators for task in operator.tasks]
        await asyncio.gather(*tasks, return_exceptions=True)
        await settle()

    # what there is

    def decoded(self, resource: Resource, key: Key, body: Object) -> Any:
        """Decoded once for all operators: objects in a store are never changed."""
        version = resource, key, body["metadata"]["resourceVersion"]
        if version not in self._decoded:
            kind = KINDS[resource]
            copy = msgspec.json.decode(msgspec.json.encode(body))
            self._decoded[version] = raw_object(copy) if kind is None else msgspec.convert(copy, kind)
        return self._decoded[version]

    def found(self, resource: Resource) -> list[Object]:
        return [body for (kind, _), body in self.server.objects.items() if kind == resource]

    def backups(self) -> list[CassandraBackup]:
        return [self.decoded(BACKUPS, _key(body), body) for body in self.found(BACKUPS)]

    def backup(self, uid: str) -> CassandraBackup | None:
        return next((b for b in self.backups() if b.metadata.uid == uid), None)

    def leases(self) -> dict[str, str]:
        """Datacenter -> UID."""
        return {
            body["metadata"]["labels"][labels.DATACENTER]: body["spec"]["holderIdentity"]
            for body in self.found(builtin.LEASES)
        }

    def out_of_reach(self) -> list[str]:
        """Pods whose agent an operator cannot reach now, or does not know where it is."""
        there = {key.name: body for (kind, key), body in self.server.objects.items() if kind == builtin.PODS}
        found = []
        for agent in self.agents:
            body = there.get(agent.pod)
            known = body is not None and all(
                (seen := operator.feeds[builtin.PODS].store.get(Key(NAMESPACE, agent.pod))) is not None
                and seen.metadata.resource_version == body["metadata"]["resourceVersion"]
                for operator in self.living()
            )
            if agent.silent or not known:
                found.append(agent.pod)
        return found

    # what people and Kubernetes do

    def name(self, kind: str = "backup") -> str:
        self._names += 1
        return f"{kind}-{self._names}"

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
        self._addresses += 1
        ip = f"10.0.0.{self._addresses}"
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
            self.agents[name].restart()
        await self.server.create(
            builtin.PODS,
            {
                "metadata": {"namespace": NAMESPACE, "name": name, "labels": own},
                "spec": {"containers": [{"name": labels.CASSANDRA_CONTAINER}, {"name": labels.SIDECAR_CONTAINER}]},
                "status": {"podIP": ip, "conditions": [{"type": "Ready", "status": "True"}]},
            },
        )

    async def lose_pod(self, name: str) -> None:
        if await self.server.delete(builtin.PODS, key_of(name)):
            self.agents.remove(name)
            self.unreachable[name] = self.clock.monotonic()

    async def create_backup(self, name: str, own: dict[str, str], **spec: Any) -> None:
        body = least_body(BACKUPS, name, **spec)
        body["metadata"] |= {"namespace": NAMESPACE, "labels": own}
        await self.server.create(BACKUPS, body)

    async def create_restore(self, name: str, datacenter: str) -> None:
        body = least_body(RESTORES, name, datacenter=datacenter)
        body["metadata"]["namespace"] = NAMESPACE
        await self.server.create(RESTORES, body)

    def since(self, moment: str) -> float:
        """RFC 3339 to the clock's seconds."""
        return (parse_rfc3339(moment) - self.clock.now()).total_seconds() + self.clock.monotonic()


class _Recorder:
    def __init__(self, world: World) -> None:
        self._world = world
        self.told: set[tuple[str, str]] = set()  # UID, reason

    def event(self, _resource: object, obj: Any, _type: str, reason: str, message: str) -> None:
        self.told.add((obj.metadata.uid, reason))
        self._world.say(f"event of {obj.metadata.name}: {reason}: {message}")


class _Log:
    """Where ``Operations`` reports a defect of its own."""

    def __init__(self, world: World) -> None:
        self._world = world

    def warning(self, text: str, **_fields: object) -> None:
        self._world.breaks(text)


def key_of(name: str) -> Key:
    return Key(NAMESPACE, name)


def _key(body: Object) -> Key:
    return key_of(body["metadata"]["name"])
