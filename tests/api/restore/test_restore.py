"""A restore that comes to its end, whatever happens to the operator meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from agent.protocol import Kind, RestorePlan
from controller import builtin
from reconcilers import labels
from reconcilers.api.datacenter import DATACENTERS
from reconcilers.api.restore import RESTORES
from tests.api.restore import steps
from tests.fakes.agents import THROTTLED, FakeAgents

if TYPE_CHECKING:
    from tests.api.backup.world import World

PODS = [f"cassandra-bar-{i}" for i in range(3)]


async def test_from_a_backup_to_a_datacenter_of_another_name(world: World) -> None:
    await world.datacenter("foo-cassandra")
    await world.backup()
    await world.run(lambda: world.phase() == "Completed")
    datacenter = await steps.planned(world)
    backup, restore = world.get().status, world.get_restore()
    status = restore.status
    assert [(m.node, m.source) for m in status.mapping] == [(PODS[i], f"cassandra-foo-cassandra-{i}") for i in range(3)]
    assert (status.source_cluster_name, status.source_datacenter_name) == ("foo-cassandra-cluster", "foo-cassandra-dc")
    assert (status.location, status.snapshot_tag, status.restore_id) == (
        "s3://bucket", "backup", restore.metadata.uid
    )  # fmt: skip
    assert [
        (n.pod, n.source.pod, n.source.host_id, n.source.rack, n.bytes_total) for n in status.nodes if n.source
    ] == [
        (PODS[i], f"cassandra-foo-cassandra-{i}", f"host-cassandra-foo-cassandra-{i}", "rack1", 1000) for i in range(3)
    ]
    plan = steps.plan(world)
    plans = {name: msgspec.json.decode(text, type=RestorePlan) for name, text in plan.body["data"].items()}
    digests = {n.pod: n.digest for n in backup.nodes}
    assert sorted(plans) == [f"{p}.json" for p in PODS]
    for i, pod in enumerate(PODS):
        read = plans[f"{pod}.json"]
        assert (read.restore_id, read.node) == (restore.metadata.uid, f"cassandra-foo-cassandra-{i}")
        assert read.digest == digests[read.node]
        assert (read.cluster, read.datacenter, read.tag) == ("foo-cassandra-cluster", "foo-cassandra-dc", "backup")
        assert (read.location.backup_type, read.location.target) == ("AWS_S3", "bucket")
    assert plan.metadata.owner_references[0].uid == datacenter.metadata.uid
    assert plan.metadata.labels == {labels.OPERATOR: labels.OPERATOR_VALUE, labels.DATACENTER: "bar"}
    await steps.pods_come(world, datacenter)
    await world.run(lambda: world.restore_phase() == "Starting")
    assert steps.plan(world) is not None, "not before every node serves"
    await steps.pods_serve(world, datacenter)
    await world.run(lambda: world.restore_phase() == "Completed")
    assert steps.plan(world) is None
    assert world.conflicts == 0


async def test_what_it_says_of_itself(world: World) -> None:
    await steps.completed_backup(world)
    phases: list[str] = []
    world.watched.append(
        lambda: phases.extend(r.status.phase for r in world.stores[RESTORES].all() if r.status.phase not in phases)
    )
    datacenter = await steps.planned(world)
    world.agents.script(Kind.RESTORE, seconds=10)
    await steps.pods_come(world, datacenter)
    await world.run(lambda: world.restore_phase() == "Starting")
    await steps.pods_serve(world, datacenter)
    await world.run(lambda: world.restore_phase() == "Completed")
    assert phases == ["", "Validating", "Preparing", "Downloading", "Starting", "Completed"]
    status = world.get_restore().status
    assert {c.type: (c.status, c.reason) for c in status.conditions} == {
        "Validated": ("True", "RestoreValidated"),
        "Downloaded": ("True", "Downloaded"),
        "NodesStarted": ("True", "NodesStarted"),
        "SchemaAgreed": ("True", "SchemaAgreed"),
        "Complete": ("True", "Completed"),
        "Failed": ("False", "Completed"),
    }
    assert status.schema_version == "schema-1"
    assert (status.progress, status.nodes_completed) == ("100%", "3/3")
    assert status.totals is not None
    assert (status.totals.files, status.totals.bytes, status.totals.bytes_done) == (30, 3000, 3000)
    assert status.message == "3 nodes serve what backup tag held"
    events = {reason for _, reason, _ in await world.events("restore")}
    assert events == {"RestoreValidated", "NodeRestored", "RestoreCompleted"}
    columns = await world.columns(RESTORES, "restore")
    assert [columns[n] for n in ("Datacenter", "Backup", "Status", "Progress", "Nodes")] == [
        "bar", "backup", "Completed", "100%", "3/3",
    ]  # fmt: skip


async def test_the_inspector_is_asked_and_then_goes(world: World) -> None:
    await steps.completed_backup(world)
    datacenter = await world.datacenter("bar", pods=False)
    await world.restore(datacenter="bar", backup={"name": "backup"})
    await world.run(lambda: steps.pod(world, steps.INSPECTOR) is not None)
    assert world.restore_phase() == "Validating"
    await world.rest(20)
    assert world.restore_phase() == "Validating", "it has no address yet"
    await steps.inspector_comes(world)
    await world.run(lambda: world.restore_phase() == "Downloading")
    assert world.agents.inspected == [
        {"backupType": "AWS_S3", "target": "bucket", "cluster": "c", "datacenter": "d"}
    ]  # fmt: skip
    await steps.pods_come(world, datacenter)
    await world.run(lambda: world.restore_phase() == "Starting")
    await world.rest(1)
    assert steps.pod(world, steps.INSPECTOR) is None


async def test_an_inspector_that_starts_slowly(world: World) -> None:
    await steps.completed_backup(world)
    await world.datacenter("bar", pods=False)
    await world.restore(datacenter="bar", backup={"name": "backup"})
    await steps.inspector_comes(world)
    world.agents[steps.INSPECTOR].silent = True
    await world.rest(60)
    assert world.restore_phase() == "Validating"
    assert "does not answer" in world.get_restore().status.message
    world.agents[steps.INSPECTOR].silent = False
    await world.run(lambda: world.restore_phase() == "Downloading")


async def test_racks_are_restored_into_racks(world: World) -> None:
    await steps.completed_backup(world, racks=("b", "a", "a"))
    datacenter = await steps.planned(world, racks=[{"name": "a"}, {"name": "b"}])
    assert {m.node: m.source for m in world.get_restore().status.mapping} == {
        "cassandra-bar-a-0": "foo-1", "cassandra-bar-a-1": "foo-2", "cassandra-bar-b-0": "foo-0",
    }  # fmt: skip
    await steps.pods_come(world, datacenter)
    await steps.pods_serve(world, datacenter)
    await world.run(lambda: world.restore_phase() == "Completed")


async def test_from_a_bucket_alone(world: World) -> None:
    await steps.completed_backup(world)
    world.agents.bucket.records["c", "other", "t"] = world.agents.bucket.records["c", "d", "tag"]
    await world.datacenter("bar", pods=False)
    source = {
        "backupType": "AWS_S3", "target": "s3://bucket/p", "clusterName": "c", "datacenterName": "other",
        "snapshotTag": "t", "endpoint": {"url": "https://minio", "pathStyle": True},
    }  # fmt: skip
    await world.restore(datacenter="bar", backup=None, source=source)
    await steps.inspector_comes(world)
    await world.run(lambda: world.restore_phase() == "Downloading")
    assert world.agents.inspected[0] == {
        "backupType": "AWS_S3", "target": "s3://bucket/p", "cluster": "c", "datacenter": "other",
        "endpointUrl": "https://minio", "pathStyle": "true",
    }  # fmt: skip
    assert world.get_restore().status.location == "s3://bucket/p"


async def test_what_the_restore_says_is_in_the_plan(world: World) -> None:
    await steps.completed_backup(
        world, storage={"backupType": "AWS_S3", "target": "b", "endpoint": {"url": "https://m"}}
    )
    await steps.planned(world, bandwidth="1Mi", concurrentTransfers=9, includeAuth=False)
    read = msgspec.json.decode(steps.plan(world).body["data"]["cassandra-bar-0.json"], type=RestorePlan)
    assert (read.bandwidth, read.concurrent_transfers, read.include_auth) == (1 << 20, 9, False)
    assert read.location.endpoint is not None
    assert read.location.endpoint.url == "https://m"


async def test_a_backup_that_still_runs_is_waited_for(world: World) -> None:
    await world.datacenter("foo-cassandra")
    world.agents.script(Kind.BACKUP, seconds=60)
    await world.backup()
    await world.datacenter("bar", pods=False)
    await world.restore(datacenter="bar", backup={"name": "backup"}, activeDeadlineSeconds=200)
    await world.run(lambda: world.phase() == "Uploading")
    assert world.restore_phase() == "Pending"
    assert world.condition("Validated", "restore", RESTORES)[:2] == ("Unknown", "BackupNotComplete")
    await world.run(lambda: world.phase() == "Completed")
    await world.rest(100)
    await steps.inspector_comes(world)
    await world.run(lambda: world.restore_phase() == "Downloading")
    assert len(steps.plan(world).body["data"]) == 3


async def test_progress_is_live_and_written_at_most_every_five_seconds(world: World) -> None:
    await steps.completed_backup(world)
    datacenter = await steps.planned(world)
    for pod in PODS:
        world.agents.add(pod, "10.9.9.9").script(Kind.RESTORE, seconds=100)
    await steps.pods_come(world, datacenter)
    await world.rest(5)
    writes, seen, key = len(world.spy.writes), set(), world.key("restore")
    world.watched.append(lambda: seen.add(world.get_restore().status.progress))
    world.watched.append(lambda: world._due(RESTORES.kind, key, 0.7))  # there is always something that wakes it
    await world.rest(50)
    assert 8 <= len(world.spy.writes) - writes <= 11
    assert len(seen) >= 8
    assert world.get_restore().status.progress in {f"{n}%" for n in range(45, 60)}


async def test_nodes_come_one_after_the_other_each_with_its_own_deadline(world: World) -> None:
    """A rack's pods are made in order: the last may have to wait for hours, and that is nobody's fault."""
    world.agents.tick = 20
    await steps.completed_backup(world)
    for pod in PODS:
        world.agents.add(pod, "10.9.9.9").script(Kind.RESTORE, seconds=500)
    datacenter = await steps.planned(world, nodeProgressDeadlineSeconds=60)
    for pod in PODS:
        await steps.pod_comes(world, datacenter, pod)
        await world.run(lambda pod=pod: restored(world, pod), within=600)
        await world.rest(50)
        assert world.restore_phase() in ("Downloading", "Starting")
        await world.pod_status(pod, ready=True)
        await world.rest(30)  # until the next pod is there
    await world.run(lambda: world.restore_phase() == "Completed")


def restored(world: World, pod: str) -> bool:
    return any(n.pod == pod and n.phase == "Restored" for n in world.get_restore().status.nodes)


async def test_a_try_that_may_pass_is_made_again_by_the_kubelet(world: World) -> None:
    await steps.completed_backup(world)
    datacenter = await steps.planned(world)
    world.agents.add(PODS[1], "10.9.9.9").script(Kind.RESTORE, fail=[THROTTLED, None])
    await steps.pods_come(world, datacenter)
    await world.rest(10)
    node = world.get_restore().status.nodes[1]
    assert (node.phase, node.message) == ("Downloading", THROTTLED.message)
    requests = len(world.agents.requests)
    await world.rest(60)
    assert len(world.agents.requests) - requests < 20, "nothing spins while the container is away"
    world.agents[PODS[1]].journal[f"{world.get_restore().metadata.uid}-{PODS[1]}"].begin(again=True)
    await world.run(lambda: world.restore_phase() == "Starting")
    assert world.get_restore().status.nodes[1].attempts == 2
    assert world.get_restore().status.nodes[1].message == ""


async def test_a_pod_made_anew_while_it_downloads(world: World) -> None:
    await steps.completed_backup(world)
    world.agents.add(PODS[1], "10.9.9.9").script(Kind.RESTORE, seconds=60)
    datacenter = await steps.planned(world)
    await steps.pods_come(world, datacenter)
    await world.rest(20)
    await world.lose_pod(PODS[1])
    await world.rest(10)
    await steps.pod_comes(world, datacenter, PODS[1])
    await world.run(lambda: world.restore_phase() == "Starting")
    assert set(world.agents.executed.values()) == {1}


async def test_the_schema_has_to_agree(world: World) -> None:
    await steps.completed_backup(world)
    datacenter = await steps.planned(world)
    await steps.pods_come(world, datacenter)
    world.agents[PODS[2]].schema_version = "another"
    await world.run(lambda: world.restore_phase() == "Starting")
    await steps.pods_serve(world, datacenter)
    await world.rest(60)
    assert world.restore_phase() == "Starting"
    assert world.condition("SchemaAgreed", "restore", RESTORES)[:2] == ("False", "SchemaDisagreement")
    assert steps.plan(world) is not None
    world.agents[PODS[2]].schema_version = "schema-1"
    await world.run(lambda: world.restore_phase() == "Completed")


async def test_a_restore_that_ended_is_never_touched_again(world: World) -> None:
    await steps.completed_backup(world)
    datacenter = await steps.planned(world)
    await steps.pods_come(world, datacenter)
    await steps.pods_serve(world, datacenter)
    await world.run(lambda: world.restore_phase() == "Completed")
    await world.rest(5)
    version, writes = world.get_restore().metadata.resource_version, len(world.spy.writes)
    await world.lose_pod(PODS[0])
    await world.restart()
    await world.rest(3600)
    assert world.get_restore().metadata.resource_version == version
    assert len(world.spy.writes) == writes


async def test_nothing_is_written_while_nothing_changes(world: World) -> None:
    await steps.completed_backup(world)
    datacenter = await steps.planned(world, nodeProgressDeadlineSeconds=100_000)
    for pod in PODS:
        world.agents.add(pod, "10.9.9.9").script(Kind.RESTORE, stuck=True)
    await steps.pods_come(world, datacenter)
    await world.rest(20)
    writes = await world.writes()
    await world.rest(300)
    await world.restart()
    await world.rest(300)
    assert await world.writes() == writes


async def whole_restore(world: World) -> None:
    """Whatever is missing is played, until it has ended: so it can be entered at any point."""
    datacenter = world.stores[DATACENTERS].get(world.key("bar")) or await world.datacenter("bar", pods=False)
    for _ in range(200):
        await world.rest(1)
        if world.restore_phase() == "Completed":
            return
        inspector = steps.pod(world, steps.INSPECTOR)
        if inspector is not None and not inspector.body.get("status", {}).get("podIP"):
            await steps.inspector_comes(world)
        if world.restore_phase() == "Downloading" and steps.pod(world, PODS[0]) is None:
            await steps.pods_come(world, datacenter)
        if world.restore_phase() == "Starting":
            await steps.pods_serve(world, datacenter)
    raise AssertionError(world.statuses())


@pytest.mark.parametrize("moment", ["before", "after", "reconcile"])
async def test_the_operator_dies_at_every_step(world: World, moment: str) -> None:
    await steps.completed_backup(world)
    number, crashes = 0, 0
    while True:
        number += 1
        await anew(world)
        session = world.session
        if moment == "reconcile":
            world.restart_after = world.reconciles + number
        else:
            setattr(world.spy, f"crash_{moment}", len(world.spy.writes) + number)
        await world.restore(datacenter="bar", backup={"name": "backup"})
        await whole_restore(world)
        assert set(world.agents.executed.values()) == {1}
        assert steps.plan(world) is None
        await world.rest(1)
        assert steps.pod(world, steps.INSPECTOR) is None
        if world.session == session:
            break
        crashes += 1
    assert crashes >= (8 if moment == "reconcile" else 6)


async def anew(world: World) -> None:
    """No restore, no datacenter, no pod of it, no agent."""
    world.spy.crash_before = world.spy.crash_after = world.restart_after = 0
    for name in [*PODS, steps.INSPECTOR]:
        if steps.pod(world, name) is not None:
            await world.delete(builtin.PODS, name)
    await world.delete(RESTORES, "restore")
    records = world.agents.bucket.records
    await world.stop()
    world.agents = FakeAgents(world.clock)
    world.agents.bucket.records = records
    await world.start()
    await world.refresh()
