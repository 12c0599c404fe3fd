"""Deleting a backup with its data: by whom, in spite of what, and what is said where it cannot be done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec import structs

from agent.protocol import Failure, Kind
from controller import builtin
from controller.resource import Key
from controller.store import StoreWriter
from controller.watch import Apply
from reconcilers import labels
from reconcilers.api.backup import BACKUPS
from reconcilers.api.datacenter import DATACENTERS
from reconcilers.api.restore import RESTORES
from reconcilers.garbage import entry as entries
from tests.api.backup.world import GRACE
from tests.api.kinds import NAMESPACES
from tests.fakes.agents import DENIED, THROTTLED

if TYPE_CHECKING:
    from reconcilers.api.backup import CassandraBackup
    from tests.api.backup.world import World
    from tests.fakes.agents import FakeAgent

NODE = "cassandra-foo-cassandra-0"
WHAT = "backup backup in s3://bucket"
ENV = [{"name": "AWS_ACCESS_KEY_ID", "valueFrom": {"secretKeyRef": {"name": "aws", "key": "access"}}}]


async def completed(world: World, name: str = "backup", *, policy: str = "Delete", **spec: Any) -> None:
    await world.backup(name, deletionPolicy=policy, **spec)
    await world.run(lambda: world.phase(name) == "Completed")


async def gone(world: World, name: str = "backup", *, within: float = 30) -> None:
    await world.run(lambda: world.phase(name) == "gone", within=within)


def forgets(world: World) -> int:
    return sum(len(agent.of_kind(Kind.FORGET)) for agent in world.agents)


def forgotten(world: World) -> bool:
    return not world.agents.bucket.records and not world.agents.bucket.manifests


def nothing_left(world: World) -> bool:
    """No pod of ours, and nobody follows an operation."""
    return not world.helpers() and world.operations.statistics()["followed"] == 0


async def told(world: World, name: str = "backup") -> dict[str, str]:
    return {reason: message for _, reason, message in await world.events(name) if reason.startswith("RemoteData")}


async def test_retained_data_is_not_touched(world: World) -> None:
    await world.datacenter()
    await completed(world, policy="Retain")
    assert world.get().metadata.finalizers == [labels.BACKUP_FINALIZER], "the policy may be changed yet"
    await world.delete(BACKUPS, "backup")
    await gone(world, within=2)
    assert forgets(world) == 0
    assert len(world.agents.bucket.records) == 1
    assert world.garbage() == []
    assert await told(world) == {}


@pytest.mark.parametrize("changed", [False, True])
async def test_an_agent_forgets_it_and_the_collector_frees_the_space(world: World, *, changed: bool) -> None:
    await world.datacenter()
    await completed(world, policy="Retain" if changed else "Delete")
    if changed:
        await world.patch(BACKUPS, "backup", {"spec": {"deletionPolicy": "Delete"}})
        await world.rest(60)
        assert forgets(world) == 0, "the policy is for the deletion"
    await world.rest(GRACE)
    started = world.clock.monotonic()
    phases: list[str] = []
    world.watched.append(lambda: phases.append(world.phase()))
    await world.delete(BACKUPS, "backup")
    await gone(world)
    assert "Deleting" in phases
    assert forgotten(world)
    assert forgets(world) == 1
    assert len(world.agents.bucket.objects) == 3, "the collector has not had its two cycles"
    assert list(await told(world)) == ["RemoteDataDeleted"]
    await world.run(lambda: not world.garbage(), within=3 * GRACE)
    assert world.agents.bucket.objects == {}
    assert GRACE < world.clock.monotonic() - started < 1.1 * GRACE
    collects = [who for what, who in world.agents.order if what == Kind.COLLECT]
    assert sorted(collects) == sorted(2 * [n.pod for n in world.agents]), "two cycles of each node"
    assert {(o.id, a.pod) for a in world.agents for o in a.of_kind(Kind.COLLECT)} == {
        (i, a.pod) for a in world.agents for i in a.executed if ".collect." in i
    }
    assert "GarbageCollected" in await world.reasons("foo-cassandra")
    assert nothing_left(world)


async def test_what_another_backup_needs_stays(world: World) -> None:
    await world.datacenter()
    world.agents.bucket.shared = {"a", "b"}
    await completed(world, "one")
    await completed(world, "two")
    await world.delete(BACKUPS, "one")
    await gone(world, "one")
    await world.run(lambda: not world.garbage(), within=3 * GRACE)
    assert world.agents.bucket.of(NODE) == {"a", "b", "only-two"}
    assert len(world.agents.bucket.records) == 1
    await world.delete(BACKUPS, "two")
    await gone(world, "two")
    await world.run(lambda: not world.garbage(), within=3 * GRACE)
    assert world.agents.bucket.objects == {}, "the bucket said that it was the last one"


async def test_most_of_the_backups_go(world: World) -> None:
    """More than the half of a node's objects: what was given up on purpose does not stop the collector."""
    await world.datacenter(replicas=1)
    for name in ("one", "two", "three", "four"):
        await completed(world, name)
    for name in ("one", "two", "three"):
        await world.delete(BACKUPS, name)
    await world.run(lambda: len(world.stores[BACKUPS].all()) == 1, within=60)
    await world.run(lambda: not world.garbage(), within=4 * GRACE)
    assert world.agents.bucket.of(NODE) == {"only-four"}


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_the_operator_dies_at_each_write(world: World, moment: str) -> None:
    await world.datacenter(replicas=1)
    number = crashes = 0
    while True:
        number += 1
        name, session = f"b{number}", world.session
        await completed(world, name)
        setattr(world.spy, f"crash_{moment}", len(world.spy.writes) + number)
        await world.delete(BACKUPS, name)
        await gone(world, name)
        assert forgotten(world)
        (found,) = world.garbage()
        entry = entries.decode(found.body)
        assert entry is not None
        assert entry.nodes[NODE].expected == 10 * number, "each is counted once"
        assert entry.nodes[NODE].empty
        if world.session == session:
            break
        crashes += 1
    assert crashes >= 3, "Deleting, the garbage, the finalizer"


