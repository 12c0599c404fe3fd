"""A namespace of a real API server, agents without a network, and an operator that lives in fake time.

The operator is driven by hand, one reconcile at a time: so it can be killed at every step, and hours pass in no time.
Its stores are read from the API server before each reconcile, which then sees what it or the test has written.
"""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from controller import builtin
from controller.clock import RealClock, rfc3339
from controller.errors import Conflict
from controller.objects import raw_object
from controller.reconcile import Done, RequeueAfter
from controller.recorder import Recorder
from controller.resource import Key
from controller.store import Store, StoreWriter
from controller.watch import Init, InitApply, InitDone
from reconcilers import labels
from reconcilers.agents import Agents
from reconcilers.api.backup import BACKUPS, CassandraBackup
from reconcilers.api.datacenter import DATACENTERS, CassandraDataCenter
from reconcilers.api.restore import RESTORES, CassandraRestore
from reconcilers.backup.delete import Deletion
from reconcilers.backup.importing import Importer
from reconcilers.backup.nodes import Nodes
from reconcilers.backup.reconciler import BackupReconciler
from reconcilers.backup.select import Selector
from reconcilers.backup.sightings import Sightings
from reconcilers.catalog.reconciler import CatalogReconciler
from reconcilers.catalog.said import Said
from reconcilers.datacenter import pod as datacenter_pod
from reconcilers.datacenter.layout import first_pods, layout_of
from reconcilers.errands import Errands
from reconcilers.garbage.notes import Notes
from reconcilers.garbage.reconciler import GarbageReconciler
from reconcilers.identity import MasterKey
from reconcilers.inspector import Inspectors
from reconcilers.operations import Operations
from reconcilers.readers import Readers
from reconcilers.restore.nodes import Nodes as RestoreNodes
from reconcilers.restore.reconciler import RestoreReconciler
from tests.api.backup.spy import Crash, Spy
from tests.api.crds.objects import body as least_body
from tests.fakes.agents import FakeAgent, FakeAgents
from tests.fakes.clock import FakeClock, settle

if TYPE_CHECKING:
    from collections.abc import Callable

    from controller.client import Client
    from controller.objects import RawObject
    from controller.reconcile import Outcome
    from controller.resource import Resource
    from tests.api.apiserver import ApiServer

Object = dict[str, Any]
MASTER = MasterKey(b"m" * 32)
CONFLICT_PAUSE = 0.2
GRACE = 86_400  # seconds
_KINDS: dict[Resource, Any] = {
    BACKUPS: CassandraBackup,
    RESTORES: CassandraRestore,
    DATACENTERS: CassandraDataCenter,
    builtin.PODS: None,
    builtin.STATEFULSETS: None,
    builtin.CONFIGMAPS: None,
}


