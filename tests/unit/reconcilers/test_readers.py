"""Who is asked, in which order."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from controller.objects import ObjectMeta, raw_object
from controller.store import Store, StoreWriter
from controller.watch import Init, InitApply, InitDone
from reconcilers import labels
from reconcilers.agents import AgentRefused, AgentUnreachable
from reconcilers.api.backup import BackupSpec, CassandraBackup
from reconcilers.api.common import BackupType
from reconcilers.api.datacenter import CassandraDataCenter, DataCenterSpec
from reconcilers.readers import NotYet, Readers

if TYPE_CHECKING:
    from controller.objects import RawObject
    from reconcilers.agents import Address

DATACENTER = CassandraDataCenter(
    metadata=ObjectMeta(namespace="ns", name="dc", uid="dc"),
    spec=DataCenterSpec(cassandra_image="c", sidecar_image="s"),
)
OWNER = CassandraBackup(
    metadata=ObjectMeta(namespace="ns", name="b", uid="b"),
    spec=BackupSpec(backup_type=BackupType.AWS_S3, target="bucket"),
)


class NoInspectors:
    started = 0

    def find(self, _owner: object) -> None:
        return None

    async def start(self, _owner: object, _datacenter: object) -> None:
        self.started += 1


def pod(name: str, *, ready: bool = True, datacenter: str = "dc") -> RawObject:
    condition = {"type": "Ready", "status": "True" if ready else "False"}
    return raw_object({
        "metadata": {"name": name, "namespace": "ns", "uid": name, "labels": {labels.DATACENTER_UID: datacenter}},
        "status": {"podIP": "10.0.0.1", "conditions": [condition]},
    })  # fmt: skip


def readers(*pods: RawObject) -> tuple[Readers, NoInspectors]:
    store: Store[RawObject] = Store()
    writer = StoreWriter(store)
    for event in (Init(), *(InitApply(one) for one in pods), InitDone()):
        writer.apply(event)
    none: Any = NoInspectors()
    return Readers(pod_store=store, inspectors=none), none


@pytest.fixture
def asked() -> list[str]:
    return []


async def test_the_first_three_that_are_ready_then_an_inspector(asked: list[str]) -> None:
    asking, inspectors = readers(
        *(pod(f"p-{n}") for n in (10, 9, 2, 1)), pod("p-0", ready=False), pod("x", datacenter="other")
    )

    async def question(address: Address) -> str:
        asked.append(address.pod)
        raise AgentUnreachable("AgentUnreachable", f"{address.pod} is silent")

    with pytest.raises(NotYet, match="p-9 is silent"):
        await asking.ask(OWNER, DATACENTER, question)
    assert asked == ["p-1", "p-2", "p-9"]
    assert inspectors.started == 1


async def test_one_that_hangs_is_asked_last_the_next_time(asked: list[str]) -> None:
    """The reconcile that asks is cut off before its own patience ends."""
    asking, _ = readers(pod("p-0"), pod("p-1"))

    async def question(address: Address) -> str:
        asked.append(address.pod)
        if address.pod == "p-0":
            await asyncio.Event().wait()
        return address.pod

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await asking.ask(OWNER, DATACENTER, question)
    assert await asking.ask(OWNER, DATACENTER, question) == "p-1"
    assert asked == ["p-0", "p-1"]


@pytest.mark.parametrize(("reason", "error"), [("AccessDenied", AgentRefused), ("StorageThrottled", NotYet)])
async def test_a_refusal_is_the_answer(asked: list[str], reason: str, error: type[Exception]) -> None:
    asking, inspectors = readers(pod("p-0"), pod("p-1"))

    async def question(address: Address) -> str:
        asked.append(address.pod)
        raise AgentRefused(reason, "no")

    for _ in range(2):
        with pytest.raises(error) as e:
            await asking.ask(OWNER, DATACENTER, question)
        assert e.type is error
    assert asked == ["p-0", "p-0"]
    assert inspectors.started == 0
