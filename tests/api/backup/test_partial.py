"""nodeFailurePolicy AllowPartial: a backup without some of its nodes, which says so everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.protocol import Failure, Kind
from controller import builtin
from reconcilers import labels
from reconcilers.api.backup import BACKUPS
from reconcilers.api.datacenter import DATACENTERS
from tests.api.backup.spy import Crash
from tests.fakes.agents import DENIED, THROTTLED
from tests.fakes.clock import settle

if TYPE_CHECKING:
    from agent.protocol import ClusterRecord
    from tests.api.backup.world import World

FIRST, NODE, LAST = (f"cassandra-foo-cassandra-{n}" for n in range(3))
PARTIAL = {"nodeFailurePolicy": "AllowPartial"}
BROKEN = Failure(reason="SnapshotFailed", message="the disk is full")


def record(world: World) -> ClusterRecord:
    (found,) = world.agents.bucket.records.values()
    return found


def clean(world: World) -> bool:
    running = [o for a in world.agents for r in a.journal.values() if not (o := r.operation).state.final]
    return not running and not any(a.snapshots for a in world.agents)


async def hosts(world: World, replicas: int = 3) -> None:
    """What the datacenter's own reconciler knows of its nodes."""
    told = [
        {"pod": f"cassandra-foo-cassandra-{n}", "rack": "rack1", "hostId": f"host-cassandra-foo-cassandra-{n}"}
        for n in range(replicas)
    ]
    await world.patch(DATACENTERS, "foo-cassandra", {"status": {"nodes": told}}, subresource="status")


@pytest.mark.parametrize("kind", [Kind.SNAPSHOT, Kind.BACKUP])
async def test_a_node_that_fails_for_good_is_left_out(world: World, kind: Kind) -> None:
    await world.datacenter()
    world.agents[NODE].script(kind, fail=[BROKEN])
    await world.backup(**PARTIAL)
    await world.run(lambda: world.phase() == "PartiallyCompleted")
    status = world.get().status
    without = f"without {NODE}: the disk is full"
    assert status.reason == "Partial"
    assert status.message == f"2 of 3 nodes, 2.0KiB, in s3://bucket; {without}"
    assert {n.pod: (n.phase, n.reason) for n in status.nodes} == {
        FIRST: ("Completed", ""), NODE: ("Failed", "SnapshotFailed"), LAST: ("Completed", ""),
    }  # fmt: skip
    assert [n.node for n in record(world).nodes] == [FIRST, LAST]
    assert [(n.node, n.rack) for n in record(world).missing] == [(NODE, "rack1")]
    for condition, truth in (("Complete", "False"), ("Failed", "False"), ("Restorable", "False"), ("Running", "False")):
        assert world.condition(condition) == (truth, "Partial", status.message)
    assert ("Warning", "BackupPartial", status.message) in await world.events()
    assert ("Warning", "NodeBackupFailed", f"{NODE}: the disk is full") in await world.events()
    assert status.totals is not None
    assert (status.totals.completed, status.totals.failed, status.progress) == (2, 1, "100%")
    assert (await world.columns(BACKUPS, "backup"))["Nodes"] == "2/3"
    assert clean(world)
    await world.rest(1)
    assert await world.leases() == {}


async def test_too_few_are_left(world: World) -> None:
    await world.datacenter()
    for name in (FIRST, NODE):
        world.agents[name].script(Kind.BACKUP, seconds=5, fail=[DENIED])
    world.agents[LAST].script(Kind.BACKUP, seconds=100)
    await world.backup(**PARTIAL)
    await world.run(lambda: world.phase() == "Failed", within=60)
    status = world.get().status
    assert status.reason == "AccessDenied"
    assert status.message.startswith("1 of 3 nodes are left, and it takes 2: ")
    assert world.agents.bucket.records == {}
    assert clean(world)


@pytest.mark.parametrize(("least", "phase"), [(1, "PartiallyCompleted"), (3, "Failed"), ("34%", "Failed")])
async def test_min_nodes(world: World, least: int | str, phase: str) -> None:
    await world.datacenter()
    for name in (FIRST, NODE):
        world.agents[name].script(Kind.BACKUP, fail=[DENIED])
    await world.backup(**PARTIAL, minNodes=least)
    await world.run(lambda: world.phase() in ("Failed", "PartiallyCompleted"))
    assert world.phase() == phase


async def test_more_nodes_than_there_are(world: World) -> None:
    await world.datacenter()
    await world.backup(**PARTIAL, minNodes=4)
    await world.run(lambda: world.phase() == "FailedValidation")
    assert world.get().status.reason == "MinNodes"
    assert world.agents.requests == []


async def test_none_that_fails_is_whole(world: World) -> None:
    await world.datacenter()
    await world.backup(**PARTIAL)
    await world.run(lambda: world.phase() in ("Completed", "PartiallyCompleted"))
    assert world.phase() == "Completed"
    assert record(world).missing == []