class World:
    def __init__(self, client: Client, apiserver: ApiServer, namespace: str) -> None:
        self.client = client
        self.namespace = namespace
        self.clock = FakeClock(datetime.now(UTC).replace(microsecond=0))
        self.agents = FakeAgents(self.clock)
        self.agents.tokens = MASTER
        self.stores: dict[Resource, Store[Any]] = {resource: Store() for resource in _KINDS}
        self.dirty: set[Resource] = set(_KINDS)
        self.invented: dict[
            Resource, list[Object]
        ] = {}  # objects that the operator sees and the API server does not hold
        self.spy = Spy(client, self.dirty, self.invented)
        self.born: dict[str, str] = {}
        self.session = 0
        self.conflicts = 0
        self.reconciles = 0
        self.restart_after = 0  # reconciles
        self.due: dict[tuple[str, Key], float] = {}
        self.watched: list[Callable[[], None]] = []  # called after each reconcile, with fresh stores: invariants
        self._apiserver = apiserver
        self._recorder: Recorder | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._versions: dict[tuple[Resource, Key], str] = {}
        self._addresses = 0

    # the operator

    async def start(self) -> None:
        """A new process, which knows nothing."""
        self.session += 1
        recorder = Recorder(self.client, "cassandra-operator", RealClock())
        self._recorder = recorder
        agents = Agents(self.agents, MASTER)
        operations = Operations(agents, self.clock)
        self.operations = operations
        pods, datacenters = self.stores[builtin.PODS], self.stores[DATACENTERS]
        client: Any = self.spy
        errands, garbage_errands = (
            Errands(
                client=client, owners=resource, operations=operations, pod_store=pods, helpers=pods,
                datacenters=datacenters, master=MASTER, clock=self.clock, wake=self.wake(resource),
            )
            for resource in (BACKUPS, builtin.CONFIGMAPS)
        )  # fmt: skip
        sightings = Sightings()
        sightings.wake = self.wake(BACKUPS)
        self.reconcilers: dict[str, Any] = {
            BACKUPS.kind: BackupReconciler(
                client=client,
                backups=self.stores[BACKUPS],
                restores=self.stores[RESTORES],
                selector=Selector(client=client, datacenters=datacenters, pod_store=pods),
                nodes=Nodes(operations=operations, pod_store=pods, wake=self.wake(BACKUPS), clock=self.clock),
                deletion=Deletion(
                    client=client, restores=self.stores[RESTORES], errands=errands, notes=Notes(client, GRACE)
                ),
                importer=Importer(
                    client=client,
                    datacenters=datacenters,
                    agents=agents,
                    readers=Readers(pod_store=pods, inspectors=Inspectors(client=client, store=pods)),
                ),
                sightings=sightings,
                recorder=recorder,
                clock=self.clock,
                session=f"operator-{self.session}",
            ),
            RESTORES.kind: RestoreReconciler(
                client=client,
                restores=self.stores[RESTORES],
                backups=self.stores[BACKUPS],
                datacenters=datacenters,
                statefulsets=self.stores[builtin.STATEFULSETS],
                config_maps=self.stores[builtin.CONFIGMAPS],
                inspectors=Inspectors(client=client, store=pods),
                agents=agents,
                nodes=RestoreNodes(operations=operations, agents=agents, pod_store=pods, wake=self.wake(RESTORES)),
                recorder=recorder,
                clock=self.clock,
            ),
            builtin.CONFIGMAPS.kind: GarbageReconciler(
                client=client, config_maps=self.stores[builtin.CONFIGMAPS], datacenters=datacenters,
                errands=garbage_errands, recorder=recorder, clock=self.clock, grace=GRACE,
            ),
        }  # fmt: skip
        self.said = Said()
        self.reconcilers[DATACENTERS.kind] = CatalogReconciler(
            client=client,
            datacenters=datacenters,
            backups=self.stores[BACKUPS],
            restores=self.stores[RESTORES],
            agents=agents,
            readers=Readers(pod_store=pods, inspectors=Inspectors(client=client, store=pods)),
            said=self.said,
            sightings=sightings,
            recorder=recorder,
            clock=self.clock,
        )
        self._tasks = [asyncio.create_task(part.run()) for part in (operations, recorder)]
        self.due = {(r.kind, key): self.clock.monotonic() for r, key in self._objects()}
        await settle()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    def wake(self, resource: Resource) -> Callable[[Key], None]:
        return lambda key: self._due(resource.kind, key, 0)

    def _due(self, kind: str, key: Key, after: float) -> None:
        at = self.clock.monotonic() + after
        self.due[kind, key] = min(at, self.due.get((kind, key), at))

    def _objects(self) -> list[tuple[Resource, Key]]:
        kinds = (BACKUPS, RESTORES, DATACENTERS)  # of a datacenter its catalog alone
        found = [(r, Key(self.namespace, o.metadata.name)) for r in kinds for o in self.stores[r].all()]
        return found + [(builtin.CONFIGMAPS, self.key(g.metadata.name)) for g in self.garbage()]

    async def refresh(self) -> None:
        """As the watches would, and any change wakes whatever may care."""
        changed = False
        while self.dirty:
            resource = self.dirty.pop()
            if resource not in _KINDS:
                continue
            writer, decode = StoreWriter(self.stores[resource]), _KINDS[resource]
            writer.apply(Init())
            for found in [*await self.client.list(resource, self.namespace), *self.invented.get(resource, ())]:
                # the API server lives in real time: for the operator an object is made when it is first seen
                meta = found["metadata"]
                meta["creationTimestamp"] = self.born.setdefault(meta["uid"], rfc3339(self.clock.now()))
                obj = raw_object(found) if decode is None else msgspec.convert(found, decode)
                writer.apply(InitApply(obj))
            changes = writer.apply(InitDone())
            for old, new in changes:
                ours = resource in (BACKUPS, RESTORES, DATACENTERS)
                if ours or labels.GARBAGE in (new or old).metadata.labels:
                    self._due(resource.kind, Key(self.namespace, (new or old).metadata.name), 0)
            changed = changed or bool(changes)
        if changed:
            for resource, key in self._objects():
                self._due(resource.kind, key, 0)

    async def reconcile(self, kind: str, key: Key) -> Outcome:
        """One turn of a worker."""
        self.due.pop((kind, key), None)
        self.reconciles += 1
        try:
            outcome = await self.reconcilers[kind].reconcile(key)
        except Conflict:
            self.conflicts += 1
            outcome = RequeueAfter(CONFLICT_PAUSE, "conflict")
        if isinstance(outcome, RequeueAfter):
            self._due(kind, key, outcome.seconds)
        else:
            assert isinstance(outcome, Done)
        return outcome

    async def run(self, done: Callable[[], object], *, within: float = 600) -> None:
        """Lives until ``done``, or fails after ``within`` fake seconds."""
        end = self.clock.monotonic() + within
        while True:
            await self.refresh()
            await settle()
            for check in self.watched:
                check()
            if done():
                return
            try:
                await self._turn(end)
            except Crash:
                await self.restart()

    async def rest(self, seconds: float) -> None:
        """Lives for so long."""
        until = self.clock.monotonic() + seconds
        await self.run(lambda: self.clock.monotonic() >= until - 1e-6, within=seconds + 1)

    async def _turn(self, end: float) -> None:
        now = self.clock.monotonic()
        ready = [(at, who) for who, at in self.due.items() if at <= now + 1e-9]
        if ready:
            kind, key = min(ready)[1]
            await self.reconcile(kind, key)
            if self.reconciles == self.restart_after:
                await settle()
                raise Crash
            return
        timer = self.clock.next_timer()
        waits = [at - now for at in self.due.values()] + ([] if timer is None else [max(0.0, timer)])
        if now >= end - 1e-9:
            raise AssertionError(f"it does not come to it; the statuses are {self.statuses()}")
        await self.clock.advance(max(1e-3, min([*waits, end - now])))

    def statuses(self) -> list[Any]:
        return [o.status for r in (BACKUPS, RESTORES) for o in self.stores[r].all()]

    # what a person does

    def key(self, name: str) -> Key:
        return Key(self.namespace, name)

    async def create(self, resource: Resource, body: Object) -> Object:
        body["metadata"]["namespace"] = self.namespace
        self.dirty.add(resource)
        return await self.client.create(resource, body)

    async def patch(self, resource: Resource, name: str, patch: Object, *, subresource: str = "") -> Object:
        self.dirty.add(resource)
        return await self.client.patch(resource, self.key(name), patch, subresource=subresource)

    async def delete(self, resource: Resource, name: str) -> bool:
        self.dirty.add(resource)
        return await self.client.delete(resource, self.key(name))

    async def datacenter(
        self,
        name: str = "foo-cassandra",
        replicas: int = 3,
        *,
        own: dict[str, str] | None = None,
        pods: bool = True,
        ready: bool = True,
        **spec: Any,
    ) -> CassandraDataCenter:
        """With pods that look ready, as its reconciler and a kubelet would have made them."""
        body = least_body(DATACENTERS, name, replicas=replicas, **spec)
        body["metadata"]["labels"] = own or {}
        await self.create(DATACENTERS, body)
        status = {"clusterName": f"{name}-cluster", "datacenterName": f"{name}-dc"} if pods else {}
        made = await self.patch(DATACENTERS, name, {"status": status}, subresource="status")
        datacenter = msgspec.convert(made, CassandraDataCenter)
        if pods:
            for rack, names in first_pods(datacenter).items():
                for pod in names:
                    await self.pod(datacenter, rack, pod, ready=ready)
        return datacenter

    async def pod(
        self, datacenter: CassandraDataCenter, rack: str, name: str, *, ready: bool = True, answers: bool = True
    ) -> FakeAgent:
        """The pod comes, and its agent at a new address."""
        status = datacenter.status
        layout = layout_of(datacenter, cluster_name=status.cluster_name, datacenter_name=status.datacenter_name)
        of = next(r for r in layout.racks if r.name == rack)
        template = datacenter_pod.template(datacenter, layout, of)
        spec = template["spec"]
        if all(v["name"] != "data" for v in spec["volumes"]):
            spec["volumes"].append({"name": "data", "emptyDir": {}})
        await self.create(builtin.PODS, {"metadata": {**template["metadata"], "name": name}, "spec": spec})
        ip = self._new_ip()
        await self.pod_status(name, podIP=ip, ready=ready)
        agent = self.agents.add(name, ip, rack)
        agent.silent = not answers
        return agent

    def _new_ip(self) -> str:
        self._addresses += 1
        return f"10.1.{self._addresses // 250}.{self._addresses % 250 + 1}"

    async def pod_status(self, name: str, *, ready: bool, **status: Any) -> None:
        condition = {
            "type": "Ready",
            "status": "True" if ready else "False",
            "lastTransitionTime": rfc3339(self.clock.now()),
        }
        body = {"status": {"phase": "Running", "conditions": [condition], **status}}
        await self.patch(builtin.PODS, name, body, subresource="status")

    async def replace_pod(self, datacenter: CassandraDataCenter, name: str, *, rack: str = "rack1") -> FakeAgent:
        """The pod goes and comes back on the same volume, with another UID and address."""
        await self.lose_pod(name)
        agent = await self.pod(datacenter, rack, name)
        agent.restart()
        return agent

    async def crowd(self, count: int, name: str = "foo-cassandra") -> None:
        """A datacenter with very many pods. The API server holds the first three: its speed is not at stake."""
        datacenter = await self.datacenter(name, replicas=3)
        await self.patch(DATACENTERS, name, {"spec": {"replicas": count}})
        model = msgspec.json.encode(await self.client.get(builtin.PODS, self.key(f"cassandra-{name}-0")))
        more: list[Object] = []
        for number in range(3, count):
            pod = msgspec.json.decode(model)
            pod["metadata"] |= {"name": f"cassandra-{name}-{number}", "uid": str(uuid.uuid4())}
            pod["status"]["podIP"] = self._new_ip()
            self.agents.add(pod["metadata"]["name"], pod["status"]["podIP"])
            more.append(pod)
        self.invented[builtin.PODS] = more
        assert datacenter.metadata.name == name

    async def lose_datacenter(self, name: str = "foo-cassandra") -> None:
        """The object, and what hangs on it."""
        await self.delete(DATACENTERS, name)
        for pod in self.stores[builtin.PODS].all():
            if pod.metadata.labels.get(labels.DATACENTER) == name:
                await self.lose_pod(pod.metadata.name)

    def helpers(self) -> list[RawObject]:
        return [p for p in self.stores[builtin.PODS].all() if labels.INSPECTOR in p.metadata.labels]

    async def helper_comes(self, *, within: float = 60) -> FakeAgent:
        """The pod that somebody made to work in the bucket starts."""

        def new() -> list[str]:
            return [p.metadata.name for p in self.helpers() if not p.body.get("status", {}).get("podIP")]

        await self.run(new, within=within)
        name, ip = new()[0], self._new_ip()
        await self.pod_status(name, ready=True, podIP=ip)
        return self.agents.add(name, ip)

    async def lose_pod(self, name: str) -> None:
        self.agents.remove(name)
        await self.delete(builtin.PODS, name)

    async def backup(self, name: str = "backup", own: dict[str, str] | None = None, **spec: Any) -> Key:
        body = least_body(BACKUPS, name, **spec)
        body["metadata"]["labels"] = {"cassandra-datacenter": "foo-cassandra"} if own is None else own
        await self.create(BACKUPS, body)
        return self.key(name)

    async def restore(self, name: str = "restore", **spec: Any) -> Key:
        await self.create(RESTORES, least_body(RESTORES, name, **spec))
        return self.key(name)

    # what there is to see

    def garbage(self) -> list[RawObject]:
        """What is remembered to be collected."""
        return [g for g in self.stores[builtin.CONFIGMAPS].all() if labels.GARBAGE in g.metadata.labels]

    def get(self, name: str = "backup") -> CassandraBackup:
        found = self.stores[BACKUPS].get(self.key(name))
        assert found is not None
        return found

    def get_restore(self, name: str = "restore") -> CassandraRestore:
        found = self.stores[RESTORES].get(self.key(name))
        assert found is not None
        return found

    def phase(self, name: str = "backup") -> str:
        found = self.stores[BACKUPS].get(self.key(name))
        return found.status.phase if found else "gone"

    def restore_phase(self, name: str = "restore") -> str:
        return self.get_restore(name).status.phase

    def condition(self, type_: str, name: str = "backup", resource: Resource = BACKUPS) -> tuple[str, str, str]:
        """Status, reason, message; empty where it is not said."""
        found = self.stores[resource].get(self.key(name))
        for condition in found.status.conditions:
            if condition.type == type_:
                return condition.status, condition.reason, condition.message
        return "", "", ""

    async def events(self, name: str = "backup") -> list[tuple[str, str, str]]:
        """Type, reason, message; each is written by now."""
        await self.written()
        found = await self.client.list(builtin.EVENTS, self.namespace)
        mine = [e for e in found if e["involvedObject"]["name"] == name]
        return sorted((e["type"], e["reason"], e["message"]) for e in mine)

    async def reasons(self, name: str = "backup") -> set[str]:
        return {reason for _, reason, _ in await self.events(name)}

    async def written(self) -> None:
        """Every event that was told is in the API server."""
        assert self._recorder is not None
        async with asyncio.timeout(10):
            while self._recorder._wake.is_set():  # noqa: ASYNC110  it has no event for being through
                await asyncio.sleep(0.005)

    async def create_lease(self, name: str, holder: str) -> None:
        await self.create(builtin.LEASES, {"metadata": {"name": name}, "spec": {"holderIdentity": holder}})

    async def leases(self) -> dict[str, str]:
        found = await self.client.list(builtin.LEASES, self.namespace)
        return {lease["metadata"]["name"]: lease["spec"]["holderIdentity"] for lease in found}

    async def writes(self) -> int:
        """How many there were, events among them."""
        await self.written()
        return len(self._apiserver.writes(self.namespace))

    async def columns(self, resource: Resource, name: str) -> dict[str, Any]:
        """As ``kubectl get -o wide`` shows the object."""
        answer = await self.client.raw(
            "GET",
            resource.path(self.namespace, name),
            headers={"Accept": "application/json;as=Table;g=meta.k8s.io;v=v1"},
        )
        table = msgspec.json.decode(answer.body)
        names = [column["name"] for column in table["columnDefinitions"]]
        return dict(zip(names, table["rows"][0]["cells"], strict=True))