async def test_the_operator_dies_after_each_reconcile(world: World) -> None:
    await world.datacenter(replicas=1)
    number = crashes = 0
    while True:
        number += 1
        name, session = f"b{number}", world.session
        await completed(world, name)
        world.restart_after = world.reconciles + number
        await world.delete(BACKUPS, name)
        await gone(world, name)
        assert forgotten(world)
        assert set(world.agents.executed.values()) == {1}
        if world.session == session:
            break
        crashes += 1
    assert crashes >= 3


async def test_while_it_runs_it_is_cancelled_first(world: World) -> None:
    await world.datacenter()
    world.agents.script(Kind.BACKUP, seconds=60)
    world.agents[NODE].script(Kind.BACKUP, seconds=1)
    await world.backup(deletionPolicy="Delete")
    await world.run(lambda: world.agents.bucket.manifests)
    await world.delete(BACKUPS, "backup")
    await gone(world)
    assert forgotten(world)
    assert not any(a.snapshots for a in world.agents)
    await world.run(lambda: not world.garbage(), within=4 * GRACE)
    assert world.agents.bucket.objects == {}


async def test_one_that_never_came_to_the_bucket_goes_at_once(world: World) -> None:
    await world.datacenter()
    world.agents.script(Kind.PROBE, fail=[DENIED])
    await world.backup(deletionPolicy="Delete")
    await world.run(lambda: world.get().ended)
    await world.rest(1)
    assert world.get().metadata.finalizers == []
    assert world.garbage() == []
    await world.delete(BACKUPS, "backup")
    await gone(world, within=1)
    assert forgets(world) == 0


# who does it


async def orphaned(world: World, **datacenter: Any) -> None:
    """A backup whose datacenter is gone; its object is being deleted."""
    await world.datacenter(replicas=1, **datacenter)
    await completed(world)
    await world.rest(GRACE)
    await world.lose_datacenter()
    await world.delete(BACKUPS, "backup")


async def test_a_helper_pod_does_it_where_the_datacenter_is_gone(world: World) -> None:
    await orphaned(world, env=[*ENV, {"name": "AWS_REGION", "value": "eu-1"}], sidecarImage="agent:1")
    await world.run(world.helpers)
    (pod,) = world.helpers()
    owner = world.get().metadata
    assert [(o.kind, o.uid, o.controller) for o in pod.metadata.owner_references] == [(BACKUPS.kind, owner.uid, True)]
    container = pod.body["spec"]["containers"][0]
    assert (container["image"], container["args"]) == ("agent:1", ["agent", "inspect"])
    assert {"AWS_ACCESS_KEY_ID", "AWS_REGION"} <= {e["name"] for e in container["env"]}
    secret = await world.client.get(builtin.SECRETS, world.key(pod.metadata.name))
    assert sorted(secret["data"]) == ["tls.crt", "tls.key", "token"]
    assert secret["metadata"]["ownerReferences"][0]["uid"] == owner.uid
    await world.restart()
    await world.helper_comes()
    await gone(world)
    assert forgotten(world)
    assert list(await told(world)) == ["RemoteDataDeleted"]
    # And nobody is left at all: the collector still has its two cycles, each with a pod of its own.
    for _ in range(2):
        agent = await world.helper_comes(within=2 * GRACE)
        await world.run(lambda a=agent: a.of_kind(Kind.COLLECT) and not world.helpers(), within=60)
        world.agents.remove(agent.pod)
        await world.restart()
    await world.run(lambda: not world.garbage())
    assert world.agents.bucket.objects == {}
    assert nothing_left(world)


