"""What happens around a restore: a backup that is there, an inspector that comes up, pods that fill."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.protocol import ClusterRecord, Kind, RecordedNode
from controller import builtin
from reconcilers.api.backup import BACKUPS
from reconcilers.datacenter.layout import first_pods
from tests.api.crds.objects import body as least_body

if TYPE_CHECKING:
    from reconcilers.api.datacenter import CassandraDataCenter
    from tests.api.backup.world import World
    from tests.fakes.agents import Running

INSPECTOR = "restore-inspector"
PLAN = "bar-restore-plan"


async def completed_backup(world: World, *, racks: tuple[str, ...] = ("rack1",) * 3, **status: Any) -> ClusterRecord:
    """The object, and what the bucket has of it."""
    await world.create(BACKUPS, least_body(BACKUPS, "backup"))
    said = {
        "phase": "Completed",
        "location": "s3://bucket",
        "snapshotTag": "tag",
        "storage": {"backupType": "AWS_S3", "target": "bucket"},
        "datacenters": [{"name": "foo", "clusterName": "c", "datacenterName": "d"}],
        **status,
    }
    await world.patch(BACKUPS, "backup", {"status": said}, subresource="status")
    record = ClusterRecord(
        format=1, tag="tag", backup_id="b", cluster="c", datacenter="d",
        nodes=[
            RecordedNode(node=f"foo-{i}", rack=rack, host_id=f"host-{i}", digest=f"digest-{i}", files=10, bytes=1000)
            for i, rack in enumerate(racks)
        ],
    )  # fmt: skip
    world.agents.bucket.records["c", "d", "tag"] = record
    return record


async def inspector_comes(world: World, name: str = INSPECTOR) -> None:
    await world.run(lambda: pod(world, name) is not None, within=20)
    ip = world._new_ip()
    await world.pod_status(name, ready=True, podIP=ip)
    world.agents.add(name, ip)


def pod(world: World, name: str) -> Any:
    return world.stores[builtin.PODS].get(world.key(name))


def plan(world: World) -> Any:
    return world.stores[builtin.CONFIGMAPS].get(world.key(PLAN))


async def planned(world: World, **spec: Any) -> CassandraDataCenter:
    """A restore into ``bar`` that waits for its pods."""
    datacenter = await world.datacenter("bar", spec.pop("replicas", 3), pods=False, racks=spec.pop("racks", []))
    await world.restore(datacenter="bar", backup={"name": "backup"}, **spec)
    await inspector_comes(world)
    await world.run(lambda: world.restore_phase() == "Downloading", within=20)
    return datacenter


async def pod_comes(world: World, datacenter: CassandraDataCenter, name: str, rack: str = "rack1") -> Running:
    """Its init container reads the plan and begins."""
    agent = await world.pod(datacenter, rack, name, ready=False)
    operation = f"{world.get_restore().metadata.uid}-{name}"
    known = agent.journal.get(operation)
    if known is not None:
        agent.restart()
        return known
    return agent.begin(operation, Kind.RESTORE, {})


async def pods_come(world: World, datacenter: CassandraDataCenter) -> None:
    for rack, names in first_pods(datacenter).items():
        for name in names:
            await pod_comes(world, datacenter, name, rack)


async def pods_serve(world: World, datacenter: CassandraDataCenter) -> None:
    for names in first_pods(datacenter).values():
        for name in names:
            await world.pod_status(name, ready=True)
