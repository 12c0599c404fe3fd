"""A schedule on a real API server, and operators that live in fake time and are driven by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from controller.clock import rfc3339
from controller.errors import Conflict
from controller.reconcile import RequeueAfter
from controller.resource import Key
from controller.store import Store, StoreWriter
from controller.watch import Init, InitApply, InitDone
from reconcilers.api.backup import BACKUPS, CassandraBackup
from reconcilers.api.restore import RESTORES, CassandraRestore
from reconcilers.api.schedule import SCHEDULES, CassandraBackupSchedule
from reconcilers.schedule.reconciler import INDEX, ScheduleReconciler
from reconcilers.schedule.wiring import index
from tests.api.backup.spy import Crash, Spy
from tests.api.crds.objects import body
from tests.fakes.clock import FakeClock

if TYPE_CHECKING:
    from controller.client import Client
    from controller.resource import Resource

NAME = "minutely"
CREATE = ("create", BACKUPS.kind)
LABELS = {"cassandra-datacenter": "foo-cassandra"}
_KINDS: dict[Resource, Any] = {
    SCHEDULES: CassandraBackupSchedule, BACKUPS: CassandraBackup, RESTORES: CassandraRestore
}  # fmt: skip


class Said:
    """In place of the recorder."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, str]] = []

    def event(self, _resource: object, _obj: object, type_: str, reason: str, message: str) -> None:
        self.events.append((type_, reason, message))


class Operator:
    """A process: its stores, and nothing else."""

    def __init__(self, world: World) -> None:
        self.spy = Spy(world.client, set(), {})
        self.stores: dict[Resource, Store[Any]] = {
            SCHEDULES: Store(), BACKUPS: Store({INDEX: index}), RESTORES: Store()
        }  # fmt: skip
        self.reconciler = ScheduleReconciler(
            client=self.spy,  # type: ignore[arg-type]
            schedules=self.stores[SCHEDULES],
            backups=self.stores[BACKUPS],
            restores=self.stores[RESTORES],
            recorder=world.said,  # type: ignore[arg-type]
            clock=world.clock,
        )
        self._world = world

    async def see(self) -> None:
        """As the watches would."""
        for resource, kind in _KINDS.items():
            writer = StoreWriter(self.stores[resource])
            writer.apply(Init())
            for found in await self._world.client.list(resource, self._world.namespace):
                writer.apply(InitApply(msgspec.convert(found, kind)))
            writer.apply(InitDone())

    async def settle(self) -> float:
        """Turns until there is nothing to be done now; then seconds until the next."""
        for _ in range(20):
            await self.see()
            try:
                outcome = await self.reconciler.reconcile(self._world.key)
            except Conflict:
                continue
            if not isinstance(outcome, RequeueAfter) or outcome.seconds > 0:
                return getattr(outcome, "seconds", 3600.0)
        raise AssertionError("it does not come to rest")


class World:
    def __init__(self, client: Client, namespace: str) -> None:
        self.client = client
        self.namespace = namespace
        self.key = Key(namespace, NAME)
        self.start = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=2)
        self.clock = FakeClock(self.start)
        self.said = Said()
        self.operators: list[Operator] = []

    def operator(self) -> Operator:
        """Another process, which knows nothing."""
        self.operators.append(Operator(self))
        return self.operators[-1]

    async def survive(self, operator: Operator) -> Operator:
        """Who lives after there is nothing to be done now."""
        try:
            await operator.settle()
        except Crash:
            operator = self.operator()
            await operator.settle()
        return operator

    def created(self) -> list[str]:
        """Every backup that any operator had the API server make."""
        return [name for o in self.operators for verb, kind, name in o.spy.writes if (verb, kind) == CREATE]

    async def schedule(self, **spec: Any) -> None:
        """Each minute from the start on: what the API server's own clock says of its creation does not matter."""
        await self.create(**{"schedule": "0 0 29 2 *", **spec})
        await Operator(self).settle()
        self.said.events.clear()
        await self.client.patch(SCHEDULES, self.key, {"spec": {"schedule": "* * * * *"}})

    async def create(self, *, template: dict[str, Any] | None = None, **spec: Any) -> None:
        given = {"metadata": {"labels": LABELS}, "spec": {"backupType": "AWS_S3", "target": "b", **(template or {})}}
        made = body(SCHEDULES, NAME, **{"backupTemplate": given, **spec})
        made["metadata"]["namespace"] = self.namespace
        await self.client.create(SCHEDULES, made)

    def slot(self, minute: int) -> str:
        """Name of the backup of so many minutes after the start."""
        return f"{NAME}-{self.start + timedelta(minutes=minute):%Y%m%d%H%M}"

    def time(self, minute: int) -> str:
        return rfc3339(self.start + timedelta(minutes=minute))

    async def end(self, name: str, phase: str = "Completed") -> None:
        """As the reconciler of backups would."""
        status = {"phase": phase, "completionTime": rfc3339(self.clock.now())}
        await self.client.patch(BACKUPS, Key(self.namespace, name), {"status": status}, subresource="status")

    async def names(self) -> list[str]:
        return sorted(found["metadata"]["name"] for found in await self.client.list(BACKUPS, self.namespace))

    async def backup(self, name: str) -> dict[str, Any]:
        return await self.client.get(BACKUPS, Key(self.namespace, name))

    async def status(self) -> dict[str, Any]:
        found: dict[str, Any] = (await self.client.get(SCHEDULES, self.key))["status"]
        return found
