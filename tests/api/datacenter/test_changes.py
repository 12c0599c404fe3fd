"""What becomes of a changed spec: done, refused, or left for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from controller import builtin
from reconcilers.api.datacenter_status import DataCenterPhase
from reconcilers.catalog.said import CONDITION, Said
from reconcilers.datacenter.verdict import Verdict
from tests.api.datacenter.conftest import NAME, condition, pods, ready

if TYPE_CHECKING:
    from reconcilers.api.datacenter import CassandraDataCenter
    from tests.api.datacenter.conftest import Ring

STS = f"cassandra-{NAME}"


def message(cdc: CassandraDataCenter, type_: str) -> str:
    return next(c.message for c in cdc.status.conditions if c.type == type_)


async def test_a_field_that_is_not_supported_changes_nothing(ring: Ring) -> None:
    await ring.create(replicas=1)
    async with ring.operator():
        await ring.until(ready)
        await ring.rest()
        before = await ring.get(builtin.STATEFULSETS, STS)

        await ring.edit({"prometheusSupport": True, "cassandraImage": "another"})
        cdc = await ring.until(lambda cdc: condition(cdc, "SpecValid") == ("False", "FieldNotSupported"))
        await ring.rest()

        assert "spec.prometheusSupport" in message(cdc, "SpecValid")
        assert cdc.status.phase == DataCenterPhase.READY
        assert await ring.get(builtin.STATEFULSETS, STS) == before
        assert "FieldNotSupported" in await ring.events()

        await ring.edit({"prometheusSupport": None})
        await ring.until(lambda cdc: condition(cdc, "RequiresUpdate") == ("True", "TemplateChanged"))


async def test_a_new_datacenter_with_such_a_field_makes_nothing(ring: Ring) -> None:
    await ring.create(prometheusSupport=True)
    async with ring.operator():
        cdc = await ring.until(lambda cdc: condition(cdc, "SpecValid") == ("False", "FieldNotSupported"))
        await ring.rest()

        assert cdc.status.phase == DataCenterPhase.DEGRADED
        assert await ring.names(builtin.SERVICES) == []
        assert await ring.names(builtin.SECRETS) == []


async def test_what_its_catalog_says_is_a_condition(ring: Ring) -> None:
    said = Said()
    said.wake = lambda key: ring.queue.add(key, reason="catalog")
    await ring.create(replicas=0, backup={"catalog": {"backupType": "AWS_S3", "target": "bucket"}})
    async with ring.operator(findings=said.findings):
        await ring.rest()
        said.say(ring.key(), Verdict(CONDITION, "True", "Synced", "all of them"))
        await ring.until(lambda cdc: condition(cdc, CONDITION) == ("True", "Synced"))
    async with ring.operator(findings=Said().findings):  # which has not looked yet
        await ring.edit({"replicas": 1})
        cdc = await ring.until(ready)
        assert condition(cdc, CONDITION) == ("True", "Synced")
        await ring.edit({"backup": None})
        await ring.until(lambda cdc: all(c.type != CONDITION for c in cdc.status.conditions))


async def test_it_grows(ring: Ring) -> None:
    await ring.create(replicas=1)
    async with ring.operator():
        await ring.until(ready)
        await ring.rest()  # once all were ready, the configuration says so
        config = await ring.get(builtin.CONFIGMAPS, f"{STS}-config")
        ring.sets.hold(pods(2)[1])

        await ring.edit({"replicas": 3})
        cdc = await ring.until(lambda cdc: cdc.status.phase == DataCenterPhase.SCALING and cdc.status.replicas == 3)
        assert condition(cdc, "Available") == ("False", "NoQuorum")
        assert await ring.names(builtin.PODS) == pods(2)

        ring.sets.release(pods(2)[1])
        cdc = await ring.until(ready)
        assert cdc.status.ready_replicas == 3
        assert [node.pod for node in cdc.status.nodes] == pods(3)
        await ring.rest()
        assert (await ring.get(builtin.CONFIGMAPS, f"{STS}-config"))["data"] == config["data"]


async def test_it_never_shrinks(ring: Ring) -> None:
    await ring.create(replicas=3)
    async with ring.operator():
        await ring.until(ready)

        await ring.edit({"replicas": 2})
        cdc = await ring.until(lambda cdc: condition(cdc, "ScalingDown") == ("False", "NotSupported"))
        await ring.rest()

        assert cdc.status.replicas == 3
        assert "set replicas to 3" in message(cdc, "ScalingDown")
        assert (await ring.get(builtin.STATEFULSETS, STS))["spec"]["replicas"] == 3
        assert "ScaleDownNotSupported" in await ring.events()

        await ring.edit({"replicas": 3})
        await ring.until(lambda cdc: condition(cdc, "ScalingDown") == ("", ""))


async def test_a_changed_template_waits_for_a_person(ring: Ring) -> None:
    await ring.create(replicas=2)
    async with ring.operator():
        await ring.until(ready)
        old = {name: (await ring.get(builtin.PODS, name))["metadata"]["uid"] for name in pods(2)}

        await ring.edit({"cassandraImage": "cassandra:next"})
        cdc = await ring.until(lambda cdc: condition(cdc, "RequiresUpdate") == ("True", "TemplateChanged"))
        await ring.rest()

        assert f"kubectl -n {ring.namespace} delete pod {pods(1)[0]}" in message(cdc, "RequiresUpdate")
        assert {name: (await ring.get(builtin.PODS, name))["metadata"]["uid"] for name in pods(2)} == old
        assert cdc.status.phase == DataCenterPhase.READY

        for name in pods(2):
            await ring.client.delete(builtin.PODS, ring.key(name), grace_period=0)
        await ring.until(lambda cdc: cdc.status.updated_replicas == cdc.status.ready_replicas == 2 and ready(cdc))
        await ring.rest()
        assert condition(await ring.datacenter(), "RequiresUpdate") == ("False", "UpToDate")


async def test_a_larger_volume_is_not_asked_of_the_statefulset(ring: Ring) -> None:
    await ring.create(replicas=1)
    async with ring.operator():
        await ring.until(ready)
        claim = {"resources": {"requests": {"storage": "200Mi"}}}

        await ring.edit({"dataVolumeClaim": claim})
        await ring.until(lambda cdc: condition(cdc, "RequiresUpdate") == ("True", "VolumeClaimChanged"))
        await ring.rest()

        template = (await ring.get(builtin.STATEFULSETS, STS))["spec"]["volumeClaimTemplates"][0]
        assert template["spec"]["resources"]["requests"]["storage"] == "100Mi"


async def test_racks_grow_one_node_at_a_time(ring: Ring) -> None:
    racks = [{"name": "a"}, {"name": "b"}]
    first, second = f"{STS}-a-0", f"{STS}-b-0"
    ring.sets.hold(first, second)
    await ring.create(replicas=3, racks=racks)
    async with ring.operator():
        await ring.eventually(lambda: ring.names(builtin.PODS))
        await ring.rest()
        assert await ring.names(builtin.PODS) == [first]

        ring.sets.release(first)

        async def grown() -> bool:
            return await ring.names(builtin.PODS) == [first, second]

        await ring.eventually(grown)
        await ring.rest()
        assert await grown()

        ring.sets.release(second)
        cdc = await ring.until(ready)
        assert [(rack.name, rack.replicas) for rack in cdc.status.racks] == [("a", 2), ("b", 1)]
        assert await ring.names(builtin.STATEFULSETS) == [f"{STS}-a", f"{STS}-b"]

        await ring.edit({"racks": [*racks, {"name": "c"}], "replicas": 4})
        cdc = await ring.until(lambda cdc: ready(cdc) and len(cdc.status.racks) == 3)
        assert [(rack.name, rack.replicas) for rack in cdc.status.racks] == [("a", 2), ("b", 1), ("c", 1)]


async def test_a_deleted_statefulset_comes_back_with_all_its_nodes(ring: Ring) -> None:
    await ring.create(replicas=3, racks=[{"name": "a"}, {"name": "b"}])
    async with ring.operator():
        await ring.until(ready)
        await ring.rest()
        old = await ring.get(builtin.STATEFULSETS, f"{STS}-a")
        ring.sets.hold(f"{STS}-a-0")

        await ring.client.delete(builtin.STATEFULSETS, ring.key(f"{STS}-a"))

        async def back() -> Any:
            found = await ring.client.list(builtin.STATEFULSETS, ring.namespace)
            names = {sts["metadata"]["name"]: sts for sts in found if sts["metadata"]["uid"] != old["metadata"]["uid"]}
            return names.get(f"{STS}-a")

        assert (await ring.eventually(back))["spec"]["replicas"] == 2
        ring.sets.release(f"{STS}-a-0")
        await ring.until(lambda cdc: ready(cdc) and cdc.status.ready_replicas == 3)


async def test_a_pod_that_cannot_start_is_named(ring: Ring) -> None:
    ring.sets.waiting[pods(1)[0]] = {"reason": "CreateContainerConfigError", "message": 'secret "x" not found'}
    await ring.create(replicas=1)
    async with ring.operator():
        cdc = await ring.until(lambda cdc: condition(cdc, "Degraded") == ("True", "PodFailing"))
        assert 'secret "x" not found' in message(cdc, "Ready")
        assert cdc.status.phase == DataCenterPhase.CREATING


async def test_a_datacenter_without_volumes_says_so(ring: Ring) -> None:
    await ring.create(replicas=1, dataVolumeClaim=None)
    async with ring.operator():
        cdc = await ring.until(ready)
        assert condition(cdc, "Ephemeral") == ("True", "NoVolume")
        assert await ring.names(builtin.PVCS) == []