async def test_a_store_that_still_shows_it_starts_nothing_anew(world: World) -> None:
    await orphaned(world)
    seen: list[CassandraBackup] = []
    world.watched.append(lambda: seen.extend(world.stores[BACKUPS].all()))
    await world.helper_comes()
    await gone(world)
    StoreWriter(world.stores[BACKUPS]).apply(Apply(seen[-1]))
    await world.reconcile(BACKUPS.kind, world.key("backup"))
    await world.refresh()
    assert nothing_left(world)


async def test_a_helper_pod_does_it_where_the_datacenter_is_stopped(world: World) -> None:
    await world.datacenter(replicas=1, env=[{"name": "AWS_SECRET_ACCESS_KEY", "value": "literal"}])
    await completed(world)
    await world.lose_pod(NODE)
    await world.patch(DATACENTERS, "foo-cassandra", {"spec": {"replicas": 0}})
    await world.delete(BACKUPS, "backup")
    await world.helper_comes()
    await gone(world)
    assert forgotten(world)


async def test_a_helper_pod_that_ended_is_made_again(world: World) -> None:
    await orphaned(world)
    agent = await world.helper_comes()
    agent.silent = True
    await world.rest(3)
    old = world.helpers()[0].metadata.uid
    await world.patch(builtin.PODS, agent.pod, {"status": {"phase": "Failed"}}, subresource="status")
    await world.run(lambda: world.helpers() and world.helpers()[0].metadata.uid != old)
    (await world.helper_comes()).silent = False
    await gone(world)
    assert forgotten(world)


async def test_agents_that_are_silent_are_not_waited_for(world: World) -> None:
    await world.datacenter()
    await completed(world)
    for agent in world.agents:
        agent.silent = True
    await world.delete(BACKUPS, "backup")
    await world.run(lambda: world.get().status.reason == "AgentUnreachable", within=60)
    assert NODE in world.get().status.message
    await world.helper_comes(within=300)
    await gone(world)
    assert forgotten(world)


async def test_another_agent_is_asked_where_one_is_refused(world: World) -> None:
    await world.datacenter()
    await completed(world)
    world.agents[NODE].script(Kind.FORGET, fail=[DENIED])
    await world.delete(BACKUPS, "backup")
    await gone(world)
    assert forgotten(world)
    assert world.helpers() == []


# given up


async def retained(world: World, why: str, *, after: float, within: float) -> None:
    """The object goes, no sooner than ``after`` seconds, and a warning says what stays where."""
    started = world.clock.monotonic()
    await gone(world, within=within)
    assert world.clock.monotonic() - started >= after
    ((type_, reason, message),) = [e for e in await world.events() if e[1].startswith("RemoteData")]
    assert (type_, reason) == ("Warning", "RemoteDataRetained")
    assert message.startswith(f"{WHAT} stays: ")
    assert why in message
    assert nothing_left(world)


async def test_a_bucket_that_denies(world: World) -> None:
    await world.datacenter(replicas=1)
    await completed(world)
    world.agents[NODE].script(Kind.FORGET, fail=[DENIED] * 99)
    await world.delete(BACKUPS, "backup")
    started = world.clock.monotonic()
    await world.run(lambda: world.get().status.reason == "AccessDenied")
    assert world.get().status.message == f"{WHAT} is being deleted: {NODE}: {DENIED.message}"
    assert world.condition("Deleting")[:2] == ("True", "AccessDenied")
    await world.rest(400)
    await world.restart()
    await gone(world, within=300)
    assert 600 <= world.clock.monotonic() - started < 620, "the second operator has no patience of its own"
    assert DENIED.message in (await told(world))["RemoteDataRetained"]
    assert len(world.agents.bucket.records) == 1


