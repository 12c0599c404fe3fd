"""``credentialsSecretRef``: the Secret is mounted in the agents, and each is told where."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from agent.protocol import Kind, RestorePlan
from reconcilers.api.backup import BACKUPS
from tests.api.backup.test_importing import held
from tests.api.backup.world import GRACE
from tests.api.restore import steps

if TYPE_CHECKING:
    from tests.api.backup.world import World

SECRET = {"name": "store"}
APP = {"app": "cassandra"}


def mounted(path: str = "/keys", secret: str = "store", **more: Any) -> dict[str, Any]:
    return {"volumes": [{"name": "keys", "mountPath": path, "secret": {"secretName": secret}}], **more}


def told(world: World, pod: str, kind: Kind) -> str:
    [running] = [one for one in world.agents[pod].journal.values() if one.operation.kind is kind]
    return running.spec["location"].get("credentials", "")


async def test_each_agent_is_told_where_its_own_are(world: World) -> None:
    await world.datacenter("one", 1, own=APP, backup=mounted("/one"))
    await world.datacenter("two", 1, own=APP, backup=mounted("/two"))
    await world.backup(own=APP, credentialsSecretRef=SECRET)
    await world.run(lambda: world.phase() == "Completed")
    for kind in (Kind.PROBE, Kind.BACKUP, Kind.COMMIT):
        assert told(world, "cassandra-one-0", kind) == "/one"
        assert told(world, "cassandra-two-0", kind) == "/two"
    status = world.get().status
    assert [d.credentials_path for d in status.datacenters] == ["/one", "/two"]
    assert status.storage is not None
    assert status.storage.credentials_secret_ref is not None
    assert status.storage.credentials_secret_ref.name == "store"


async def test_a_secret_that_is_not_mounted(world: World) -> None:
    await world.datacenter(backup=mounted(secret="other"))
    await world.backup(credentialsSecretRef=SECRET)
    await world.run(lambda: world.get().ended)
    status = world.get().status
    assert (status.phase, status.reason) == ("FailedValidation", "SecretNotMounted")
    assert "add a volume with secret.secretName store to its spec.backup.volumes" in status.message
    assert world.agents.requests == []


async def test_what_moved_while_it_ran_is_told_as_it_was(world: World) -> None:
    """Another spec under a known id would be refused; the pods have the old mounts until they are replaced."""
    datacenter = await world.datacenter(replicas=1, backup=mounted())
    world.agents.script(Kind.BACKUP, seconds=60)
    await world.backup(credentialsSecretRef=SECRET)
    await world.run(lambda: world.phase() == "Uploading")
    await world.patch(type(datacenter).resource, "foo-cassandra", {"spec": {"backup": mounted("/elsewhere")}})
    await world.restart()
    await world.run(lambda: world.phase() == "Completed")
    assert told(world, "cassandra-foo-cassandra-0", Kind.COMMIT) == "/keys"


async def test_an_import_and_a_catalog(world: World) -> None:
    held(world, "t1")
    await world.datacenter("plain", 1, own=APP)
    catalog = {"backupType": "AWS_S3", "target": "bucket", "credentialsSecretRef": SECRET}
    await world.datacenter(replicas=1, own=APP, backup=mounted(catalog=catalog))
    await world.backup(
        own=APP, importExisting=True, snapshotTag="t1", target="bucket/other", credentialsSecretRef=SECRET
    )
    await world.run(lambda: world.get().ended and len(world.stores[BACKUPS].all()) == 2)
    await world.run(lambda: all(one.ended for one in world.stores[BACKUPS].all()))
    assert {one.status.phase for one in world.stores[BACKUPS].all()} == {"Completed"}
    assert {query["credentials"] for query in world.agents.inspected} == {"/keys"}
    for one in world.stores[BACKUPS].all():
        assert one.spec.credentials_secret_ref is not None
        assert one.status.datacenters[0].credentials_path == "/keys"
        assert one.status.datacenters[0].name == "foo-cassandra", "the one that has them"


async def test_a_restore_finds_them_in_the_datacenter_that_it_fills(world: World) -> None:
    storage = {"backupType": "AWS_S3", "target": "bucket", "credentialsSecretRef": SECRET}
    await steps.completed_backup(world, storage=storage)
    await world.datacenter("bare", pods=False)
    await world.restore("refused", datacenter="bare", backup={"name": "backup"})
    await world.run(lambda: world.restore_phase("refused") == "Failed")
    assert world.get_restore("refused").status.reason == "SecretNotMounted"
    await world.datacenter("bar", pods=False, backup=mounted("/theirs"))
    await world.restore(datacenter="bar", backup={"name": "backup"})
    await steps.inspector_comes(world)
    await world.run(lambda: world.restore_phase() == "Downloading")
    assert world.agents.inspected[-1]["credentials"] == "/theirs"
    read = msgspec.json.decode(steps.plan(world).body["data"]["cassandra-bar-0.json"], type=RestorePlan)
    assert read.location.credentials == "/theirs"


async def test_a_restore_from_a_bucket_alone(world: World) -> None:
    source = {
        "backupType": "AWS_S3", "target": "bucket", "clusterName": "c", "datacenterName": "d", "snapshotTag": "tag",
        "credentialsSecretRef": SECRET,
    }  # fmt: skip
    await steps.completed_backup(world)
    await world.datacenter("bar", pods=False, backup=mounted())
    await world.restore(datacenter="bar", backup=None, source=source)
    await steps.inspector_comes(world)
    await world.run(lambda: world.restore_phase() == "Downloading")
    assert world.agents.inspected[-1]["credentials"] == "/keys"


def all_told(world: World, kind: Kind) -> set[str]:
    asked = [one for agent in world.agents for one in agent.journal.values() if one.operation.kind is kind]
    return {one.spec["location"].get("credentials", "") for one in asked}


async def test_what_works_in_the_bucket_later_has_them_too(world: World) -> None:
    await world.datacenter(replicas=2, backup=mounted())
    await world.backup(credentialsSecretRef=SECRET, deletionPolicy="Delete")
    await world.run(lambda: world.phase() == "Completed")
    await world.delete(BACKUPS, "backup")
    await world.run(lambda: world.phase() == "gone" and not world.garbage(), within=3 * GRACE)
    assert all_told(world, Kind.FORGET) == all_told(world, Kind.COLLECT) == {"/keys"}


async def test_a_helper_pod_has_them_at_its_own_place(world: World) -> None:
    """Where the datacenter is gone, or does not mount the Secret any more."""
    datacenter = await world.datacenter(replicas=1, backup=mounted())
    await world.backup(credentialsSecretRef=SECRET, deletionPolicy="Delete")
    await world.run(lambda: world.phase() == "Completed")
    await world.patch(type(datacenter).resource, "foo-cassandra", {"spec": {"backup": None}})
    await world.delete(BACKUPS, "backup")
    await world.helper_comes()
    mounts = world.helpers()[0].body["spec"]["containers"][0]["volumeMounts"]
    assert "/etc/store-credentials/store" in {mount["mountPath"] for mount in mounts}
    await world.run(lambda: world.phase() == "gone")
    assert all_told(world, Kind.FORGET) == {"/etc/store-credentials/store"}


async def test_an_import_is_deleted_with_its_data(world: World) -> None:
    held(world, "t1")
    world.agents.bucket.manifests["t1", "old-0"] = "digest-0"
    await world.datacenter(replicas=1, backup=mounted())
    spec = {"snapshotTag": "t1", "credentialsSecretRef": SECRET, "deletionPolicy": "Delete"}
    await world.backup(importExisting=True, **spec)
    await world.run(lambda: world.phase() == "Completed")
    await world.delete(BACKUPS, "backup")
    await world.run(lambda: world.phase() == "gone", within=60)
    [forget] = [one for one in world.agents["cassandra-foo-cassandra-0"].journal.values()
                if one.operation.kind is Kind.FORGET]  # fmt: skip
    assert (forget.spec["backupId"], forget.spec["cluster"], forget.spec["tag"]) == ("old-uid", "old", "t1")
    assert world.agents.bucket.records == {}
