"""Restores that come to nothing: said with cause and remedy, and nothing touched that need not be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from agent.protocol import Failure, Kind, MissingNode
from controller import builtin
from reconcilers.api.datacenter import DATACENTERS
from reconcilers.api.restore import RESTORES
from tests.api.restore import steps
from tests.fakes.agents import Refusal

if TYPE_CHECKING:
    from tests.api.backup.world import World

PODS = [f"cassandra-bar-{i}" for i in range(3)]
FULL = Failure(reason="VolumeNotEmpty", message="the volume is not empty and has no marker: delete the claim")


async def refused(world: World, reason: str, *, inspected: bool = True) -> str:
    """The message; no plan was written, and the inspector is gone."""
    await world.run(lambda: world.restore_phase() == "Failed", within=900)
    status = world.get_restore().status
    assert status.reason == reason
    assert world.condition("Validated", "restore", RESTORES) == ("False", reason, status.message)
    assert world.condition("Failed", "restore", RESTORES) == ("True", reason, status.message)
    assert world.condition("Complete", "restore", RESTORES)[:2] == ("False", reason)
    assert ("Warning", "RestoreRefused", status.message) in await world.events("restore")
    assert status.completion_time
    await world.rest(5)
    assert steps.plan(world) is None
    assert steps.pod(world, steps.INSPECTOR) is None
    made = {kind for verb, kind, _ in world.spy.writes if verb in ("create", "apply")}
    assert made == ({"Pod"} if inspected else set())
    return status.message


async def failed(world: World, reason: str) -> str:
    """The message; what the nodes have is kept, and the plan, so that no node starts empty."""
    await world.run(lambda: world.restore_phase() == "Failed", within=2000)
    status = world.get_restore().status
    assert status.reason == reason
    assert world.condition("Failed", "restore", RESTORES) == ("True", reason, status.message)
    assert ("Warning", "RestoreFailed", status.message) in await world.events("restore")
    await world.rest(30)
    assert steps.plan(world) is not None
    assert steps.pod(world, steps.INSPECTOR) is None
    assert world.operations.statistics()["followed"] == 0
    return status.message


async def ask(world: World, replicas: int = 3, *, racks: Any = None, **spec: Any) -> None:
    await world.datacenter("bar", replicas, pods=False, **({"racks": racks} if racks else {}))
    await world.restore(**{"datacenter": "bar", "backup": {"name": "backup"}, **spec})


async def test_a_backup_that_is_not_there(world: World) -> None:
    await ask(world, activeDeadlineSeconds=100)
    await world.rest(20)
    assert world.restore_phase() == "Pending"
    reason, message = "BackupNotFound", world.get_restore().status.message
    assert world.condition("Validated", "restore", RESTORES) == ("Unknown", reason, message)
    assert "there is no CassandraBackup backup in this namespace" in message
    assert ("Normal", reason, message) in await world.events("restore")
    assert {verb for verb, *_ in world.spy.writes} == {"patch_status"}
    await world.run(lambda: world.restore_phase() == "Failed")
    assert world.get_restore().status.reason == "DeadlineExceeded"
    assert message in world.get_restore().status.message


async def test_a_backup_that_comes_late(world: World) -> None:
    await ask(world)
    await world.rest(20)
    await steps.completed_backup(world)
    await steps.inspector_comes(world)
    await world.run(lambda: world.restore_phase() == "Downloading")


@pytest.mark.parametrize("phase", ["Failed", "Cancelled", "FailedValidation"])
async def test_a_backup_that_is_not_complete(world: World, phase: str) -> None:
    await steps.completed_backup(world, phase=phase)
    await ask(world)
    message = await refused(world, "BackupNotComplete", inspected=False)
    assert message == f"backup backup is {phase}, and only a Completed one can be restored"


async def test_a_backup_without_some_nodes(world: World) -> None:
    nodes = [{"pod": f"foo-{n}", "phase": "Failed" if n == 1 else "Completed"} for n in range(3)]
    await steps.completed_backup(world, phase="PartiallyCompleted", nodes=nodes)
    await ask(world)
    message = await refused(world, "BackupPartial", inspected=False)
    assert message.startswith("backup backup is without foo-1, and a datacenter is restored from whole backups only")


async def test_a_record_without_some_nodes(world: World) -> None:
    """As many nodes are in it as the datacenter has: only the record tells that there were more."""
    record = await steps.completed_backup(world)
    record.missing = [MissingNode(node="foo-3", rack="rack1"), MissingNode(node="", rack="rack1", host_id="h4")]
    await ask(world)
    await steps.inspector_comes(world)
    message = await refused(world, "BackupPartial")
    assert message.startswith("backup tag is without foo-3, the node with host id h4, and")


async def test_a_backup_of_several_datacenters(world: World) -> None:
    both = [{"name": n, "clusterName": "c", "datacenterName": n} for n in ("d1", "d2")]
    await steps.completed_backup(world, datacenters=both)
    await ask(world)
    message = await refused(world, "SourceDatacenter", inspected=False)
    assert message == "backup backup holds the datacenters d1, d2: name one of them in sourceDatacenter"


@pytest.mark.parametrize("replicas", [1, 4])
async def test_another_number_of_nodes(world: World, replicas: int) -> None:
    await steps.completed_backup(world)
    await ask(world, replicas)
    await steps.inspector_comes(world)
    message = await refused(world, "TopologyMismatch")
    assert message == f"the backup holds 3 nodes and the datacenter has replicas: {replicas}; set replicas to 3"


async def test_other_racks(world: World) -> None:
    await steps.completed_backup(world)
    await ask(world, racks=[{"name": "a"}, {"name": "b"}, {"name": "c"}])
    await steps.inspector_comes(world)
    message = await refused(world, "TopologyMismatch")
    assert message.endswith("give the datacenter the racks that the backup has")


async def test_a_datacenter_that_runs(world: World) -> None:
    await steps.completed_backup(world)
    await ask(world)
    marks = {"matchLabels": {"a": "b"}}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"serviceName": "s", "selector": marks, "template": template}
    await world.create(builtin.STATEFULSETS, {"metadata": {"name": "cassandra-bar"}, "spec": spec})
    message = await refused(world, "DatacenterNotEmpty", inspected=False)
    assert "give another name" in message


async def test_a_datacenter_that_is_not_there(world: World) -> None:
    await steps.completed_backup(world)
    await world.restore(datacenter="bar", backup={"name": "backup"}, activeDeadlineSeconds=100)
    await world.rest(20)
    assert world.condition("Validated", "restore", RESTORES)[:2] == ("Unknown", "DatacenterNotFound")
    await world.run(lambda: world.restore_phase() == "Failed")
    assert world.get_restore().status.reason == "DeadlineExceeded"
    assert "there is no CassandraDataCenter bar" in world.get_restore().status.message


async def test_a_datacenter_that_comes_late(world: World) -> None:
    await steps.completed_backup(world)
    await world.restore(datacenter="bar", backup={"name": "backup"})
    await world.rest(20)
    await world.datacenter("bar", pods=False)
    await steps.inspector_comes(world)
    await world.run(lambda: world.restore_phase() == "Downloading")


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (404, "BackupNotFound"),
        (502, "CredentialsMissing"),
        (502, "CredentialsRefused"),
        (502, "BucketMissing"),
        (502, "AccessDenied"),
        (400, "InvalidSpec"),
    ],
)
async def test_what_the_store_refuses(world: World, status: int, reason: str) -> None:
    await steps.completed_backup(world)
    await ask(world)
    world.agents.catalog_refusal = Refusal(status, f"s3://bucket: {reason}: the store's own words", reason)
    await steps.inspector_comes(world)
    assert "the store's own words" in await refused(world, reason)


async def test_a_store_that_is_away_for_a_moment(world: World) -> None:
    await steps.completed_backup(world)
    await ask(world)
    world.agents.catalog_refusal = Refusal(502, "s3://bucket: no route", "StorageUnreachable")
    await steps.inspector_comes(world)
    await world.rest(60)
    assert world.restore_phase() == "Validating"
    assert "no route" in world.get_restore().status.message
    world.agents.catalog_refusal = None
    await world.run(lambda: world.restore_phase() == "Downloading")


async def test_a_store_that_stays_away(world: World) -> None:
    await steps.completed_backup(world)
    await ask(world)
    world.agents.catalog_refusal = Refusal(502, "s3://bucket: no route", "StorageUnreachable")
    await steps.inspector_comes(world)
    assert await refused(world, "InspectionFailed") == "the backup could not be read: s3://bucket: no route"


async def test_an_inspector_that_never_starts(world: World) -> None:
    await steps.completed_backup(world)
    await ask(world)
    await world.run(lambda: steps.pod(world, steps.INSPECTOR) is not None)
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    body = {
        "status": {
            "containerStatuses": [
                {"name": "sidecar", "image": "x", "imageID": "", "ready": False, "restartCount": 0, "state": waiting}
            ]
        }
    }
    await world.patch(builtin.PODS, steps.INSPECTOR, body, subresource="status")
    await world.rest(10)
    assert "ImagePullBackOff" in world.get_restore().status.message
    message = await refused(world, "InspectionFailed")
    assert message == "the backup could not be read: sidecar: ImagePullBackOff: no such image"


@pytest.mark.parametrize(
    ("field", "value"), [("topologyPolicy", "RestoreThenScale"), ("verify", "None"), ("allowPartial", True)]
)
async def test_a_field_that_is_not_acted_on(world: World, field: str, value: Any) -> None:
    await steps.completed_backup(world)
    await ask(world, **{field: value})
    assert f"spec.{field}" in await refused(world, "FieldNotSupported", inspected=False)


async def test_a_second_restore_of_the_same_datacenter(world: World) -> None:
    await steps.completed_backup(world)
    await steps.planned(world)
    plan = steps.plan(world).body["data"]
    await world.restore("second", datacenter="bar", backup={"name": "backup"})
    await world.run(lambda: world.restore_phase("second") == "Failed")
    assert world.get_restore("second").status.reason == "RestoreInProgress"
    assert world.get_restore("second").status.message == "restore restore fills datacenter bar already"
    assert steps.plan(world).body["data"] == plan
    assert steps.pod(world, "second-inspector") is None


async def test_two_restores_at_once(world: World) -> None:
    await steps.completed_backup(world)
    await world.datacenter("bar", pods=False)
    for name in ("one", "two"):
        await world.restore(name, datacenter="bar", backup={"name": "backup"})
    await world.run(lambda: "Failed" in {world.restore_phase("one"), world.restore_phase("two")})
    left = "one" if world.restore_phase("two") == "Failed" else "two"
    await steps.inspector_comes(world, f"{left}-inspector")
    await world.run(lambda: world.restore_phase(left) == "Downloading")


async def test_a_volume_that_is_not_empty(world: World) -> None:
    await steps.completed_backup(world)
    datacenter = await steps.planned(world)
    world.agents.add(PODS[1], "10.9.9.9").script(Kind.RESTORE, fail=[FULL])
    await steps.pods_come(world, datacenter)
    assert await failed(world, "VolumeNotEmpty") == f"{PODS[1]}: {FULL.message}"


async def test_a_node_that_does_not_come_forward(world: World) -> None:
    await steps.completed_backup(world)
    datacenter = await steps.planned(world, nodeProgressDeadlineSeconds=60)
    world.agents.add(PODS[1], "10.9.9.9").script(Kind.RESTORE, stuck=True)
    await steps.pods_come(world, datacenter)
    assert (await failed(world, "NoProgress")).startswith(f"{PODS[1]}: no progress for 60 s")


async def test_a_pod_that_cannot_start_its_download(world: World) -> None:
    await steps.completed_backup(world)
    datacenter = await steps.planned(world, nodeProgressDeadlineSeconds=60)
    await world.pod(datacenter, "rack1", PODS[0], ready=False, answers=False)
    waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}
    container = {"name": "init", "image": "x", "imageID": "", "ready": False, "restartCount": 0, "state": waiting}
    body = {"status": {"initContainerStatuses": [container]}}
    await world.patch(builtin.PODS, PODS[0], body, subresource="status")
    message = await failed(world, "NoProgress")
    assert message == f"{PODS[0]}: no progress for 60 s: init: CrashLoopBackOff: back-off"


async def test_no_pod_comes_at_all(world: World) -> None:
    await steps.completed_backup(world)
    await steps.planned(world, nodeProgressDeadlineSeconds=60)
    message = await failed(world, "NoProgress")
    assert message.startswith(f"{PODS[0]}: no progress for 60 s: its pod is not there")


async def test_a_node_that_is_restored_and_does_not_start_holds_up_the_others(world: World) -> None:
    await steps.completed_backup(world)
    datacenter = await steps.planned(world, nodeProgressDeadlineSeconds=60)
    await steps.pod_comes(world, datacenter, PODS[0])
    assert await failed(world, "NodeNotStarted") == f"{PODS[0]}: Cassandra did not start: see its log"


async def test_a_node_that_does_not_start_last(world: World) -> None:
    await steps.completed_backup(world)
    datacenter = await steps.planned(world, nodeProgressDeadlineSeconds=60)
    await steps.pods_come(world, datacenter)
    for pod in PODS[:2]:
        await world.pod_status(pod, ready=True)
    assert (await failed(world, "NodeNotStarted")).startswith(f"{PODS[2]}: ")


async def test_the_active_deadline(world: World) -> None:
    await steps.completed_backup(world)
    await steps.planned(world, activeDeadlineSeconds=100)
    assert "did not end within 100 s" in await failed(world, "DeadlineExceeded")


async def test_cancel_before_anything_was_touched(world: World) -> None:
    await ask(world)
    await world.rest(5)
    await world.patch(RESTORES, "restore", {"spec": {"cancel": True}})
    await world.run(lambda: world.restore_phase() == "Cancelled")
    assert ("Normal", "Cancelled", world.get_restore().status.message) in await world.events("restore")


async def test_cancel_ends_the_downloads_and_keeps_the_plan(world: World) -> None:
    await steps.completed_backup(world)
    datacenter = await steps.planned(world)
    world.agents.latency = 3  # the word takes its time to them
    for pod in PODS:
        world.agents.add(pod, "10.9.9.9").script(Kind.RESTORE, seconds=1000)
    await steps.pods_come(world, datacenter)
    await world.rest(20)
    await world.patch(RESTORES, "restore", {"spec": {"cancel": True}})
    await world.run(lambda: world.restore_phase() == "Cancelled")
    states = {o.state for a in world.agents for o in a.of_kind(Kind.RESTORE)}
    assert states == {"Cancelled"}
    assert steps.plan(world) is not None
    assert world.condition("Failed", "restore", RESTORES)[:2] == ("False", "Cancelled")
    await world.rest(10)
    assert steps.pod(world, steps.INSPECTOR) is None


async def test_cancel_does_not_wait_for_who_is_silent(world: World) -> None:
    await steps.completed_backup(world)
    datacenter = await steps.planned(world)
    await steps.pods_come(world, datacenter)
    world.agents[PODS[0]].silent = True
    await world.patch(RESTORES, "restore", {"spec": {"cancel": True}})
    await world.run(lambda: world.restore_phase() == "Cancelled", within=60)


async def test_deleting_the_restore_keeps_the_plan(world: World) -> None:
    await steps.completed_backup(world)
    datacenter = await steps.planned(world)
    for pod in PODS:
        world.agents.add(pod, "10.9.9.9").script(Kind.RESTORE, seconds=1000)
    await steps.pods_come(world, datacenter)
    await world.rest(10)
    await world.delete(RESTORES, "restore")
    await world.run(lambda: not world.stores[RESTORES].all())
    await world.rest(30)
    assert steps.plan(world) is not None, "empty nodes must not start"
    assert world.operations.statistics()["followed"] == 0
    assert world.stores[DATACENTERS].get(world.key("bar")) is not None