async def test_a_retry_that_goes_well_leaves_nobody_out(world: World) -> None:
    await world.datacenter()
    world.agents[NODE].script(Kind.BACKUP, fail=[THROTTLED, None])
    await world.backup(**PARTIAL)
    await world.run(lambda: world.phase() in ("Completed", "PartiallyCompleted"))
    assert world.phase() == "Completed"


@pytest.mark.parametrize("gone", [False, True])
async def test_one_that_is_down_is_waited_for_and_then_left_out(world: World, gone: bool) -> None:
    await world.datacenter()
    await hosts(world)
    if gone:
        await world.lose_pod(NODE)
    else:
        await world.pod_status(NODE, ready=False)
    await world.backup(**PARTIAL)
    await world.rest(50)
    assert (world.phase(), world.get().status.reason) == ("Pending", "NodesNotReady")
    await world.run(lambda: world.phase() == "PartiallyCompleted", within=60)
    status = world.get().status
    assert [(n.pod, n.phase, n.reason) for n in status.nodes] == [
        (FIRST, "Completed", ""), (NODE, "Failed", "NodeDown"), (LAST, "Completed", ""),
    ]  # fmt: skip
    assert [(n.node, n.rack, n.host_id) for n in record(world).missing] == [(NODE, "rack1", f"host-{NODE}")]
    assert list(world.agents[NODE].journal) == []
    assert f"without {NODE}: it was down when the backup began" in world.condition("Accepted")[2]


async def test_one_that_comes_up_in_time_is_not_left_out(world: World) -> None:
    await world.datacenter()
    await hosts(world)
    await world.pod_status(NODE, ready=False)
    await world.backup(**PARTIAL)
    await world.rest(40)
    await world.pod_status(NODE, ready=True)
    await world.run(lambda: world.phase() in ("Completed", "PartiallyCompleted"))
    assert world.phase() == "Completed"


async def test_it_never_starts_with_too_few(world: World) -> None:
    await world.datacenter()
    await hosts(world)
    for name in (FIRST, NODE):
        await world.pod_status(name, ready=False)
    await world.backup(**PARTIAL)
    await world.rest(300)
    assert (world.phase(), world.get().status.reason) == ("Pending", "NodesNotReady")
    assert "1 of 3 nodes are left, and it takes 2" in world.get().status.message
    await world.run(lambda: world.phase() == "Failed", within=400)
    assert world.get().status.reason == "DeadlineExceeded"


async def test_without_the_policy_it_waits_for_all(world: World) -> None:
    await world.datacenter()
    await hosts(world)
    await world.lose_pod(NODE)
    await world.backup()
    await world.rest(500)
    assert (world.phase(), world.get().status.reason) == ("Pending", "NodesNotReady")


@pytest.mark.parametrize("spec", [PARTIAL, {}])
async def test_a_node_that_was_scaled_away_is_not_missing(world: World, spec: dict[str, str]) -> None:
    """The datacenter's status may still have it."""
    await world.datacenter(replicas=2)
    await hosts(world, replicas=3)
    await world.backup(**spec)
    await world.run(lambda: world.phase() in ("Completed", "PartiallyCompleted"))
    assert world.phase() == "Completed"
    assert [n.host_id for n in world.get().status.nodes] == [f"host-{FIRST}", f"host-{NODE}"]


async def test_a_datacenter_that_grows_is_waited_for(world: World) -> None:
    """A node that was never made is no node that is down."""
    await world.datacenter()
    await hosts(world)
    await world.patch(DATACENTERS, "foo-cassandra", {"spec": {"replicas": 4}})
    await world.backup(**PARTIAL)
    await world.rest(200)
    assert (world.phase(), world.get().status.reason) == ("Pending", "NodesNotReady")


async def test_one_that_falls_silent_is_cancelled_before_the_record_is_written(world: World) -> None:
    await world.datacenter()
    world.agents[NODE].script(Kind.BACKUP, stuck=True)
    await world.backup(**PARTIAL, nodeProgressDeadlineSeconds=60)
    await world.run(lambda: world.phase() == "PartiallyCompleted")
    (upload,) = world.agents[NODE].of_kind(Kind.BACKUP)
    assert upload.state == "Cancelled"
    assert [what for what, _ in world.agents.order].count("uploaded") == 2
    assert clean(world)


async def test_what_is_left_out_is_cancelled_at_once(world: World) -> None:
    """Not when the others are done, hours later: a snapshot pins its node's disk."""
    await world.datacenter()
    world.agents[NODE].script(Kind.BACKUP, stuck=True)
    world.agents.tick = 20
    world.agents[LAST].script(Kind.BACKUP, seconds=1000)
    await world.backup(**PARTIAL, nodeProgressDeadlineSeconds=60)
    await world.run(lambda: any(n.phase == "Failed" for n in world.get().status.nodes))
    await world.rest(20)
    assert [o.state for o in world.agents[NODE].of_kind(Kind.BACKUP)] == ["Cancelled"]
    assert not world.agents[NODE].snapshots
    assert world.phase() == "Uploading"


