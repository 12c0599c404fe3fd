"""An operator of datacenters alone, against a real API server, with fake StatefulSets beside it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from controller import builtin
from controller.backoff import Backoff
from controller.client import Client
from controller.clock import RealClock
from controller.informer import Informer
from controller.objects import decode_raw
from controller.recorder import Recorder
from controller.resource import Key
from reconcilers import labels
from reconcilers.api.backup import BACKUPS, CassandraBackup
from reconcilers.api.datacenter import DATACENTERS, CassandraDataCenter
from reconcilers.api.datacenter_status import DataCenterPhase
from reconcilers.api.restore import RESTORES, CassandraRestore
from reconcilers.datacenter.stores import INDEX
from reconcilers.datacenter.wiring import Informers, backups_index, children_index, datacenter_controller
from reconcilers.identity import MasterKey
from tests.api.crds.conftest import crds  # noqa: F401  a fixture
from tests.api.crds.objects import example
from tests.fakes.statefulset import FakeStatefulSets

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from controller.config import Config
    from reconcilers.datacenter.nodes import NodeInfo
    from tests.api.apiserver import ApiServer

Object = dict[str, Any]
NAME = "foo-cassandra"
CHILDREN = (
    builtin.STATEFULSETS,
    builtin.SERVICES,
    builtin.CONFIGMAPS,
    builtin.SERVICEACCOUNTS,
    builtin.PDBS,
    builtin.SECRETS,
)


class Ring:
    """The namespace of one test, and what a person with kubectl would do in it."""

    def __init__(self, client: Client, operator_client: Client, apiserver: ApiServer, namespace: str) -> None:
        self.client = client
        self.namespace = namespace
        self.sets = FakeStatefulSets(client, namespace)
        self._apiserver = apiserver
        self._operator_client = operator_client

    def key(self, name: str = NAME) -> Key:
        return Key(self.namespace, name)

    @asynccontextmanager
    async def operator(
        self, master: bytes = b"m" * 32, agents: NodeInfo | None = None, **options: Any
    ) -> AsyncIterator[None]:
        informers = self._informers()
        clock = RealClock()
        recorder = Recorder(self._operator_client, "cassandra-operator", clock)
        controller = datacenter_controller(
            client=self._operator_client,
            informers=informers,
            recorder=recorder,
            clock=clock,
            master=MasterKey(master),
            agents=agents,
            backoff=Backoff(clock, base=0.05, cap=0.5),
            **options,
        )
        self.queue = controller.queue
        parts = [*(getattr(informers, name) for name in informers.__slots__), recorder, controller]
        tasks = [asyncio.create_task(part.run()) for part in parts]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _informers(self) -> Informers:
        client, namespace = self._operator_client, self.namespace

        def children(resource: Any, **indexes: Any) -> Informer[Any]:
            return Informer(client, resource, decode_raw, namespace=namespace, indexes=indexes)

        return Informers(
            datacenters=Informer(client, DATACENTERS, CassandraDataCenter.decode, namespace=namespace),
            statefulsets=children(builtin.STATEFULSETS),
            pods=children(builtin.PODS, **{INDEX: children_index}),
            services=children(builtin.SERVICES),
            configmaps=children(builtin.CONFIGMAPS),
            service_accounts=children(builtin.SERVICEACCOUNTS),
            budgets=children(builtin.PDBS),
            restores=Informer(client, RESTORES, CassandraRestore.decode, namespace=namespace),
            backups=Informer(
                client, BACKUPS, CassandraBackup.decode, namespace=namespace, indexes={INDEX: backups_index}
            ),
        )

    async def create(self, name: str = NAME, **spec: Any) -> Object:
        """The user's datacenter; a field given as None is left out."""
        body = example("datacenter.yaml")
        body["metadata"] |= {"name": name, "namespace": self.namespace}
        body["spec"] = {key: value for key, value in {**body["spec"], **spec}.items() if value is not None}
        return await self.client.create(DATACENTERS, body)

    async def edit(self, spec: Object, name: str = NAME) -> None:
        await self.client.patch(DATACENTERS, self.key(name), {"spec": spec})

    async def datacenter(self, name: str = NAME) -> CassandraDataCenter:
        return msgspec.convert(await self.client.get(DATACENTERS, self.key(name)), CassandraDataCenter)

    async def until(self, met: Callable[[CassandraDataCenter], object], name: str = NAME) -> CassandraDataCenter:
        """The datacenter once it is as ``met`` wants it."""
        cdc = None
        try:
            async with asyncio.timeout(20):
                while True:
                    cdc = await self.datacenter(name)
                    if met(cdc):
                        return cdc
                    await asyncio.sleep(0.05)
        except TimeoutError:
            pytest.fail(f"the datacenter does not come to it: {cdc}")

    async def eventually(self, look: Callable[[], Awaitable[object]]) -> Any:
        """What ``look`` finds, once that is something."""
        async with asyncio.timeout(20):
            while not (found := await look()):  # noqa: ASYNC110  there is no event to wait for
                await asyncio.sleep(0.05)
        return found

    async def rest(self) -> None:
        """Every reconcile that was to come has come: two looks at all objects, a while apart, see the same."""
        before: object = None
        async with asyncio.timeout(20):
            while (now := await self.versions()) != before or not self._idle():
                before = now
                await asyncio.sleep(0.3)

    def _idle(self) -> bool:
        queue = self.queue.statistics()
        return queue.added > 0 and queue.ready == queue.processing == queue.failing == 0

    async def versions(self) -> dict[str, str]:
        """resourceVersion of everything in the namespace, Events too."""
        found = {}
        for resource in (*CHILDREN, DATACENTERS, RESTORES, builtin.PODS, builtin.EVENTS):
            for obj in await self.client.list(resource, self.namespace):
                found[f"{resource.kind}/{obj['metadata']['name']}"] = obj["metadata"]["resourceVersion"]
        return found

    async def get(self, resource: Any, name: str) -> Object:
        return await self.client.get(resource, Key(self.namespace, name))

    async def names(self, resource: Any) -> list[str]:
        return sorted(obj["metadata"]["name"] for obj in await self.client.list(resource, self.namespace))

    async def events(self) -> list[str]:
        return sorted({event["reason"] for event in await self.client.list(builtin.EVENTS, self.namespace)})

    def writes(self) -> int:
        """Write requests in this namespace so far, by whomever."""
        return len(self._apiserver.writes(self.namespace))

    def refusals(self) -> list[str]:
        """Writes of datacenters that the API server did not take, such as those over an old version."""
        records = self._apiserver.writes(self.namespace)
        return [
            f"{record['verb']} {record['objectRef']} {record['responseStatus']}"
            for record in records
            if record["objectRef"].get("resource") == DATACENTERS.plural and record["responseStatus"]["code"] >= 400
        ]

    def secret_writes(self) -> int:
        records = self._apiserver.writes(self.namespace)
        return sum(record["objectRef"].get("resource") == "secrets" for record in records)


@pytest.fixture
async def ring(
    client: Client,
    operator_config: Config,
    apiserver: ApiServer,
    namespace: str,
    crds: object,  # noqa: F811
) -> AsyncIterator[Ring]:
    operator_client = await Client.connect(operator_config)
    ring = Ring(client, operator_client, apiserver, namespace)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(operator_client.close)
        await stack.enter_async_context(ring.sets.running())
        yield ring


def ready(cdc: CassandraDataCenter) -> bool:
    return cdc.status.phase == DataCenterPhase.READY


def condition(cdc: CassandraDataCenter, type_: str) -> tuple[str, str]:
    """(status, reason); empty where there is no such condition."""
    found = next((c for c in cdc.status.conditions if c.type == type_), None)
    return (found.status, found.reason) if found else ("", "")


def pods(count: int, name: str = NAME) -> list[str]:
    return [f"{labels.statefulset(name, '', default=True)}-{n}" for n in range(count)]
