"""A cluster, a bucket and operators, all of them fake but for what the operators run."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import msgspec

from controller import builtin
from controller.clock import parse_rfc3339
from controller.objects import raw_object
from controller.resource import Key
from reconcilers import labels
from reconcilers.agents import AgentUnreachable
from reconcilers.api.backup import BACKUPS, CassandraBackup
from reconcilers.identity import MasterKey
from tests.fakes.clock import settle
from tests.unit.reconcilers.backup.model.cluster import NAMESPACE, Cluster, key_of
from tests.unit.reconcilers.backup.model.fates import Fates
from tests.unit.reconcilers.backup.model.feed import KINDS
from tests.unit.reconcilers.backup.model.operator import Operator

if TYPE_CHECKING:
    from collections.abc import Callable

    from controller.resource import Resource
    from reconcilers.agents import Address

Object = dict[str, Any]


class BrokenRuleError(AssertionError):
    """With all that happened before it."""


class World(Cluster):
    def __init__(self) -> None:
        super().__init__()
        self.calls, self.requests, self.starts = Fates(), Fates(), Fates()  # ``starts`` is of PUTs to agents alone
        self.operators: list[Operator] = []
        self.master: Any = MasterKey(b"m" * 32)
        self.recorder: Any = _Recorder(self)
        self.log: Any = _Log(self)
        self.author: Operator | None = None  # of the write that is being made
        self.broken: list[str] = []
        self.overlapped = False  # two operators were at work at once
        self.disturbed: dict[str, float] = {}  # by pod: when a request to its agent last went wrong
        self.stopped: list[Callable[[str, str], None]] = []  # told pod and operation when a DELETE arrives
        self.late = False  # what arrives now, nobody waits for any more
        self.lag = 0.0  # seconds by which operators hear late of a backup
        self.hurt = False  # something happened that may fail a backup
        self._decoded: dict[tuple[Resource, Key, str], Any] = {}
        self.pause = 2.0  # seconds until another operator leads
        self._born = 0

    # what is told of it

    def breaks(self, rule: str) -> None:
        """And nothing more happens."""
        self.say(f"BROKEN: {rule}")
        self.broken.append(rule)
        for operator in self.operators:
            operator.end()

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
            if not self.living() and not self.broken:
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
        tasks = [*self._deeds, *(task for operator in self.operators for task in operator.tasks)]
        await asyncio.gather(*tasks, return_exceptions=True)
        await settle()

    # what comes to agents

    async def to_agent(self, address: Address, method: str, path: str, **named: Any) -> tuple[int, bytes]:
        if method == "DELETE":
            for hear in self.stopped:
                hear(address.pod, unquote(path.rpartition("/")[2]))
        return await self.agents.request(address, method, path, **named)

    async def to_agent_late(self, address: Address, method: str, path: str, **named: Any) -> None:
        self.say(f"the {method} of {path} comes to {address.pod} at last")
        self.late = True
        try:
            with suppress(AgentUnreachable):
                await self.to_agent(address, method, path, **named)
        finally:
            self.late = False

    def answers_since(self, pod: str) -> float:
        """For so many seconds, where anybody asks."""
        wrong = max(self.unreachable.get(pod, -1e9), self.disturbed.get(pod, -1e9))
        return 0.0 if pod in self.out_of_reach() else self.clock.monotonic() - wrong

    # what there is

    def decoded(self, resource: Resource, key: Key, body: Object) -> Any:
        """Decoded once for all operators: objects in a store are never changed."""
        version = resource, key, body["metadata"]["resourceVersion"]
        if version not in self._decoded:
            kind = KINDS[resource]
            copy = msgspec.json.decode(msgspec.json.encode(body))
            self._decoded[version] = raw_object(copy) if kind is None else msgspec.convert(copy, kind)
        return self._decoded[version]

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


def _key(body: Object) -> Key:
    return key_of(body["metadata"]["name"])
