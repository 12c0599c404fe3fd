"""A schedule, its backups and an operator in fake time, over a dictionary in place of an API server.

The operator's stores are what it last saw: ``refresh`` brings them up to date, and a test that does not call it has a
watch that lags.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import msgspec

from controller.clock import rfc3339
from controller.errors import Conflict, NotFound
from controller.reconcile import RequeueAfter
from controller.resource import Key
from controller.store import Store, StoreWriter
from controller.watch import Init, InitApply, InitDone
from reconcilers.api.backup import BACKUPS, CassandraBackup
from reconcilers.api.restore import RESTORES, CassandraRestore
from reconcilers.api.schedule import SCHEDULES, CassandraBackupSchedule
from reconcilers.schedule.reconciler import INDEX, ScheduleReconciler
from reconcilers.schedule.wiring import index
from tests.fakes.client import FakeClient
from tests.fakes.clock import FakeClock
from tests.unit.reconcilers.schedule.objects import NAME, OWN, UID

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from controller.reconcile import Outcome
    from controller.resource import Resource

KEY = Key("ns", NAME)
_KINDS: dict[Resource, Any] = {
    SCHEDULES: CassandraBackupSchedule, BACKUPS: CassandraBackup, RESTORES: CassandraRestore
}  # fmt: skip


class Api(FakeClient):
    """With what schedules ask for beside: lists, deletions with finalizers, statuses."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self.clock = clock

    async def create(self, resource: Resource, body: dict[str, Any]) -> dict[str, Any]:
        made = copy.deepcopy(body)
        made["metadata"]["creationTimestamp"] = rfc3339(self.clock.now())
        return await super().create(resource, {"kind": resource.kind, **made})

    async def list(self, resource: Resource, namespace: str = "", *, label_selector: str = "") -> list[dict[str, Any]]:
        await self._request("list", resource, Key(namespace, label_selector))
        wanted = dict(term.split("=") for term in label_selector.split(",") if term)
        return [
            copy.deepcopy(body)
            for (kind, key), body in self.objects.items()
            if kind == resource
            and key.namespace == namespace
            and wanted.items() <= body["metadata"].get("labels", {}).items()
        ]

    async def delete(self, resource: Resource, key: Key, *, uid: str = "", resource_version: str = "") -> bool:
        await self._request("delete", resource, key)
        meta = self._found(resource, key)["metadata"]
        if (uid or meta["uid"], resource_version or meta["resourceVersion"]) != (meta["uid"], meta["resourceVersion"]):
            raise Conflict("the precondition does not hold", status=409)
        if meta.get("finalizers"):
            self.objects[resource, key]["metadata"].setdefault("deletionTimestamp", rfc3339(self.clock.now()))
        else:
            del self.objects[resource, key]
        return True

    async def patch_status(
        self, resource: Resource, key: Key, status: Mapping[str, Any], *, uid: str, resource_version: str = ""
    ) -> dict[str, Any]:
        tests = {"uid": uid, "resourceVersion": resource_version}
        patch = [{"op": "test", "path": f"/metadata/{name}", "value": value} for name, value in tests.items()]
        return await self.patch(resource, key, [*patch, {"op": "add", "path": "/status", "value": dict(status)}])


class Said:
    """In place of the recorder."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, str]] = []

    def event(self, _resource: object, _obj: object, type_: str, reason: str, message: str) -> None:
        self.events.append((type_, reason, message))


class World:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.api = Api(self.clock)
        self.said = Said()
        self.stores: dict[Resource, Store[Any]] = {
            SCHEDULES: Store(), BACKUPS: Store({INDEX: index}), RESTORES: Store()
        }  # fmt: skip
        self.restart()

    def restart(self) -> None:
        """Another process, which knows nothing."""
        self.reconciler = ScheduleReconciler(
            client=self.api,  # type: ignore[arg-type]
            schedules=self.stores[SCHEDULES],
            backups=self.stores[BACKUPS],
            restores=self.stores[RESTORES],
            recorder=self.said,  # type: ignore[arg-type]
            clock=self.clock,
        )

    async def schedule(self, cron: str = "* * * * *", *, template: dict[str, Any] | None = None, **spec: Any) -> None:
        given = {"metadata": {"labels": OWN}, "spec": {"backupType": "AWS_S3", "target": "b", **(template or {})}}
        body = {"metadata": {"name": NAME, "namespace": "ns", "generation": 1},
                "spec": {"schedule": cron, "backupTemplate": given, **spec}}  # fmt: skip
        await self.api.create(SCHEDULES, body)
        self.api.objects[SCHEDULES, KEY]["metadata"]["uid"] = UID

    async def change(self, **spec: Any) -> None:
        generation = self.api.objects[SCHEDULES, KEY]["metadata"]["generation"] + 1
        await self.api.patch(SCHEDULES, KEY, {"metadata": {"generation": generation}, "spec": spec})

    def refresh(self, *kinds: Resource) -> None:
        for kind in kinds or _KINDS:
            writer = StoreWriter(self.stores[kind])
            writer.apply(Init())
            for (resource, _), body in self.api.objects.items():
                if resource == kind:
                    writer.apply(InitApply(msgspec.convert(body, _KINDS[kind])))
            writer.apply(InitDone())

    async def turn(self) -> Outcome:
        """One reconcile, with all that the watches could have brought."""
        self.refresh()
        return await self.reconciler.reconcile(KEY)

    async def settle(self) -> float:
        """Turns until nothing is to be done now; then seconds until the next."""
        for _ in range(20):
            outcome = await self.turn()
            assert isinstance(outcome, RequeueAfter)
            if outcome.seconds > 0:
                return outcome.seconds
        raise AssertionError("it does not come to rest")

    async def run(self, seconds: float, *, end: str = "") -> None:
        """Lives for so long, a turn whenever one is due. With ``end``, each backup ends in that phase at once."""
        until = self.clock.monotonic() + seconds
        while True:
            wait = await self.settle()
            if end and any(not self.phase(name) for name in self.names()):
                for name in self.names():
                    if not self.phase(name):
                        self.end(name, end)
                continue
            if self.clock.monotonic() + wait > until:
                self.clock.jump(until - self.clock.monotonic())
                return
            self.clock.jump(wait)

    def end(self, name: str, phase: str = "Completed", *, at: datetime | None = None, **status: Any) -> None:
        """As the reconciler of backups would."""
        body = self.api.objects[BACKUPS, Key("ns", name)]
        body["status"] = {"phase": phase, "completionTime": rfc3339(at or self.clock.now()), **status}
        self.api._store(BACKUPS, Key("ns", name), body)

    def names(self) -> list[str]:
        return sorted(key.name for resource, key in self.api.objects if resource == BACKUPS)

    def phase(self, name: str) -> str:
        return str(self.api.objects[BACKUPS, Key("ns", name)].get("status", {}).get("phase", ""))

    @property
    def status(self) -> dict[str, Any]:
        """As it was written."""
        found: dict[str, Any] = self.api.objects[SCHEDULES, KEY].get("status", {})
        return found

    def condition(self, type_: str) -> tuple[str, str]:
        return next(((c["status"], c["reason"]) for c in self.status["conditions"] if c["type"] == type_), ("", ""))

    def reasons(self) -> list[str]:
        return [reason for _, reason, _ in self.said.events]

    def writes(self, verb: str, resource: Resource = SCHEDULES) -> int:
        return sum((v, r) == (verb, resource) for v, r, _ in self.api.calls)


def missing(world: World, name: str) -> bool:
    try:
        world.api._found(BACKUPS, Key("ns", name))
    except NotFound:
        return True
    return False