@pytest.mark.parametrize(
    ("waiting", "said"),
    [
        ({"reason": "CreateContainerConfigError", "message": 'secret "aws" not found'}, 'secret "aws" not found'),
        ({"reason": "ImagePullBackOff", "message": "no such image"}, "no such image"),
    ],
)
async def test_a_helper_pod_that_does_not_start(world: World, waiting: dict[str, str], said: str) -> None:
    await orphaned(world, env=ENV)
    await world.run(world.helpers)
    state = {"name": "sidecar", "ready": False, "restartCount": 0, "image": "", "imageID": "", "state": {}}
    status = {"phase": "Pending", "containerStatuses": [state | {"state": {"waiting": waiting}}]}
    await world.patch(builtin.PODS, world.helpers()[0].metadata.name, {"status": status}, subresource="status")
    await world.run(lambda: said in world.get().status.message)
    await retained(world, said, after=550, within=620)


async def test_a_secret_that_was_no_reference_is_not_kept(world: World) -> None:
    await orphaned(world, env=[{"name": "AWS_SECRET_ACCESS_KEY", "value": "wJalrXUtnFEMI"}])
    stored = await world.client.get(BACKUPS, world.key("backup"))
    assert "wJalrXUtnFEMI" not in str(stored)
    await retained(world, "AWS_SECRET_ACCESS_KEY", after=0, within=5)


async def test_a_namespace_that_is_being_deleted(world: World) -> None:
    await orphaned(world, env=ENV)
    await world.client.delete(NAMESPACES, Key("", world.namespace))
    await gone(world, within=10)
    assert world.helpers() == []
    assert len(world.agents.bucket.records) == 1


async def test_a_namespace_that_is_being_deleted_and_an_agent_that_lives(world: World) -> None:
    await world.datacenter(replicas=1)
    await completed(world)
    await world.client.delete(NAMESPACES, Key("", world.namespace))
    await world.delete(BACKUPS, "backup")
    await gone(world, within=10)
    assert forgotten(world), "it could, while it was there"
    assert world.garbage() == [], "nothing can be written down any more"


async def test_what_is_another_backups_by_now_stays(world: World) -> None:
    await world.datacenter(replicas=1)
    await completed(world)
    (record,) = world.agents.bucket.records.values()
    record.backup_id = "another"
    await world.delete(BACKUPS, "backup")
    await retained(world, "another backup's", after=0, within=10)
    assert len(world.agents.bucket.records) == 1


async def test_one_that_has_just_failed_is_waited_for_longer(world: World) -> None:
    """Its record might be on its way: the agents say so for an hour."""
    running = Failure(reason="BackupRunning", message="the backup has just ended there", retryable=True)
    await world.datacenter(replicas=1)
    await completed(world)
    world.agents.script(Kind.FORGET, fail=[running] * 15)
    await world.delete(BACKUPS, "backup")
    await world.rest(1800)
    assert world.get().status.reason == "BackupRunning"
    await gone(world, within=3600)
    assert forgotten(world)


# restores


@pytest.mark.parametrize("by", ["name", "place"])
async def test_a_restore_that_reads_it_holds_it(world: World, by: str) -> None:
    await world.datacenter(replicas=1)
    await completed(world)
    source = {
        "backupType": "AWS_S3", "target": "bucket", "clusterName": "c", "datacenterName": "d", "snapshotTag": "backup",
    }  # fmt: skip
    reference = {"backup": {"name": "backup"}} if by == "name" else {"backup": None, "source": source}
    await world.restore(datacenter="bar", **reference)
    await world.delete(BACKUPS, "backup")
    await world.rest(1200)
    assert world.phase() == "Completed"
    assert world.condition("Deleting")[:2] == ("False", "RestoreInProgress")
    assert "restore restore reads" in world.get().status.message
    assert forgets(world) == 0
    world.agents.script(Kind.FORGET, fail=[THROTTLED])  # what was waited for is not counted: it may be tried again
    await world.patch(RESTORES, "restore", {"spec": {"cancel": True}})
    await gone(world, within=120)
    assert forgotten(world)


