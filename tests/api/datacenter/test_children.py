"""The objects a datacenter makes, and that it leaves them alone once they are right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from agent.protocol import Node
from controller import builtin
from controller.errors import Conflict
from controller.objects import raw_object
from controller.resource import Resource
from reconcilers.api.datacenter import DATACENTERS
from reconcilers.datacenter import builders
from reconcilers.datacenter.children import Children
from reconcilers.datacenter.layout import layout_of
from tests.api.datacenter.conftest import NAME, condition, pods, ready

if TYPE_CHECKING:
    from controller.client import Client
    from reconcilers.agents import Address
    from reconcilers.api.datacenter import CassandraDataCenter
    from reconcilers.datacenter.layout import Layout
    from tests.api.datacenter.conftest import Ring

STS = f"cassandra-{NAME}"


async def test_the_users_datacenter_comes_up(ring: Ring) -> None:
    await ring.create()
    async with ring.operator():
        cdc = await ring.until(ready)

        assert (cdc.status.replicas, cdc.status.ready_replicas, cdc.status.updated_replicas) == (3, 3, 3)
        assert (cdc.status.cluster_name, cdc.status.datacenter_name) == (NAME, NAME)
        assert [node.pod for node in cdc.status.nodes] == pods(3)
        assert condition(cdc, "Available") == ("True", "QuorumReady")
        assert await ring.names(builtin.STATEFULSETS) == [STS]
        assert await ring.names(builtin.SERVICES) == [f"{STS}-nodes", f"{STS}-seeds"]
        assert await ring.names(builtin.CONFIGMAPS) == [f"{STS}-config"]
        assert await ring.names(builtin.SERVICEACCOUNTS) == [STS]
        assert await ring.names(builtin.PDBS) == [STS]
        assert await ring.names(builtin.SECRETS) == [f"{NAME}-agent"]
        assert await ring.names(builtin.PODS) == pods(3)


async def test_it_reaches_a_fixed_point_and_then_writes_nothing(ring: Ring) -> None:
    await ring.create()
    async with ring.operator():
        await ring.until(ready)
        await ring.rest()
        versions, writes = await ring.versions(), ring.writes()

        for _ in range(3):
            ring.queue.add(ring.key(), reason="again")
            await ring.rest()

        assert ring.writes() == writes
        assert await ring.versions() == versions
        assert ring.refusals() == []


async def test_the_next_operator_writes_nothing(ring: Ring) -> None:
    await ring.create()
    async with ring.operator():
        await ring.until(ready)
        await ring.rest()
    writes = ring.writes()

    async with ring.operator():
        await ring.rest()

    assert ring.writes() == writes


class FakeAgents:
    """Every node is up; ``asked`` has the pods that somebody wanted to know about."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def node(self, address: Address) -> Node:
        self.asked.append(address.pod)
        return Node(session="s", agent_version="1.0", host_id=f"host of {address.pod}", state="NORMAL")


async def test_the_agents_are_asked_about_nodes_that_changed(ring: Ring) -> None:
    agents = FakeAgents()
    await ring.create(replicas=2)
    async with ring.operator(agents=agents):
        cdc = await ring.until(lambda cdc: ready(cdc) and all(node.host_id for node in cdc.status.nodes))
        assert [(n.pod, n.host_id, n.state, n.agent_version, n.rack) for n in cdc.status.nodes] == [
            (pod, f"host of {pod}", "NORMAL", "1.0", "rack1") for pod in pods(2)
        ]
        await ring.rest()
        agents.asked.clear()

        ring.queue.add(ring.key(), reason="again")
        await ring.rest()
        assert agents.asked == []

        await ring.client.delete(builtin.PODS, ring.key(pods(2)[1]), grace_period=0)
        await ring.eventually(lambda: _true(agents.asked))
        await ring.until(ready)
        await ring.rest()
        assert set(agents.asked) == {pods(2)[1]}


async def _true(value: object) -> object:
    return value


@pytest.mark.parametrize(
    ("resource", "name"),
    [
        (builtin.SERVICES, f"{STS}-nodes"),
        (builtin.SERVICES, f"{STS}-seeds"),
        (builtin.CONFIGMAPS, f"{STS}-config"),
        (builtin.SERVICEACCOUNTS, STS),
        (builtin.PDBS, STS),
        (builtin.STATEFULSETS, STS),
    ],
    ids=lambda value: getattr(value, "kind", value),
)
async def test_a_deleted_child_comes_back(ring: Ring, resource: Resource, name: str) -> None:
    await ring.create(replicas=1)
    async with ring.operator():
        await ring.until(ready)
        await ring.rest()
        old = await ring.get(resource, name)

        await ring.client.delete(resource, ring.key(name))

        async def new() -> bool:
            return any(
                found["metadata"]["name"] == name and found["metadata"]["uid"] != old["metadata"]["uid"]
                for found in await ring.client.list(resource, ring.namespace)
            )

        await ring.eventually(new)
        await ring.rest()
        back = await ring.get(resource, name)
        for part in ("spec", "data"):
            assert _without_server(back.get(part)) == _without_server(old.get(part))


def _without_server(part: object) -> object:
    if isinstance(part, dict):
        return {key: value for key, value in part.items() if key not in ("clusterIP", "clusterIPs")}
    return part


