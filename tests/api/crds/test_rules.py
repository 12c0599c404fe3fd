"""Each CEL rule: what it lets pass, and what it refuses with which words."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from controller.resource import Key
from reconcilers.api.backup import BACKUPS, MUTABLE, BackupSpec
from reconcilers.api.crds import DEFINITIONS, manifest
from reconcilers.api.datacenter import DATACENTERS
from reconcilers.api.restore import RESTORES, RestoreSpec
from reconcilers.api.schedule import SCHEDULES
from tests.api.crds.objects import RESOURCES, body, create, message, replace

if TYPE_CHECKING:
    from controller.client import Client
    from controller.resource import Resource

pytestmark = pytest.mark.usefixtures("crds")

NAMES = ("clusterName", "datacenterName")
KMS = {"sse": "KMS", "kmsKeyId": "key"}
SOURCE = {
    "backupType": "AWS_S3", "target": "b", "clusterName": "c", "datacenterName": "d", "snapshotTag": "t"
}  # fmt: skip
CLAIM = {"persistentVolumeClaim": {"claimName": "backups"}}
TWO_RACKS = [{"name": "a"}, {"name": "b"}]


def schedule(**fields: Any) -> dict[str, Any]:
    return body(SCHEDULES, retention=fields)


def template(**fields: Any) -> dict[str, Any]:
    return body(SCHEDULES, backupTemplate={"spec": {"backupType": "AWS_S3", "target": "bucket", **fields}})


def volumes(*given: dict[str, Any]) -> dict[str, Any]:
    """Each as told over a volume that is right."""
    made = [{"name": f"v{n}", "mountPath": f"/v{n}", **each} for n, each in enumerate(given)]
    return body(DATACENTERS, backup={"volumes": made})


def claim(storage: Any = "100Mi", **fields: Any) -> dict[str, Any]:
    return {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": storage}}, **fields}


ACCEPTED = {
    "a name of 40": body(DATACENTERS, "a" * 40),
    "racks": body(DATACENTERS, racks=TWO_RACKS),
    "stopped with racks": body(DATACENTERS, racks=TWO_RACKS, replicas=0),
    "a name with its rack": body(DATACENTERS, "a" * 31, racks=[{"name": "b" * 10}]),
    "one source": body(DATACENTERS, restore={"backupRef": {"name": "b"}}),
    "s3": body(BACKUPS, target="s3://bucket/prefix"),
    "an authority": body(BACKUPS, endpoint={"caBundleSecretRef": {"name": "s"}, "insecureSkipVerify": False}),
    "some keys of a Secret": volumes(
        {"secret": {"secretName": "s", "items": [{"key": "k", "path": "p", "mode": 288}]}}
    ),
    "gs": body(BACKUPS, backupType="GCP_BLOB", target="gs://bucket"),
    "azure": body(BACKUPS, backupType="AZURE_BLOB", target="azure://container"),
    "file": body(BACKUPS, backupType="FILE", target="file:///backups"),
    "a path": body(BACKUPS, backupType="FILE", target="/backups"),
    "a bandwidth": body(BACKUPS, bandwidth=1),
    "a bandwidth with a point": body(BACKUPS, bandwidth="0.5Mi"),
    "keyspaces": body(BACKUPS, keyspaces=["a", "Mixed_1"]),
    "tables": body(BACKUPS, tables=["a.b"]),
    "entities": body(BACKUPS, entities="a, b.c"),
    "partial": body(BACKUPS, minNodes="50%", nodeFailurePolicy="AllowPartial"),
    "partial with a number": body(BACKUPS, minNodes=2, nodeFailurePolicy="AllowPartial"),
    "kms": body(BACKUPS, encryption=KMS),
    "tags": body(BACKUPS, backupType="AZURE_BLOB", tags={"team": "data"}),
    "a lock": body(BACKUPS, objectLock={"mode": "COMPLIANCE", "days": 30}),
    "a directory that is not encrypted": body(BACKUPS, backupType="FILE", target="/b", encryption={"sse": "none"}),
    "an import": body(BACKUPS, importExisting=True, sourceCluster="c", sourceDatacenter="d", snapshotTag="t"),
    "retention": schedule(keepWithin="30d", keepLast=0, minKeep=1),
    "a schedule's name of 50": body(SCHEDULES, "a" * 50),
    "five fields": body(SCHEDULES, schedule="*/5  0-23/2 L,15 JAN,2 MON#1", timeZone="America/Argentina/Ushuaia"),
    "five fields on lines": body(SCHEDULES, schedule=" 0 2 * * *\n", timeZone="Etc/GMT+5"),
    "a nickname": body(SCHEDULES, schedule="@midnight"),
    "a template that says what is so": template(cancel=False, importExisting=False, deletionPolicy="Delete"),
    "a source": body(RESTORES, backup=None, source=SOURCE),
    "import": body(RESTORES, mode="Import", tables=["k.t"], rename={"k.t": "k.u"}),
    "in place": body(RESTORES, mode="InPlace", confirm="dc"),
    "volumes": volumes(
        {**CLAIM, "readOnly": True},
        {"secret": {"secretName": "key", "defaultMode": 288, "items": [{"key": "a", "path": "b"}]}},
        {"configMap": {"name": "ca"}, "mountPath": "/etc/ssl/certs"},
        {"nfs": {"server": "nfs.example", "path": "/exports"}, "mountPath": "/tmpdir/of.backups"},
        {"csi": {"driver": "blob.csi.azure.com", "volumeAttributes": {"containerName": "b"}}},
    ),
}
REFUSED = {
    "a name of 41": (body(DATACENTERS, "a" * 41), "metadata.name has at most 40 characters"),
    "a name with a digit first": (body(DATACENTERS, "1a"), "metadata.name starts with a letter"),
    "a name with a dot": (body(DATACENTERS, "a.b"), "metadata.name starts with a letter"),
    "a name with its rack": (
        body(DATACENTERS, "a" * 32, racks=[{"name": "b" * 10}]),
        "metadata.name and the name of a rack have at most 41 characters together",
    ),
    "racks twice": (body(DATACENTERS, racks=[{"name": "a"}, {"name": "a"}]), "Duplicate value"),
    "17 racks": (body(DATACENTERS, racks=[{"name": f"a{i}"} for i in range(17)]), "must have at most 16 items"),
    "a node for each rack": (body(DATACENTERS, replicas=1, racks=TWO_RACKS), "smaller than the number of racks"),
    "two restores": (
        body(DATACENTERS, restore={"backupName": "b"}, restoreFromBackup="b"),
        "restore and restoreFromBackup exclude each other",
    ),
    "two sources": (
        body(DATACENTERS, restore={"backupName": "b", "source": SOURCE}),
        "give at most one of backupName, backupRef and source",
    ),
    "1001 nodes": (body(DATACENTERS, replicas=1001), "should be less than or equal to 1000"),
    "no quantity": (body(DATACENTERS, dataVolumeClaim=claim("much")), "should match"),
    "null": (body(DATACENTERS) | {"spec": {**body(DATACENTERS)["spec"], "env": [None]}}, "must be of type object"),
    "s3 is not FILE": (body(BACKUPS, backupType="FILE", target="s3://b"), "the scheme of target does not agree"),
    "gs is not S3": (body(BACKUPS, target="gs://b"), "the scheme of target does not agree"),
    "no such scheme": (body(BACKUPS, target="ftp://b"), "the scheme of target does not agree"),
    "a source's scheme": (
        body(RESTORES, backup=None, source={**SOURCE, "target": "gs://b"}),
        "the scheme of target does not agree",
    ),
    "a default's scheme": (
        body(DATACENTERS, backup={"defaults": {"backupType": "FILE", "target": "gs://b"}}),
        "the scheme of target does not agree",
    ),
    "an import of keyspaces": (
        body(BACKUPS, importExisting=True, keyspaces=["a"]),
        "importExisting takes a backup as it is: leave out keyspaces",
    ),
    "a source without an import": (
        body(BACKUPS, sourceCluster="c"),
        "sourceCluster and sourceDatacenter have a meaning with importExisting only",
    ),
    "a directory's credentials": (
        body(BACKUPS, backupType="FILE", target="/b", credentialsSecretRef={"name": "s"}),
        "a directory has no credentials: leave out credentialsSecretRef with FILE",
    ),
    "an authority, and anybody": (
        body(BACKUPS, endpoint={"caBundleSecretRef": {"name": "s"}, "insecureSkipVerify": True}),
        "caBundleSecretRef says whom to trust, and insecureSkipVerify to trust anybody: give one of them",
    ),
    "an authority's key that is a path": (
        body(BACKUPS, endpoint={"caBundleSecretRef": {"name": "s", "key": "../ca.crt"}}),
        "should match",
    ),
    "a catalog's scheme": (
        body(DATACENTERS, backup={"catalog": {"backupType": "FILE", "target": "gs://b"}}),
        "the scheme of target does not agree",
    ),
    "a catalog every second": (
        body(DATACENTERS, backup={"catalog": {"backupType": "FILE", "target": "/b", "intervalSeconds": 1}}),
        "should be greater than or equal to 60",
    ),
    "a volume without a source": (volumes({}), "give a volume exactly one of persistentVolumeClaim, secret"),
    "a volume with two": (volumes({**CLAIM, "secret": {"secretName": "s"}}), "give a volume exactly one of"),
    "a claim without a name": (volumes({"persistentVolumeClaim": {}}), "claimName: Required value"),
    "a driver without a name": (volumes({"csi": {}}), "driver: Required value"),
    "a relative path": (volumes({**CLAIM, "mountPath": "backups"}), "mountPath is an absolute path such as /backups"),
    "a path with ..": (volumes({**CLAIM, "mountPath": "/a/../b"}), "mountPath is an absolute path such as /backups"),
    "a slash at the end": (volumes({**CLAIM, "mountPath": "/a/"}), "mountPath is an absolute path such as /backups"),
    "the root": (volumes({**CLAIM, "mountPath": "/"}), "mountPath is an absolute path such as /backups"),
    "Cassandra's data": (
        volumes({**CLAIM, "mountPath": "/var/lib/cassandra/backups"}),
        "mountPath is, or holds, a directory that the agent's container uses itself",
    ),
    "all of /etc": (volumes({**CLAIM, "mountPath": "/etc"}), "mountPath is, or holds, a directory that the agent's"),
    "one path twice": (
        volumes({**CLAIM, "mountPath": "/b"}, {"secret": {"secretName": "s"}, "mountPath": "/b"}),
        "two volumes have the same mountPath",
    ),
    "one volume twice": (volumes({**CLAIM, "name": "b"}, {**CLAIM, "name": "b"}), "Duplicate value"),
    "one claim twice": (volumes(CLAIM, {**CLAIM, "readOnly": True}), "two volumes have the same claim"),
    "no target": (body(BACKUPS, target=None), "spec.target: Required value"),
    "no such store": (body(BACKUPS, backupType="TAPE"), 'supported values: "AWS_S3", "GCP_BLOB"'),
    "keyspaces and tables": (body(BACKUPS, keyspaces=["a"], tables=["a.b"]), "keyspaces and tables exclude each other"),
    "entities and keyspaces": (body(BACKUPS, keyspaces=["a"], entities="b"), "entities is another spelling"),
    "entities and tables": (body(BACKUPS, tables=["a.b"], entities="b"), "entities is another spelling"),
    "a keyspace with a hyphen": (body(BACKUPS, keyspaces=["a-b"]), "should match"),
    "a table for a keyspace": (body(BACKUPS, keyspaces=["a.b"]), "should match"),
    "a keyspace for a table": (body(BACKUPS, tables=["a"]), "should match"),
    "a path for a table": (body(BACKUPS, tables=["a.../b"]), "should match"),
    "an odd entity": (body(BACKUPS, entities="a,,b"), "should match"),
    "the node's own keyspace": (body(BACKUPS, keyspaces=["a", "system"]), "keyspaces cannot name system"),
    "no nodes": (
        body(BACKUPS, minNodes=0, nodeFailurePolicy="AllowPartial"),
        "should be greater than or equal to 1",
    ),
    "more than all nodes": (body(BACKUPS, minNodes="101%", nodeFailurePolicy="AllowPartial"), "should match"),
    "min nodes": (body(BACKUPS, minNodes=1), "minNodes has a meaning with nodeFailurePolicy AllowPartial only"),
    "kms without a key": (body(BACKUPS, encryption={"sse": "KMS"}), "sse KMS needs kmsKeyId"),
    "a directory's class": (
        body(BACKUPS, backupType="FILE", target="/b", storageClass="COLD"),
        "a directory has no storageClass, tags or encryption",
    ),
    "a directory's encryption": (
        body(BACKUPS, backupType="FILE", target="/b", encryption={"sse": "AES256"}),
        "a directory has no storageClass, tags or encryption",
    ),
    "a lock elsewhere": (
        body(BACKUPS, backupType="GCP_BLOB", objectLock={"mode": "GOVERNANCE", "days": 1}),
        "objectLock is for AWS_S3",
    ),
    "a lock without days": (body(BACKUPS, objectLock={"mode": "GOVERNANCE"}), "spec.objectLock.days: Required value"),
    "a lock of no day": (
        body(BACKUPS, objectLock={"mode": "GOVERNANCE", "days": 0}),
        "should be greater than or equal to 1",
    ),
    "11 tags": (body(BACKUPS, tags={f"k{n}": "v" for n in range(11)}), "must have at most 10"),
    "a tag with a slash": (body(BACKUPS, snapshotTag="a/b"), "should match"),
    "no bandwidth": (body(BACKUPS, bandwidth=0), "should be greater than or equal to 1"),
    "no bandwidth in words": (body(BACKUPS, bandwidth="0.00Mi"), "should match"),
    "a bandwidth below none": (body(BACKUPS, bandwidth="-5Mi"), "should match"),
    "a restore's bandwidth": (body(RESTORES, bandwidth="0"), "should match"),
    "a time to live below none": (body(BACKUPS, ttlSecondsAfterFinished=-1), "should be greater than or equal to 0"),
    "11 retries": (body(BACKUPS, retries=11), "should be less than or equal to 10"),
    "65 transfers": (body(BACKUPS, concurrentTransfers=65), "should be less than or equal to 64"),
    "keep within": (schedule(keepWithin="30 days"), "keepWithin is a number and one of h, d, w, m, y"),
    "keep within nothing": (schedule(keepWithin="0d"), "keepWithin is a number and one of h, d, w, m, y"),
    "keep none": (schedule(minKeep=0), "should be greater than or equal to 1"),
    "keep less than none": (schedule(keepLast=-1), "should be greater than or equal to 0"),
    "a schedule's name of 51": (body(SCHEDULES, "a" * 51), "metadata.name has at most 50 characters"),
    "four fields": (body(SCHEDULES, schedule="0 2 * *"), "schedule is five fields (minute, hour, day of month,"),
    "six fields": (body(SCHEDULES, schedule="0 0 2 * * *"), "schedule is five fields (minute, hour, day of month,"),
    "no words": (body(SCHEDULES, schedule="     "), "schedule is five fields (minute, hour, day of month,"),
    "no schedule": (body(SCHEDULES, schedule=""), "should be at least 1 chars long"),
    "a nickname without times": (body(SCHEDULES, schedule="@reboot"), "schedule is five fields (minute, hour,"),
    "a word": (body(SCHEDULES, schedule="every day at two o'clock"), "schedule is five fields (minute, hour,"),
    "a zone with a space": (body(SCHEDULES, timeZone="Europe Vienna"), "spec.timeZone in body should match"),
    "a zone that climbs out": (body(SCHEDULES, timeZone="../../etc/passwd"), "spec.timeZone in body should match"),
    "no zone": (body(SCHEDULES, timeZone=""), "spec.timeZone in body should match"),
    "a jitter of two hours": (body(SCHEDULES, jitterSeconds=7200), "should be less than or equal to 3600"),
    "a negative jitter": (body(SCHEDULES, jitterSeconds=-1), "should be greater than or equal to 0"),
    "no deadline": (body(SCHEDULES, startingDeadlineSeconds=0), "should be greater than or equal to 1"),
    "a negative limit": (body(SCHEDULES, failedHistoryLimit=-1), "should be greater than or equal to 0"),
    "no such policy": (body(SCHEDULES, concurrencyPolicy="Allow"), 'supported values: "Forbid", "Queue", "Replace"'),
    "one name for all": (template(snapshotTag="tag"), "snapshotTag cannot be in a template"),
    "cancelled beforehand": (template(cancel=True), "cancel cannot be in a template"),
    "the same import again and again": (template(importExisting=True), "importExisting cannot be in a template"),
    "backups that go by themselves": (
        template(ttlSecondsAfterFinished=60),
        "ttlSecondsAfterFinished cannot be in a template",
    ),
    "a template's target": (
        body(SCHEDULES, backupTemplate={"spec": {"backupType": "FILE", "target": "s3://b"}}),
        "the scheme of target does not agree",
    ),
    "nothing to restore": (body(RESTORES, backup=None), "give exactly one of backup"),
    "two to restore": (body(RESTORES, source=SOURCE), "give exactly one of backup"),
    "tables without import": (body(RESTORES, tables=["k.t"]), "have a meaning with mode Import only"),
    "rename without import": (
        body(RESTORES, mode="NewCluster", rename={"k.t": "k.u"}),
        "have a meaning with mode Import only",
    ),
    "in place unconfirmed": (body(RESTORES, mode="InPlace"), "repeat the datacenter's name in confirm"),
    "in place, another name": (
        body(RESTORES, mode="InPlace", confirm="other"),
        "repeat the datacenter's name in confirm",
    ),
    "a point in time": (body(RESTORES, pointInTime="2026-01-01T00:00:00Z"), "pointInTime is reserved"),
}


@pytest.mark.parametrize("name", ACCEPTED)
async def test_accepted(client: Client, namespace: str, name: str) -> None:
    assert message(await create(client, namespace, ACCEPTED[name])) == ""


@pytest.mark.parametrize("name", REFUSED)
async def test_refused(client: Client, namespace: str, name: str) -> None:
    content, words = REFUSED[name]

    response = await create(client, namespace, content)

    assert response.status == 422
    assert words in message(response)


CHANGES_ACCEPTED = {
    "a rack more": (body(DATACENTERS, racks=TWO_RACKS), body(DATACENTERS, racks=[*TWO_RACKS, {"name": "c"}])),
    "racks in another order": (body(DATACENTERS, racks=TWO_RACKS), body(DATACENTERS, racks=TWO_RACKS[::-1])),
    "a larger volume": (
        body(DATACENTERS, dataVolumeClaim=claim("1000Mi")),
        body(DATACENTERS, dataVolumeClaim=claim("1Gi")),
    ),
    "the same volume in other words": (
        body(DATACENTERS, dataVolumeClaim=claim("1Gi")),
        body(DATACENTERS, dataVolumeClaim=claim(1 << 30)),
    ),
    "restore taken away": (body(DATACENTERS, restore={"backupName": "b"}), body(DATACENTERS)),
    "other resources": (body(DATACENTERS), body(DATACENTERS, resources={"limits": {"memory": "1Gi"}})),
    "what may change": (
        body(BACKUPS),
        body(BACKUPS, deletionPolicy="Delete", ttlSecondsAfterFinished=1, cancel=True),
    ),
    "cancel a restore": (body(RESTORES), body(RESTORES, cancel=True)),
    "a schedule's template": (
        body(SCHEDULES),
        body(SCHEDULES, backupTemplate={"spec": {"backupType": "FILE", "target": "/backups"}}),
    ),
}
CHANGES_REFUSED = {
    "a rack less": (
        body(DATACENTERS, racks=TWO_RACKS),
        body(DATACENTERS, racks=TWO_RACKS[:1]),
        "a rack cannot be removed",
    ),
    "no rack": (body(DATACENTERS, racks=TWO_RACKS), body(DATACENTERS), "a rack cannot be removed"),
    "racks at last": (body(DATACENTERS), body(DATACENTERS, racks=TWO_RACKS), "made without"),
    "racks after none": (body(DATACENTERS, racks=[]), body(DATACENTERS, racks=TWO_RACKS), "made without"),
    "a smaller volume": (
        body(DATACENTERS, dataVolumeClaim=claim("1Gi")),
        body(DATACENTERS, dataVolumeClaim=claim("1000Mi")),
        "storage cannot shrink",
    ),
    "a volume without a size": (
        body(DATACENTERS, dataVolumeClaim=claim()),
        body(DATACENTERS, dataVolumeClaim={"accessModes": ["ReadWriteOnce"]}),
        "storage cannot shrink",
    ),
    "another class": (
        body(DATACENTERS, dataVolumeClaim=claim()),
        body(DATACENTERS, dataVolumeClaim=claim(storageClassName="fast")),
        "storageClassName of dataVolumeClaim cannot be changed",
    ),
    **{
        f"another {field}": (
            body(DATACENTERS, dataVolumeClaim=claim(**{field: old})),
            body(DATACENTERS, dataVolumeClaim=claim(**{field: new})),
            f"{field} of dataVolumeClaim cannot be changed",
        )
        for field, old, new in (
            ("accessModes", ["ReadWriteOnce"], ["ReadWriteMany"]),
            ("volumeMode", "Filesystem", "Block"),
            ("volumeName", "a", "b"),
        )
    },
    "no volume": (
        body(DATACENTERS, dataVolumeClaim=claim()),
        body(DATACENTERS),
        "dataVolumeClaim cannot be added or removed",
    ),
    "a volume at last": (
        body(DATACENTERS),
        body(DATACENTERS, dataVolumeClaim=claim()),
        "dataVolumeClaim cannot be added or removed",
    ),
    "cancel taken back": (body(BACKUPS, cancel=True), body(BACKUPS), "cancel cannot be taken back"),
    "cancel set back": (body(RESTORES, cancel=True), body(RESTORES, cancel=False), "cancel cannot be taken back"),
}


async def change(client: Client, namespace: str, old: dict[str, Any], new: dict[str, Any]) -> str:
    assert message(await create(client, namespace, old)) == ""
    kept = await client.get(RESOURCES[old["kind"]], Key(namespace, old["metadata"]["name"]))
    return message(await replace(client, namespace, {**kept, "spec": new["spec"]}))


@pytest.mark.parametrize("name", CHANGES_ACCEPTED)
async def test_change_accepted(client: Client, namespace: str, name: str) -> None:
    assert await change(client, namespace, *CHANGES_ACCEPTED[name]) == ""


@pytest.mark.parametrize("name", CHANGES_REFUSED)
async def test_change_refused(client: Client, namespace: str, name: str) -> None:
    old, new, words = CHANGES_REFUSED[name]

    assert words in await change(client, namespace, old, new)


BACKUP_VALUES: dict[str, Any] = {
    "backupType": "FILE",
    "target": "other",
    "selector": {"matchLabels": {"app": "cassandra"}},
    "snapshotTag": "tag",
    "keyspaces": ["k"],
    "tables": ["k.t"],
    "entities": "k",
    "type": "Full",
    "endpoint": {"url": "http://minio"},
    "credentialsSecretRef": {"name": "s"},
    "encryption": {"sse": "AES256"},
    "storageClass": "COLD",
    "tags": {"a": "b"},
    "objectLock": {"mode": "GOVERNANCE", "days": 1},
    "bandwidth": "50Mi",
    "concurrentTransfers": 8,
    "finishWithinSeconds": 60,
    "parallelism": 1,
    "nodeFailurePolicy": "AllowPartial",
    "minNodes": 1,
    "retries": 1,
    "startingDeadlineSeconds": 1,
    "activeDeadlineSeconds": 1,
    "nodeProgressDeadlineSeconds": 1,
    "verify": "Hash",
    "importExisting": True,
    "sourceCluster": "c",
    "sourceDatacenter": "d",
}
RESTORE_VALUES: dict[str, Any] = {
    "datacenter": "other",
    "backup": {"name": "other"},
    "source": SOURCE,
    "sourceDatacenter": "d",
    "mode": "Import",
    "topologyPolicy": "RestoreThenScale",
    "mapping": [{"node": "a", "source": "b"}],
    "keyspaces": ["k"],
    "tables": ["k.t"],
    "rename": {"k.t": "k.u"},
    "includeAuth": False,
    "allowPartial": True,
    "bandwidth": 1000,
    "concurrentTransfers": 8,
    "verify": "Size",
    "activeDeadlineSeconds": 1,
    "nodeProgressDeadlineSeconds": 1,
    "retries": 1,
    "confirm": "dc",
    "pointInTime": "now",
}


@pytest.mark.parametrize(
    ("resource", "values"), [(BACKUPS, BACKUP_VALUES), (RESTORES, RESTORE_VALUES)], ids=["backup", "restore"]
)
async def test_a_fixed_field_can_be_neither_changed_nor_added(
    client: Client, namespace: str, resource: Resource, values: dict[str, Any]
) -> None:
    assert message(await create(client, namespace, body(resource))) == ""
    kept = await client.get(resource, Key(namespace, "one"))

    for field, value in values.items():
        response = await replace(client, namespace, {**kept, "spec": {**kept["spec"], field: value}})
        assert f"{field} cannot be changed: create another object" in message(response), field


async def test_a_fixed_field_cannot_be_removed(client: Client, namespace: str) -> None:
    words = await change(client, namespace, body(BACKUPS, snapshotTag="tag"), body(BACKUPS))

    assert "snapshotTag cannot be changed" in words


def test_the_tables_of_fixed_fields_are_complete() -> None:
    backup = {field.encode_name for field in msgspec.structs.fields(BackupSpec)}
    restore = {field.encode_name for field in msgspec.structs.fields(RestoreSpec)}

    assert backup - set(MUTABLE) == BACKUP_VALUES.keys()
    assert restore - {"cancel"} == RESTORE_VALUES.keys()


def test_every_rule_has_a_case() -> None:
    words = [words for *_, words in (*REFUSED.values(), *CHANGES_REFUSED.values())]
    words += [f"{field} cannot be changed: create" for field in (*BACKUP_VALUES, *RESTORE_VALUES)]
    words += [f"{field} cannot be changed once Cassandra runs" for field in NAMES]
    text = json.dumps([manifest(definition) for definition in DEFINITIONS])

    messages = set(re.findall(r'"rule": "(?:[^"\\]|\\.)*", "message": "([^"]*)"', text))

    assert len(messages) > 50
    assert [message for message in messages if not any(said in message for said in words)] == []


@pytest.mark.parametrize("field", NAMES)
async def test_a_name_is_fixed_once_it_is_in_the_status(client: Client, namespace: str, field: str) -> None:
    assert message(await create(client, namespace, body(DATACENTERS))) == ""
    kept = await client.get(DATACENTERS, Key(namespace, "one"))
    kept = await client.patch_status(DATACENTERS, Key(namespace, "one"), {field: "name"}, uid=kept["metadata"]["uid"])

    other = await replace(client, namespace, {**kept, "spec": {**kept["spec"], field: "other"}})
    same = await replace(client, namespace, {**kept, "spec": {**kept["spec"], field: "name"}})
    kept = await client.get(DATACENTERS, Key(namespace, "one"))
    none = await replace(client, namespace, {**kept, "spec": body(DATACENTERS)["spec"]})

    assert f"{field} cannot be changed once Cassandra runs under it" in message(other)
    assert message(same) == ""
    assert message(none) == ""  # the status still says it