async def test_a_restore_that_the_store_has_not_shown_yet(world: World) -> None:
    """It came between the look and the deed: the API server itself is asked before."""
    await world.datacenter(replicas=1)
    await world.datacenter("bar", pods=False)
    await completed(world)
    await world.delete(BACKUPS, "backup")
    await world.refresh()
    await world.reconcile(BACKUPS.kind, world.key("backup"))
    await world.restore(datacenter="bar", backup={"name": "backup"})
    world.dirty.discard(RESTORES)
    for _ in range(3):
        await world.reconcile(BACKUPS.kind, world.key("backup"))
    assert forgets(world) == 0
    world.dirty.add(RESTORES)
    await world.refresh()
    assert world.phase() == "Deleting"
    await gone(world, within=60)  # the restore was refused, since it is no complete backup any more
    assert world.restore_phase() == "Failed"
    assert forgotten(world)


# garbage of what was no backup in the end


@pytest.mark.parametrize("how", ["Failed", "Cancelled"])
async def test_what_a_run_that_ended_badly_left_is_collected(world: World, how: str) -> None:
    await world.datacenter(replicas=2)
    await completed(world, "good", policy="Retain")
    if how == "Failed":
        world.agents[NODE].script(Kind.BACKUP, fail=[DENIED])
    else:
        world.agents[NODE].script(Kind.BACKUP, seconds=60)
    await world.backup("bad")
    await world.run(lambda: ("bad", "cassandra-foo-cassandra-1") in world.agents.bucket.manifests)
    if how == "Cancelled":
        await world.patch(BACKUPS, "bad", {"spec": {"cancel": True}})
    await world.run(lambda: world.phase("bad") == how)
    world.agents.bucket.objects[NODE, "debris"] = world.clock.monotonic()
    (found,) = world.garbage()
    entry = entries.decode(found.body)
    assert entry is not None
    assert NODE in entry.nodes
    collects = [1 for what, _ in world.agents.order if what == Kind.COLLECT]
    assert not collects, "it is too young yet"
    await world.run(lambda: not world.garbage(), within=4 * GRACE)
    assert world.agents.bucket.of(NODE) == {"only-good"}


def sent(world: World) -> dict[tuple[str, str], float]:
    """What each agent's last backup has sent of two objects, which end with its epoch."""
    found = {}
    for agent in world.agents:
        spec = [running.spec for running in agent.journal.values() if running.operation.kind is Kind.BACKUP][-1]
        found |= {(agent.pod, f"{name}-{spec['epoch']}"): world.clock.monotonic() for name in "ab"}
    return found


async def failed(world: World, name: str = "bad") -> None:
    """It sends something of every node first."""
    world.agents.script(Kind.BACKUP, fail=[DENIED])
    await world.backup(name)
    await world.run(lambda: world.phase(name) == "Failed")
    world.agents.bucket.objects |= sent(world)


async def test_what_the_first_backup_left_is_collected_when_it_fails(world: World) -> None:
    """No backup was ever complete there: that all is of runs that failed only the operator can know."""
    await world.datacenter(replicas=2)
    started = world.clock.monotonic()
    await failed(world)
    await failed(world, "worse")
    assert len(world.agents.bucket.objects) == 8
    (found,) = world.garbage()
    entry = entries.decode(found.body)
    assert entry is not None
    assert (entry.due_at - world.clock.now()).total_seconds() > GRACE, "by the store's clock they are old enough then"
    await world.restart()
    await world.run(lambda: not world.garbage(), within=3 * GRACE)
    assert world.agents.bucket.objects == {}
    assert 2 * GRACE < world.clock.monotonic() - started < 2.1 * GRACE, "the usual two cycles"
    assert "CollectFailed" not in await world.reasons("foo-cassandra")


async def test_what_else_is_there_is_not_taken_for_that_of_runs_that_failed(world: World) -> None:
    await world.datacenter(replicas=2)
    await failed(world)
    world.agents.bucket.objects[NODE, "foreign-0123456789ab"] = 0.0
    await world.run(lambda: world.clock.monotonic() > 2.2 * GRACE, within=3 * GRACE)
    assert {node for node, _ in world.agents.bucket.objects} == {NODE}, "the other node's are gone"
    assert len(world.agents.bucket.of(NODE)) == 3
    assert "CollectFailed" in await world.reasons("foo-cassandra")


