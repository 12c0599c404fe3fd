"""``importExisting``: what a bucket holds already becomes an object, without a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from agent.protocol import ClusterRecord, MissingNode, RecordedNode
from controller import builtin
from reconcilers.api.backup import BACKUPS
from tests.api.restore import steps
from tests.fakes.agents import Refusal

if TYPE_CHECKING:
    from tests.api.backup.world import World

INSPECTOR = "backup-backup-inspector"
AGENT = "cassandra-foo-cassandra-0"


def held(world: World, tag: str = "backup", cluster: str = "old", datacenter: str = "dc1", **fields: Any) -> None:
    """The bucket holds a backup of a datacenter that is gone."""
    nodes = [
        RecordedNode(
            node=f"old-{i}", rack="rack1", host_id=f"host-{i}", digest=f"digest-{i}", tokens=16, files=10, bytes=1000
        )
        for i in range(3)
    ]
    said = {
        "nodes": nodes, "cassandra_version": "5.0.6", "schema_version": "s1", "created_at": "2026-01-02T03:04:05Z",
        "backup_id": "old-uid", **fields,
    }  # fmt: skip
    world.agents.bucket.records[cluster, datacenter, tag] = ClusterRecord(
        format=1, tag=tag, cluster=cluster, datacenter=datacenter, **said
    )


async def ended(world: World, phase: str = "Completed") -> Any:
    await world.run(lambda: world.get().ended)
    assert world.phase() == phase, world.get().status.message
    await world.rest(1)
    return world.get().status


async def test_a_record_becomes_an_object(world: World) -> None:
    held(world)
    await world.datacenter(replicas=1)
    await world.backup(importExisting=True)
    status = await ended(world)
    assert status.message == "imported: 3 nodes, 2.9KiB, in s3://bucket, written 2026-01-02T03:04:05Z"
    assert (status.start_time, status.completion_time) == ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z")
    assert (status.snapshot_tag, status.location, status.backup_id) == ("backup", "s3://bucket", "old-uid")
    assert (status.cassandra_version, status.schema_version, status.layout_version) == ("5.0.6", "s1", 1)
    assert [(d.name, d.cluster_name, d.datacenter_name, d.nodes, d.phase) for d in status.datacenters] == [
        ("foo-cassandra", "old", "dc1", 3, "Completed")
    ]
    assert [(n.pod, n.rack, n.host_id, n.digest, n.tokens, n.files, n.bytes_total) for n in status.nodes] == [
        (f"old-{i}", "rack1", f"host-{i}", f"digest-{i}", 16, 10, 1000) for i in range(3)
    ]
    assert (status.totals.nodes, status.totals.completed, status.totals.files, status.totals.bytes) == (3, 3, 30, 3000)
    assert (status.size, status.nodes_completed, status.progress) == ("2.9KiB", "3/3", "100%")
    assert {c.type: (c.status, c.reason) for c in status.conditions} == {
        "Accepted": ("True", "RecordFound"),
        "Running": ("False", "Imported"),
        "Complete": ("True", "Imported"),
        "Failed": ("False", "Imported"),
        "Restorable": ("True", "Imported"),
    }
    assert world.agents.inspected == [{"backupType": "AWS_S3", "target": "bucket", "manifests": "true"}]


async def test_one_that_was_made_without_a_node(world: World) -> None:
    held(world, missing=[MissingNode(node="old-3", rack="rack1", host_id="host-3", tokens=["1", "2"])])
    await world.datacenter(replicas=1)
    await world.backup(importExisting=True)
    status = await ended(world, "PartiallyCompleted")
    assert status.message.startswith("imported: 3 of 4 nodes, 2.9KiB, in s3://bucket")
    assert (status.nodes_completed, status.totals.nodes, status.totals.failed) == ("3/4", 4, 1)
    assert [(n.pod, n.phase, n.tokens) for n in status.nodes[3:]] == [("old-3", "Failed", 2)]
    assert world.condition("Restorable")[0] == "False"


@pytest.mark.parametrize("lost", [(), ("old-3",)])
async def test_its_data_go_with_it_where_that_is_asked_for(world: World, lost: tuple[str, ...]) -> None:
    held(world, missing=[MissingNode(node=node, rack="rack1") for node in lost])
    held(world, tag="other")
    await world.datacenter(replicas=1)
    await world.backup(importExisting=True, deletionPolicy="Delete")
    await ended(world, "PartiallyCompleted" if lost else "Completed")
    await world.delete(BACKUPS, "backup")
    await world.run(lambda: world.phase() == "gone", within=30)
    assert [tag for _, _, tag in world.agents.bucket.records] == ["other"]


async def test_nothing_runs_for_it(world: World) -> None:
    held(world)
    await world.datacenter(replicas=1)
    await world.backup(importExisting=True)
    await ended(world)
    assert {method for _, method, _ in world.agents.requests} == {"GET"}
    assert await world.leases() == {}
    assert steps.pod(world, INSPECTOR) is None
    assert world.agents.order == []
    writes = await world.writes()
    await world.restart()
    await world.rest(3600)
    assert await world.writes() == writes


async def test_where_no_agent_is_ready_an_inspector_is_asked_and_goes(world: World) -> None:
    held(world)
    await world.datacenter(replicas=0, pods=False)
    await world.backup(importExisting=True, endpoint={"url": "https://minio"})
    await steps.inspector_comes(world, INSPECTOR)
    await ended(world)
    assert steps.pod(world, INSPECTOR) is None
    assert world.agents.inspected[0]["endpointUrl"] == "https://minio"


async def test_an_agent_that_is_silent_is_passed_over(world: World) -> None:
    held(world)
    await world.datacenter(replicas=2)
    world.agents[AGENT].silent = True
    await world.backup(importExisting=True)
    await ended(world)
    assert [pod for pod, _, _ in world.agents.requests] == [AGENT, "cassandra-foo-cassandra-1"]


async def test_an_inspector_that_ended_is_made_anew(world: World) -> None:
    held(world)
    await world.datacenter(replicas=0, pods=False)
    await world.backup(importExisting=True)
    await world.run(lambda: steps.pod(world, INSPECTOR) is not None)
    first = steps.pod(world, INSPECTOR).metadata.uid
    await world.patch(builtin.PODS, INSPECTOR, {"status": {"phase": "Failed"}}, subresource="status")
    await world.run(lambda: steps.pod(world, INSPECTOR) and steps.pod(world, INSPECTOR).metadata.uid != first)
    await steps.inspector_comes(world, INSPECTOR)
    await ended(world)


async def test_a_restore_by_its_name(world: World) -> None:
    held(world, cluster="c", datacenter="d")
    await world.datacenter(replicas=1)
    await world.backup(importExisting=True)
    await ended(world)
    datacenter = await steps.planned(world)
    assert world.agents.inspected[-1] == {
        "backupType": "AWS_S3", "target": "bucket", "cluster": "c", "datacenter": "d"
    }  # fmt: skip
    await steps.pods_come(world, datacenter)
    await steps.pods_serve(world, datacenter)
    await world.run(lambda: world.restore_phase() == "Completed")
    assert world.get_restore().status.source_datacenter_name == "d"


async def test_a_tag_that_several_have(world: World) -> None:
    held(world)
    held(world, cluster="other")
    await world.datacenter(replicas=1)
    await world.backup(importExisting=True)
    status = await ended(world, "FailedValidation")
    assert status.reason == "BackupAmbiguous"
    assert "old/dc1, other/dc1; say which with sourceCluster and sourceDatacenter" in status.message
    await world.backup("second", importExisting=True, snapshotTag="backup", sourceCluster="other")
    await world.run(lambda: world.phase("second") == "Completed")
    assert world.get("second").status.datacenters[0].cluster_name == "other"


async def test_what_is_not_there(world: World) -> None:
    await world.datacenter(replicas=1)
    await world.backup(importExisting=True)
    status = await ended(world, "FailedValidation")
    assert (status.reason, status.message) == ("BackupNotFound", "s3://bucket has no backup backup")
    assert world.condition("Accepted")[:2] == ("False", "BackupNotFound")
    assert world.condition("Restorable")[:2] == ("False", "BackupNotFound")


@pytest.mark.parametrize(
    ("reason", "phase", "seconds"),
    [("AccessDenied", "FailedValidation", 5), ("ManifestInvalid", "FailedValidation", 5),
     ("ManifestMissing", "FailedValidation", 5), ("StorageUnreachable", "Failed", 310)],
)  # fmt: skip
async def test_what_the_store_says_is_said(world: World, reason: str, phase: str, seconds: int) -> None:
    world.agents.catalog_refusal = Refusal(502, "the store's own words", reason)
    await world.datacenter(replicas=1)
    await world.backup(importExisting=True)
    await world.run(lambda: world.get().ended, within=seconds)
    status = world.get().status
    assert (status.phase, status.reason) == (phase, reason)
    assert "the store's own words" in status.message
    await world.rest(5)
    assert steps.pod(world, INSPECTOR) is None


async def test_a_store_that_comes_back_in_time(world: World) -> None:
    held(world)
    world.agents.catalog_refusal = Refusal(502, "the store's own words", "StorageUnreachable")
    await world.datacenter(replicas=1)
    await world.backup(importExisting=True)
    await world.rest(200)
    assert world.phase() == "Pending"
    assert "so far: the store's own words" in world.get().status.message
    await world.restart()
    world.agents.catalog_refusal = None
    await ended(world)


async def test_a_datacenter_that_comes_later(world: World) -> None:
    held(world)
    await world.backup(importExisting=True)
    await world.rest(60)
    assert world.get().status.reason == "NoDatacenterMatches"
    await world.datacenter(replicas=1)
    await ended(world)


async def test_no_datacenter_at_all(world: World) -> None:
    await world.backup(importExisting=True, startingDeadlineSeconds=60)
    await world.run(lambda: world.get().ended, within=70)
    status = world.get().status
    assert (status.phase, status.reason) == ("Failed", "DeadlineExceeded")
    assert "cassandra-datacenter=foo-cassandra means no CassandraDataCenter" in status.message


async def test_labels_that_say_nothing(world: World) -> None:
    await world.datacenter(replicas=1)
    await world.backup(own={}, importExisting=True)
    assert (await ended(world, "FailedValidation")).reason == "EmptySelector"


async def test_the_labels_of_a_datacenter_without_pods_find_it(world: World) -> None:
    held(world)
    await world.datacenter("one", 0, pods=False, own={"app": "other"})
    await world.datacenter("two", 0, pods=False, own={"app": "cassandra"})
    await world.backup(own={"app": "cassandra"}, importExisting=True)
    await steps.inspector_comes(world, INSPECTOR)
    assert (await ended(world)).datacenters[0].name == "two"


async def test_a_directory_is_asked_for_where_it_is_mounted(world: World) -> None:
    held(world)
    volume = {"name": "b", "mountPath": "/backups", "persistentVolumeClaim": {"claimName": "b"}}
    await world.datacenter("one", 1, own={"app": "x"})
    await world.datacenter("two", 1, own={"app": "x"}, backup={"volumes": [volume]})
    place = {"backupType": "FILE", "importExisting": True, "snapshotTag": "backup"}
    await world.backup(own={"app": "x"}, target="/backups", **place)
    assert (await ended(world)).datacenters[0].name == "two"
    await world.backup("elsewhere", own={"app": "x"}, target="/elsewhere", **place)
    await world.run(lambda: world.get("elsewhere").ended)
    assert world.get("elsewhere").status.reason == "TargetNotMounted"


@pytest.mark.parametrize(
    ("fields", "why"),
    [({"nodes": []}, "names no node"), ({"backup_id": "x" * 254}, "more than 253 characters"),
     ({"nodes": [RecordedNode(node="n", rack="r", host_id="h", digest="d", bytes=1 << 63)]}, "files or bytes")],
)  # fmt: skip
async def test_a_record_that_no_agent_wrote(world: World, fields: dict[str, Any], why: str) -> None:
    held(world, **fields)
    await world.datacenter(replicas=1)
    await world.backup(importExisting=True)
    status = await ended(world, "FailedValidation")
    assert status.reason == "ManifestInvalid"
    assert why in status.message


async def test_a_thousand_nodes_are_listed_and_all_are_counted(world: World) -> None:
    nodes = [RecordedNode(node=f"n-{i}", rack="r", host_id=f"{i}", digest="d" * 64, bytes=1) for i in range(1200)]
    held(world, nodes=nodes, created_at="yesterday")
    await world.datacenter(replicas=1)
    await world.backup(importExisting=True)
    status = await ended(world)
    assert (len(status.nodes), status.totals.nodes, status.totals.bytes) == (1000, 1200, 1200)
    assert status.completion_time.startswith("20"), "a time that is none is that of the import"


async def test_cancelled_while_nobody_answers(world: World) -> None:
    await world.datacenter(replicas=0, pods=False)
    await world.backup(importExisting=True)
    await world.run(lambda: steps.pod(world, INSPECTOR) is not None)
    await world.patch(BACKUPS, "backup", {"spec": {"cancel": True}})
    assert (await ended(world, "Cancelled")).reason == "Cancelled"
    assert steps.pod(world, INSPECTOR) is None


async def test_deleted_while_nobody_answers(world: World) -> None:
    await world.datacenter(replicas=0, pods=False)
    await world.backup(importExisting=True)
    await world.run(lambda: steps.pod(world, INSPECTOR) is not None)
    await world.delete(BACKUPS, "backup")
    await world.run(lambda: world.phase() == "gone")
    owner = steps.pod(world, INSPECTOR).metadata.owner_references[0]
    assert (owner.kind, owner.controller) == ("CassandraBackup", True), "the API server takes the pod along"


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_the_operator_dies_at_every_write(world: World, moment: str) -> None:
    held(world)
    await world.datacenter(replicas=0, pods=False)
    for number in range(1, 6):
        name, inspector = f"b{number}", f"b{number}-backup-inspector"
        setattr(world.spy, f"crash_{moment}", len(world.spy.writes) + number)
        await world.backup(name, importExisting=True, snapshotTag="backup")
        await steps.inspector_comes(world, inspector)
        for _ in range(20):
            pod = steps.pod(world, inspector)
            if pod is not None and not pod.body.get("status", {}).get("podIP"):
                await steps.inspector_comes(world, inspector)
            await world.rest(1)
        assert world.phase(name) == "Completed"
        assert steps.pod(world, inspector) is None