async def test_the_operator_dies_before_it_could_say_who_failed(world: World) -> None:
    """Then nothing was cancelled yet, which would look as if that were the reason."""
    await world.datacenter()
    world.agents[NODE].script(Kind.BACKUP, stuck=True)
    world.agents[LAST].script(Kind.BACKUP, seconds=1000)
    world.agents.tick = 20
    await world.backup(**PARTIAL, nodeProgressDeadlineSeconds=60)
    await world.run(lambda: world.phase() == "Uploading")
    await world.rest(50)
    await world.clock.advance(20)
    world.spy.crash_before = len(world.spy.writes) + 1
    with pytest.raises(Crash):
        await world.reconcile(BACKUPS.kind, world.key("backup"))
    await settle()
    assert [o.state for o in world.agents[NODE].of_kind(Kind.BACKUP)] == ["Running"]
    await world.restart()
    await world.run(lambda: any(n.phase == "Failed" for n in world.get().status.nodes))
    assert [n.reason for n in world.get().status.nodes] == ["", "NoProgress", ""]


async def test_the_record_waits_for_what_is_still_being_cancelled(world: World) -> None:
    await world.datacenter()
    world.agents[NODE].script(Kind.BACKUP, stuck=True, ignores_cancel=True)
    await world.backup(**PARTIAL, nodeProgressDeadlineSeconds=60)
    await world.run(lambda: world.phase() == "Finalizing")
    await world.rest(30)
    assert world.agents.bucket.records == {}
    (upload,) = [r for i, r in world.agents[NODE].journal.items() if ".backup." in i]
    upload.fail(DENIED)
    await world.run(lambda: world.phase() == "PartiallyCompleted", within=20)
    assert clean(world)


async def test_one_that_cannot_be_cancelled_holds_up_the_record_no_longer_than_its_deadline(world: World) -> None:
    await world.datacenter()
    world.agents[NODE].script(Kind.BACKUP, stuck=True, ignores_cancel=True)
    await world.backup(**PARTIAL, nodeProgressDeadlineSeconds=60)
    await world.run(lambda: world.phase() == "PartiallyCompleted", within=200)


async def test_a_silent_agent_does_not_keep_the_others_from_the_probe(world: World) -> None:
    await world.datacenter()
    world.agents[FIRST].silent = True
    await world.backup(**PARTIAL, nodeProgressDeadlineSeconds=60)
    await world.run(lambda: world.phase() == "PartiallyCompleted", within=300)
    assert [n.node for n in record(world).missing] == [FIRST]


async def test_all_are_silent(world: World) -> None:
    await world.datacenter()
    for agent in world.agents:
        agent.silent = True
    await world.backup(**PARTIAL, nodeProgressDeadlineSeconds=60)
    await world.run(lambda: world.phase() == "Failed")
    assert world.get().status.reason == "AgentUnreachable"


async def test_parallel_uploads_go_on_behind_one_that_fails(world: World) -> None:
    await world.datacenter(replicas=5)
    world.agents[NODE].script(Kind.BACKUP, fail=[DENIED])
    await world.backup(**PARTIAL, parallelism=1)
    await world.run(lambda: world.phase() == "PartiallyCompleted")
    assert len(record(world).nodes) == 4


async def test_the_operator_dies_all_the_time(world: World) -> None:
    await world.datacenter()
    await hosts(world)
    world.agents[NODE].script(Kind.BACKUP, seconds=4, fail=[BROKEN])
    world.agents[LAST].script(Kind.BACKUP, seconds=20)
    await world.backup(**PARTIAL)
    for _ in range(40):
        await world.rest(3)
        await world.restart()
        if world.phase() == "PartiallyCompleted":
            break
    assert [n.node for n in record(world).missing] == [NODE]
    assert set(world.agents.executed.values()) == {1}
    assert clean(world)


async def test_cancel_in_the_middle(world: World) -> None:
    await world.datacenter()
    world.agents[NODE].script(Kind.BACKUP, fail=[DENIED])
    world.agents[LAST].script(Kind.BACKUP, seconds=100)
    await world.backup(**PARTIAL)
    await world.run(lambda: any(n.phase == "Failed" for n in world.get().status.nodes))
    await world.patch(BACKUPS, "backup", {"spec": {"cancel": True}})
    await world.run(lambda: world.phase() == "Cancelled")
    assert world.agents.bucket.records == {}
    assert clean(world)


async def test_no_cluster_is_restored_from_it(world: World) -> None:
    await world.datacenter()
    world.agents[NODE].script(Kind.BACKUP, fail=[DENIED])
    await world.backup(**PARTIAL)
    await world.run(lambda: world.phase() == "PartiallyCompleted")
    await world.datacenter("bar", pods=False)
    await world.restore(datacenter="bar", backup={"name": "backup"})
    await world.run(lambda: world.restore_phase() == "Failed")
    status = world.get_restore().status
    assert status.reason == "BackupPartial"
    assert f"backup backup is without {NODE}" in status.message
    plan = world.key(labels.restore_plan("bar"))
    assert plan.name not in {
        m["metadata"]["name"] for m in await world.client.list(builtin.CONFIGMAPS, world.namespace)
    }
