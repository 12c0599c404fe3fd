"""What a backup is when nothing goes wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.protocol import Kind
from controller.clock import parse_rfc3339
from reconcilers import labels
from reconcilers.api.backup import BACKUPS
from reconcilers.backup.policy import epoch
from tests.api.crds.objects import example

if TYPE_CHECKING:
    from tests.api.backup.world import World


async def test_the_users_backup_verbatim(world: World) -> None:
    await world.datacenter("foo-cassandra", own={"app": "cassandra"})
    await world.datacenter("other", replicas=1, own={"app": "cassandra"})
    world.agents.script(Kind.BACKUP, seconds=5, bytes=3 << 20, files=7)
    await world.create(BACKUPS, example("backup.yaml"))
    await world.run(lambda: world.phase("backup-hostname") == "Completed")
    status = world.get("backup-hostname").status
    assert status.location == "s3://kube-backup-test-cassandra"
    assert status.snapshot_tag == "backup-hostname"
    assert status.effective_selector == "cassandra-datacenter=foo-cassandra"
    assert [n.pod for n in status.nodes] == [f"cassandra-foo-cassandra-{i}" for i in range(3)]
    assert {n.phase for n in status.nodes} == {"Completed"}
    assert (status.cassandra_version, status.schema_version) == ("5.0.6", "schema-1")
    record = world.agents.bucket.records["foo-cassandra-cluster", "foo-cassandra-dc", "backup-hostname"]
    assert {n.node: n.digest for n in record.nodes} == {n.pod: n.digest for n in status.nodes}
    assert len(world.agents.bucket.records) == 1
    columns = await world.columns(BACKUPS, "backup-hostname")
    assert [columns[name] for name in ("Status", "Progress", "Nodes", "Size", "Location", "Reason")] == [
        "Completed", "100%", "3/3", "9.0MiB", "s3://kube-backup-test-cassandra", "Completed",
    ]  # fmt: skip
    assert columns.keys() >= {"Started", "Completed", "Age"}


async def test_two_datacenters_by_a_label_of_theirs(world: World) -> None:
    await world.datacenter("foo-cassandra", own={"app": "cassandra"})
    await world.datacenter("bar", replicas=2, own={"app": "cassandra"}, racks=[{"name": "a"}, {"name": "b"}])
    await world.datacenter("apart", replicas=1, own={"app": "other"})
    world.agents.script(Kind.BACKUP, seconds=4, bytes=1000, files=10)
    world.agents["cassandra-bar-a-0"].script(Kind.SNAPSHOT, seconds=9)  # the last to stand
    await world.backup("both", {"app": "cassandra"})
    await world.run(lambda: world.phase("both") == "Completed")
    status = world.get("both").status
    assert status.totals is not None
    assert (status.totals.nodes, status.totals.completed, status.totals.bytes, status.totals.files) == (5, 5, 5000, 50)
    assert [(d.name, d.cluster_name, d.datacenter_name, d.nodes, d.phase) for d in status.datacenters] == [
        ("bar", "bar-cluster", "bar-dc", 2, "Completed"),
        ("foo-cassandra", "foo-cassandra-cluster", "foo-cassandra-dc", 3, "Completed"),
    ]
    assert {(n.pod, n.rack) for n in status.nodes if n.datacenter == "bar"} == {
        ("cassandra-bar-a-0", "a"), ("cassandra-bar-b-0", "b"),
    }  # fmt: skip
    steps = [what for what, _ in world.agents.order]
    assert steps == ["snapshot"] * 5 + ["uploaded"] * 5 + ["commit"] * 2, "no byte before every snapshot stands"
    started = [
        r.operation.started_at for a in world.agents for r in a.journal.values() if r.operation.kind is Kind.BACKUP
    ]
    assert len(started) == 5
    assert all(parse_rfc3339(at) >= parse_rfc3339(status.start_time) for at in started)
    assert min(started) >= status.snapshot_time
    assert set(world.agents.executed.values()) == {1}
    assert not any(a.snapshots for a in world.agents)
    assert world.conflicts == 0


async def test_what_it_says_of_itself(world: World) -> None:
    await world.datacenter()
    seen: list[str] = []
    world.watched.append(lambda: seen.append(world.phase()) if seen[-1:] != [world.phase()] else None)
    await world.backup()
    await world.run(lambda: world.phase() == "Completed")
    assert seen == ["", "Queued", "Snapshotting", "Uploading", "Finalizing", "Completed"]
    conditions = {c.type: (c.status, c.reason) for c in world.get().status.conditions}
    assert conditions == {
        "Accepted": ("True", "SelectionResolved"),
        "StorageReachable": ("True", "Probed"),
        "Running": ("False", "Completed"),
        "Verified": ("True", "SizesCompared"),
        "Complete": ("True", "Completed"),
        "Failed": ("False", "Completed"),
        "Restorable": ("True", "Completed"),
    }
    status = world.get().status
    assert status.message == "3 nodes, 2.9KiB, in s3://bucket"
    assert status.duration.endswith("s")
    assert status.observed_generation == 1
    assert status.queue_position == 0
    assert await world.events() == [
        ("Normal", "BackupCompleted", "3 nodes, 2.9KiB, in s3://bucket"),
        ("Normal", "SelectionResolved", "3 nodes of foo-cassandra"),
        ("Normal", "SnapshotTaken", "snapshots stand on all 3 nodes"),
        ("Normal", "UploadStarted", "3 nodes upload to s3://bucket"),
    ]


async def test_it_holds_its_datacenter_as_long_as_it_runs(world: World) -> None:
    await world.datacenter()
    world.agents.script(Kind.BACKUP, seconds=100)
    await world.backup()
    await world.run(lambda: world.phase() == "Uploading")
    assert await world.leases() == {"cback-foo-cassandra": world.get().metadata.uid}
    assert world.get().metadata.finalizers == [labels.BACKUP_FINALIZER]
    await world.run(lambda: world.phase() == "Completed")
    await world.rest(1)
    assert await world.leases() == {}
    assert world.get().metadata.finalizers == [labels.BACKUP_FINALIZER], "for its data, should they be deleted"


async def test_what_the_agents_are_told(world: World) -> None:
    await world.datacenter(replicas=1)
    endpoint = {"url": "https://minio:9000", "region": "r", "pathStyle": True}
    key = await world.backup(
        target="bucket/prefix",
        snapshotTag="tag",
        endpoint=endpoint,
        type="Full",
        bandwidth="50Mi",
        concurrentTransfers=9,
        finishWithinSeconds=600,
        storageClass="STANDARD_IA",
        encryption={"sse": "AES256"},
    )
    await world.run(lambda: world.phase() == "Completed")
    backup = world.get(key.name)
    agent = world.agents["cassandra-foo-cassandra-0"]
    location = {
        "backupType": "AWS_S3", "target": "bucket/prefix", "endpoint": endpoint,
        "options": {"storageClass": "STANDARD_IA", "encryption": "AES256"},
    }  # fmt: skip
    place = {"location": location, "cluster": "foo-cassandra-cluster", "datacenter": "foo-cassandra-dc", "tag": "tag"}
    uid = backup.metadata.uid
    specs = {i: r.spec for i, r in agent.journal.items()}
    digest = backup.status.nodes[0].digest
    assert specs == {
        f"{uid}.probe.1": {**place, "backupId": uid, "owner": backup.status.datacenters[0].uid},
        f"{uid}.snapshot.1": {"tag": "tag"},
        f"{uid}.backup.1": {
            **place, "backupId": uid, "rack": "rack1", "node": agent.pod, "full": True, "concurrentTransfers": 9,
            "bandwidth": 50 << 20, "finishWithin": 600,
            "epoch": epoch(parse_rfc3339(backup.metadata.creation_timestamp), uid),
        },
        f"{uid}.commit.1": {
            **place, "backupId": uid,
            "nodes": [{
                "node": agent.pod, "rack": "rack1", "hostId": f"host-{agent.pod}", "digest": digest, "tokens": 16,
                "files": 10, "bytes": 1000,
            }],
        },
    }  # fmt: skip
    storage = backup.status.storage
    assert storage is not None
    assert (storage.backup_type, storage.target) == ("AWS_S3", "bucket/prefix")


async def test_no_agent_is_asked_before_the_selection_is_written(world: World) -> None:
    await world.datacenter()
    await world.backup()
    world.spy.crash_before = 2
    await world.run(lambda: world.session == 2)
    assert world.spy.writes == [("patch", BACKUPS.kind, "backup")], "the finalizer"
    assert world.agents.requests == []
    assert await world.leases() == {}
    await world.run(lambda: world.phase() == "Completed")


@pytest.mark.parametrize("limit", [1, 2])
async def test_so_many_at_a_time(world: World, limit: int) -> None:
    await world.datacenter(replicas=12)
    world.agents.script(Kind.BACKUP, seconds=2)
    most = 0

    def count() -> None:
        nonlocal most
        running = [o for a in world.agents for o in a.of_kind(Kind.BACKUP) if not o.state.final]
        most = max(most, len(running))

    world.watched.append(count)
    await world.backup(parallelism=limit)
    started = world.clock.monotonic()
    await world.run(lambda: world.phase() == "Completed")
    assert most == limit
    assert world.clock.monotonic() - started < 24 / limit + 8, "the next begins when one ends"


async def test_progress_is_live_and_written_at_most_every_five_seconds(world: World) -> None:
    await world.datacenter()
    world.agents.script(Kind.BACKUP, seconds=100, bytes=10_000)
    world.agents.tick = 0.5
    await world.backup()
    await world.run(lambda: world.phase() == "Uploading")
    writes, key = len(world.spy.writes), world.key("backup")
    seen = set()
    world.watched.append(lambda: seen.add(world.get().status.progress_percent))
    world.watched.append(lambda: world._due(BACKUPS.kind, key, 0.7))  # there is always something that wakes it
    await world.rest(50)
    written = len(world.spy.writes) - writes
    assert 8 <= written <= 11
    assert len(seen) >= 8
    status = world.get().status
    assert 40 <= status.progress_percent <= 55
    assert {n.progress for n in status.nodes} == {f"{status.progress_percent}%"}
    assert status.rate == "300B/s"
    assert 45 <= int(status.time_left.removesuffix("s")) <= 60
    assert (await world.columns(BACKUPS, "backup"))["Left"] == status.time_left
    await world.run(lambda: world.phase() == "Completed")
    status = world.get().status
    assert (status.rate, status.time_left, {n.bytes_per_second for n in status.nodes}) == ("", "", {0})


async def test_an_ended_backup_is_never_touched_again(world: World) -> None:
    datacenter = await world.datacenter()
    await world.backup()
    await world.run(lambda: world.phase() == "Completed")
    await world.rest(2)
    before, writes, version = world.get().status, await world.writes(), world.get().metadata.resource_version
    await world.replace_pod(datacenter, "cassandra-foo-cassandra-0")
    touched = await world.writes() - writes
    await world.restart()
    await world.rest(3600)
    assert world.get().status == before
    assert world.get().metadata.resource_version == version
    assert await world.writes() - writes == touched


async def test_nothing_is_written_while_nothing_changes(world: World) -> None:
    await world.datacenter()
    world.agents.script(Kind.BACKUP, stuck=True)
    await world.backup(nodeProgressDeadlineSeconds=100_000)
    await world.run(lambda: world.phase() == "Uploading")
    await world.rest(20)
    writes = await world.writes()
    await world.rest(600)
    await world.restart()
    await world.rest(600)
    assert await world.writes() == writes