async def test_a_drifted_child_is_repaired(ring: Ring) -> None:
    await ring.create(replicas=1)
    async with ring.operator():
        await ring.until(ready)
        await ring.rest()
        key = ring.key(f"{STS}-seeds")

        await ring.client.patch(builtin.SERVICES, key, {"spec": {"publishNotReadyAddresses": False}})

        async def repaired() -> bool:
            return bool((await ring.get(builtin.SERVICES, key.name))["spec"].get("publishNotReadyAddresses"))

        await ring.eventually(repaired)


async def test_a_statefulset_that_was_scaled_by_hand_is_repaired_upwards_only(ring: Ring) -> None:
    await ring.create(replicas=2)
    async with ring.operator():
        await ring.until(ready)
        await ring.client.patch(builtin.STATEFULSETS, ring.key(STS), {"spec": {"replicas": 1}})

        async def back() -> bool:
            return bool((await ring.get(builtin.STATEFULSETS, STS))["spec"]["replicas"] == 2)

        await ring.eventually(back)
        await ring.until(ready)

        await ring.client.patch(builtin.STATEFULSETS, ring.key(STS), {"spec": {"replicas": 3}})
        cdc = await ring.until(lambda cdc: condition(cdc, "ScalingDown") == ("False", "NotSupported"))

        assert cdc.status.replicas == 3


async def test_a_store_that_lags_behind_never_undoes_a_growth(ring: Ring, client: Client) -> None:
    await ring.create(replicas=1)
    async with ring.operator():
        await ring.until(ready)
    seen = raw_object(await ring.get(builtin.STATEFULSETS, STS))
    await ring.client.patch(builtin.STATEFULSETS, ring.key(STS), {"spec": {"replicas": 3}})
    cdc = await ring.datacenter()
    body = builders.stateful_set(cdc, (found := layout(cdc)), found.racks[0], 2)
    nothing: Any = None

    with pytest.raises(Conflict):
        await Children(client, nothing, nothing, nothing)._ensure_over(builtin.STATEFULSETS, body, seen)

    assert (await ring.get(builtin.STATEFULSETS, STS))["spec"]["replicas"] == 3


def layout(cdc: CassandraDataCenter) -> Layout:
    return layout_of(cdc, cluster_name=NAME, datacenter_name=NAME)


async def test_the_agents_secret_is_written_for_a_reason_only(ring: Ring) -> None:
    await ring.create(replicas=1)
    async with ring.operator():
        await ring.until(ready)
        await ring.rest()
        first = await ring.get(builtin.SECRETS, f"{NAME}-agent")
        written = ring.secret_writes()
    async with ring.operator():
        await ring.rest()
        assert ring.secret_writes() == written

    async with ring.operator(master=b"another key for the whole of it ..."):

        async def renewed() -> bool:
            secret = await ring.get(builtin.SECRETS, f"{NAME}-agent")
            return bool(secret["data"]["token"] != first["data"]["token"])

        await ring.eventually(renewed)
        await ring.rest()
        assert ring.secret_writes() == written + 1


async def test_a_name_that_is_taken_is_left_alone(ring: Ring) -> None:
    taken = {"metadata": {"name": f"{STS}-nodes", "namespace": ring.namespace}, "spec": {"ports": [{"port": 1}]}}
    theirs = await ring.client.create(builtin.SERVICES, taken)
    await ring.create(replicas=1)
    async with ring.operator():
        await ring.until(lambda cdc: condition(cdc, "Degraded") == ("True", "NameTaken"))
        await ring.rest()

        assert await ring.get(builtin.SERVICES, f"{STS}-nodes") == theirs
        assert await ring.names(builtin.STATEFULSETS) == []
        assert "NameTaken" in await ring.events()


async def test_what_the_api_server_refuses_is_said(ring: Ring) -> None:
    quota = {"metadata": {"name": "none", "namespace": ring.namespace}, "spec": {"hard": {"count/configmaps": "0"}}}
    quotas = Resource("", "v1", "resourcequotas", "ResourceQuota")
    await ring.client.create(quotas, quota)
    await ring.client.patch_status(
        quotas,
        ring.key("none"),
        {"hard": {"count/configmaps": "0"}, "used": {"count/configmaps": "0"}},
        uid=(await ring.get(quotas, "none"))["metadata"]["uid"],
    )
    await ring.create(replicas=1)
    async with ring.operator():
        cdc = await ring.until(lambda cdc: condition(cdc, "Degraded") == ("True", "ChildRefused"))

        assert "exceeded quota" in next(c.message for c in cdc.status.conditions if c.type == "Degraded")
        assert await ring.names(builtin.STATEFULSETS) == []

        await ring.client.delete(quotas, ring.key("none"))
        await ring.until(ready)


async def test_deleting_a_datacenter_tells_of_its_volumes(ring: Ring) -> None:
    await ring.create(replicas=1)
    async with ring.operator():
        await ring.until(ready)
        await ring.client.delete(DATACENTERS, ring.key())

        async def told() -> bool:
            return "VolumeKept" in await ring.events()

        await ring.eventually(told)
        assert await ring.names(builtin.PVCS) == [f"data-{pods(1)[0]}"]