@pytest.mark.parametrize("partly", [False, True])
async def test_runs_that_failed_do_not_explain_all_once_a_backup_was_complete(world: World, *, partly: bool) -> None:
    """It may have reused all of it, and its manifests and record may be lost since."""
    await world.datacenter(replicas=2)
    await failed(world)
    world.agents.bucket.shared = {name for _, name in world.agents.bucket.objects}
    if partly:
        world.agents["cassandra-foo-cassandra-1"].script(Kind.BACKUP, fail=[DENIED])
    await world.backup("good", nodeFailurePolicy="AllowPartial", minNodes=1)
    await world.run(lambda: world.phase("good") == ("PartiallyCompleted" if partly else "Completed"))
    bucket = world.agents.bucket
    bucket.manifests.clear()
    bucket.records.clear()
    bucket.objects = {key: at for key, at in bucket.objects.items() if not key[1].startswith("only-")}
    await world.run(lambda: world.clock.monotonic() > 2.2 * GRACE, within=3 * GRACE)
    left = {node for node, _ in bucket.objects}
    assert left == ({NODE} if partly else {a.pod for a in world.agents})


async def test_a_collector_that_refuses_is_told_of_and_asked_again(world: World) -> None:
    await world.datacenter(replicas=1)
    await completed(world, "one")
    world.agents.bucket.objects |= {(NODE, f"stray-{n}"): 0.0 for n in range(40)}
    await completed(world, "two", policy="Retain")
    await world.delete(BACKUPS, "one")
    await gone(world, "one")
    world.clock.jump(GRACE)
    await world.run(lambda: world.clock.monotonic() > 3 * GRACE, within=4 * GRACE)
    events = [m for _, r, m in await world.events("foo-cassandra") if r == "CollectFailed"]
    assert len(events) == 1
    assert "too much" in events[0]
    assert len(world.garbage()) == 1
    assert len(world.agents.bucket.of(NODE)) == 42, "nothing was deleted"
    await world.run(lambda: not world.garbage(), within=32 * GRACE)
    assert "GarbageLeft" in await world.reasons("foo-cassandra")


async def test_a_note_between_a_cycle_and_its_end_is_not_lost(world: World) -> None:
    await world.datacenter(replicas=1)
    await completed(world, "one")
    await completed(world, "two")
    await world.delete(BACKUPS, "one")
    await gone(world, "one")
    await world.run(lambda: len([1 for what, _ in world.agents.order if what == Kind.COLLECT]) == 1)
    agent: FakeAgent = world.agents[NODE]
    agent.script(Kind.COLLECT, seconds=20)
    await world.run(lambda: any(o.state == "Running" for o in agent.of_kind(Kind.COLLECT)), within=2 * GRACE)
    await world.delete(BACKUPS, "two")
    await gone(world, "two")
    await world.run(lambda: not world.garbage(), within=4 * GRACE)
    assert world.agents.bucket.objects == {}


@pytest.mark.parametrize("cycle", [1, 2])
async def test_a_note_that_the_store_has_not_shown_yet_is_not_lost(world: World, cycle: int) -> None:
    """After the first cycle the ConfigMap is written, after the second it would go."""
    await world.datacenter(replicas=1)
    await completed(world)
    await world.rest(GRACE)
    await world.delete(BACKUPS, "backup")
    await gone(world)
    agent = world.agents[NODE]
    await world.run(lambda: len([o for o in agent.of_kind(Kind.COLLECT) if o.state.final]) == cycle, within=2 * GRACE)
    (found,) = world.garbage()
    entry, key = entries.decode(found.body), world.key(found.metadata.name)
    assert entry is not None
    noted = structs.replace(entry, notes=[*entry.notes, "other/forgotten"])
    await world.client.patch(builtin.CONFIGMAPS, key, {"data": entries.data(noted)})
    for _ in range(3):
        await world.reconcile(builtin.CONFIGMAPS.kind, key)
    kept = entries.decode(await world.client.get(builtin.CONFIGMAPS, key))
    assert kept is not None
    assert (kept.notes[-1], kept.cycle) == ("other/forgotten", cycle)


async def test_its_name_is_not_free_before_it_is_gone(world: World) -> None:
    """Another object with the same name in the same place: what it sends must not be taken for what goes."""
    await world.datacenter(replicas=1)
    await completed(world)
    world.agents.script(Kind.FORGET, seconds=100)
    await world.delete(BACKUPS, "backup")
    await world.run(lambda: world.phase() == "Deleting")
    await world.backup("other", snapshotTag="backup")
    await world.run(lambda: world.phase("other") == "Queued")
    await world.rest(60)
    assert world.phase("other") == "Queued"
    assert (
        world.get("other").status.message == "the deletion of backup backup, which has the same name there, is at work"
    )
    await world.run(lambda: world.phase("other") == "Completed")
    assert world.phase() == "gone"
    assert len(world.agents.bucket.records) == 1
