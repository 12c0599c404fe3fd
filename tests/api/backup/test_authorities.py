"""``endpoint.caBundleSecretRef``: the Secret is mounted in the agents, and each is told the file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from agent.protocol import Failure, Kind, RestorePlan
from reconcilers.api.backup import BACKUPS
from reconcilers.api.datacenter import DATACENTERS
from tests.api.backup.test_importing import held
from tests.api.backup.world import GRACE
from tests.api.restore import steps

if TYPE_CHECKING:
    from tests.api.backup.world import World

APP = {"app": "cassandra"}
ENDPOINT = {"url": "https://minio:9000", "caBundleSecretRef": {"name": "ca"}}
AT_HELPER = "/etc/store-credentials/ca/ca.crt"


def mounted(path: str = "/ca", **more: Any) -> dict[str, Any]:
    return {"volumes": [{"name": "ca", "mountPath": path, "secret": {"secretName": "ca"}}], **more}


def told(world: World, kind: Kind) -> set[str]:
    asked = [one for agent in world.agents for one in agent.journal.values() if one.operation.kind is kind]
    return {one.spec["location"]["endpoint"].get("caFile", "") for one in asked}


async def test_each_agent_is_told_where_its_own_are(world: World) -> None:
    await world.datacenter("one", 1, own=APP, backup=mounted("/one"))
    await world.datacenter("two", 1, own=APP, backup=mounted("/two"))
    world.agents.script(Kind.BACKUP, seconds=60)
    await world.backup(own=APP, endpoint=ENDPOINT, verify="Hash")
    await world.run(lambda: world.phase() == "Uploading")
    await world.patch(DATACENTERS, "two", {"spec": {"backup": mounted("/elsewhere")}})
    await world.restart()
    await world.run(lambda: world.phase() == "Completed")
    for kind in (Kind.PROBE, Kind.BACKUP, Kind.VERIFY, Kind.COMMIT):
        assert told(world, kind) == {"/one/ca.crt", "/two/ca.crt"}, "as it was when it began"
    status = world.get().status
    assert [d.ca_bundle_path for d in status.datacenters] == ["/one/ca.crt", "/two/ca.crt"]


async def test_a_secret_that_is_not_mounted(world: World) -> None:
    await world.datacenter(backup={"volumes": []})
    await world.backup(endpoint=ENDPOINT)
    await world.run(lambda: world.get().ended)
    status = world.get().status
    assert (status.phase, status.reason) == ("FailedValidation", "SecretNotMounted")
    assert "add a volume with secret.secretName ca to its spec.backup.volumes" in status.message
    assert world.agents.requests == []


async def test_an_import_and_a_catalog(world: World) -> None:
    held(world, "t1")
    await world.datacenter("plain", 1, own=APP)
    catalog = {"backupType": "AWS_S3", "target": "bucket", "endpoint": ENDPOINT}
    await world.datacenter(replicas=1, own=APP, backup=mounted(catalog=catalog))
    await world.backup(own=APP, importExisting=True, snapshotTag="t1", target="bucket/other", endpoint=ENDPOINT)
    await world.run(lambda: world.get().ended and len(world.stores[BACKUPS].all()) == 2)
    await world.run(lambda: all(one.ended for one in world.stores[BACKUPS].all()))
    assert {query["caFile"] for query in world.agents.inspected} == {"/ca/ca.crt"}
    for one in world.stores[BACKUPS].all():
        assert one.status.phase == "Completed"
        assert one.status.datacenters[0].ca_bundle_path == "/ca/ca.crt"
        assert one.status.datacenters[0].name == "foo-cassandra", "the one that has it"


async def test_a_restore_finds_it_in_the_datacenter_that_it_fills(world: World) -> None:
    await steps.completed_backup(world, storage={"backupType": "AWS_S3", "target": "bucket", "endpoint": ENDPOINT})
    await world.datacenter("bare", pods=False)
    await world.restore("refused", datacenter="bare", backup={"name": "backup"})
    await world.run(lambda: world.restore_phase("refused") == "Failed")
    assert world.get_restore("refused").status.reason == "SecretNotMounted"
    await world.datacenter("bar", pods=False, backup=mounted("/theirs"))
    source = {"backupType": "AWS_S3", "target": "bucket", "endpoint": ENDPOINT}
    names = {"clusterName": "c", "datacenterName": "d", "snapshotTag": "tag"}
    await world.restore(datacenter="bar", backup=None, source=source | names)
    await steps.inspector_comes(world)
    await world.run(lambda: world.restore_phase() == "Downloading")
    assert world.agents.inspected[-1]["caFile"] == "/theirs/ca.crt"
    read = msgspec.json.decode(steps.plan(world).body["data"]["cassandra-bar-0.json"], type=RestorePlan)
    assert read.location.endpoint is not None
    assert read.location.endpoint.ca_file == "/theirs/ca.crt"


async def test_what_works_in_the_bucket_later_has_it_too(world: World) -> None:
    await world.datacenter(replicas=2, backup=mounted())
    await world.backup(endpoint=ENDPOINT, deletionPolicy="Delete")
    await world.run(lambda: world.phase() == "Completed")
    await world.delete(BACKUPS, "backup")
    await world.run(lambda: world.phase() == "gone" and not world.garbage(), within=3 * GRACE)
    assert told(world, Kind.FORGET) == told(world, Kind.COLLECT) == {"/ca/ca.crt"}


async def test_helper_pods_have_it_when_the_datacenter_is_gone(world: World) -> None:
    """And its credentials, from the same Secret: it is mounted once."""
    await world.datacenter(replicas=1, backup=mounted())
    await world.backup(endpoint=ENDPOINT, credentialsSecretRef={"name": "ca"}, deletionPolicy="Delete")
    await world.run(lambda: world.phase() == "Completed")
    await world.lose_datacenter()
    await world.delete(BACKUPS, "backup")
    await world.helper_comes()
    mounts = world.helpers()[0].body["spec"]["containers"][0]["volumeMounts"]
    assert [m["mountPath"] for m in mounts].count("/etc/store-credentials/ca") == 1
    await world.run(lambda: world.phase() == "gone")
    assert told(world, Kind.FORGET) == {AT_HELPER}
    await world.helper_comes(within=2 * GRACE)  # the collector's
    await world.run(lambda: told(world, Kind.COLLECT), within=60)
    assert told(world, Kind.COLLECT) == {AT_HELPER}


async def test_an_agent_whose_pod_is_older_than_the_volume(world: World) -> None:
    """It has no such file, and a helper pod that is made now has."""
    await world.datacenter(replicas=1, backup=mounted())
    await world.backup(endpoint=ENDPOINT, deletionPolicy="Delete")
    await world.run(lambda: world.phase() == "Completed")
    old = world.agents["cassandra-foo-cassandra-0"]
    old.script(Kind.FORGET, fail=[Failure(reason="CABundleUnusable", message="the CA bundle cannot be read")])
    await world.delete(BACKUPS, "backup")
    await world.helper_comes()
    await world.run(lambda: world.phase() == "gone")
    assert told(world, Kind.FORGET) == {"/ca/ca.crt", AT_HELPER}
