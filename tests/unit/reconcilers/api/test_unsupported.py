"""Which fields are acted on. A field that is new in a Struct fails here until somebody says which it is."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from controller.objects import ObjectMeta
from reconcilers.api import backup, common, datacenter, restore, schedule
from reconcilers.api.unsupported import _NOT_YET, unsupported

IMAGES = {"cassandraImage": "c", "sidecarImage": "s"}
STORE = {"backupType": "AWS_S3", "target": "b"}
SOURCE = {**STORE, "clusterName": "c", "datacenterName": "d", "snapshotTag": "t"}
ENDPOINT = {"url": "https://minio", "region": "r", "pathStyle": True, "caBundleSecretRef": {"name": "a", "key": "k"}}
SECRET = {"credentialsSecretRef": {"name": "s"}}
ENV = [{"name": "A", "value": "b"}]

ACTED_ON: dict[type[common.Api], dict[str, Any]] = {
    datacenter.DataCenterSpec: {
        **IMAGES,
        "replicas": 7,
        "imagePullPolicy": "Always",
        "imagePullSecrets": [{"name": "a"}],
        "imagePullSecret": "b",
        "resources": {"limits": {"memory": "1Gi"}},
        "sidecarResources": {"limits": {"memory": "1Gi"}},
        "dataVolumeClaim": {"accessModes": ["ReadWriteOnce"]},
        "env": ENV,
        "cassandraEnv": ENV,
        "sidecarEnv": ENV,
        "clusterName": "c",
        "datacenterName": "d",
        "racks": [{"name": "a", "affinity": {"x": 1}, "tolerations": [{"x": 1}], "topologyKey": "zone"}],
        "serviceAccountName": "sa",
        "cassandraAuth": {"authenticator": "A", "authorizer": "B", "roleManager": "C"},
        "additionalSeeds": ["seed"],
        "podTemplate": {
            "metadata": {"labels": {"a": "b"}, "annotations": {"a": "b"}},
            "affinity": {"x": 1},
            "tolerations": [{"x": 1}],
            "topologySpreadConstraints": [{"x": 1}],
            "priorityClassName": "p",
            "securityContext": {"runAsUser": 1},
        },
        "updatePolicy": {"type": "Rolling", "maxUnavailable": 1},
        "scaleDown": {"drainTimeout": "2h"},
        "pvcRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
        "backup": {"sweepSnapshots": True, "catalog": {**STORE, **SECRET, "endpoint": ENDPOINT}},
        "restore": {
            "backupName": "b",
            "backupRef": {"name": "b"},
            "source": {**SOURCE, "endpoint": ENDPOINT},
            "includeAuth": False,
            "bandwidth": "1Mi",
            "concurrentTransfers": 2,
        },
        "restoreFromBackup": "b",
        "monitoring": {"serviceMonitor": False},
        "networkPolicy": {"enabled": False},
    },
    backup.BackupSpec: {
        "backupType": "AWS_S3",
        "target": "bucket",
        **SECRET,
        "storageClass": "COLD",
        "encryption": {"sse": "KMS", "kmsKeyId": "k"},
        "tags": {"a": "b"},
        "objectLock": {"mode": "GOVERNANCE", "days": 1},
        "finishWithinSeconds": 60,
        "selector": {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "a", "operator": "Exists"}]},
        "snapshotTag": "t",
        "type": "Full",
        "endpoint": ENDPOINT,
        "bandwidth": "1Mi",
        "concurrentTransfers": 2,
        "parallelism": 1,
        "keyspaces": ["a"],
        "tables": ["a.b"],
        "entities": "a",
        "nodeFailurePolicy": "AllowPartial",
        "minNodes": "50%",
        "retries": 1,
        "startingDeadlineSeconds": 1,
        "activeDeadlineSeconds": 1,
        "nodeProgressDeadlineSeconds": 1,
        "deletionPolicy": "Delete",
        "ttlSecondsAfterFinished": 0,
        "verify": "Hash",
        "cancel": True,
        "importExisting": True,
        "sourceCluster": "c",
        "sourceDatacenter": "d",
        "status": "PENDING",
    },
    restore.RestoreSpec: {
        "datacenter": "d",
        "backup": {"name": "b"},
        "source": {**SOURCE, **SECRET, "endpoint": ENDPOINT},
        "sourceDatacenter": "d",
        "mode": "NewCluster",
        "topologyPolicy": "Strict",
        "includeAuth": False,
        "bandwidth": "1Mi",
        "concurrentTransfers": 2,
        "activeDeadlineSeconds": 1,
        "nodeProgressDeadlineSeconds": 1,
        "cancel": True,
    },
}
REMOVE = "is not acted on yet: remove it"
NOT_YET: dict[type[common.Api], list[tuple[dict[str, Any], str]]] = {
    datacenter.DataCenterSpec: [
        ({"userConfigMapVolumeSource": {"name": "a"}}, f"spec.userConfigMapVolumeSource {REMOVE}"),
        ({"userSecretVolumeSource": {"secretName": "a"}}, f"spec.userSecretVolumeSource {REMOVE}"),
        ({"userSecretSource": {"secretName": "a"}}, f"spec.userSecretSource {REMOVE}"),
        ({"extraSecretVolumes": [{"secretName": "a"}]}, f"spec.extraSecretVolumes {REMOVE}"),
        ({"updatePolicy": {"type": "Paused"}}, "spec.updatePolicy.type Paused is not acted on yet: use Rolling"),
        ({"updatePolicy": {"maxUnavailable": 2}}, "spec.updatePolicy.maxUnavailable 2 is not acted on yet: use 1"),
        ({"updatePolicy": {"partitionRacks": ["a"]}}, f"spec.updatePolicy.partitionRacks {REMOVE}"),
        ({"scaleDown": {"drainTimeout": "3h"}}, "spec.scaleDown.drainTimeout 3h is not acted on yet: use 2h"),
        ({"scaleDown": {"allowBelowRackCount": True}}, f"spec.scaleDown.allowBelowRackCount {REMOVE}"),
        (
            {"pvcRetentionPolicy": {"whenDeleted": "Delete"}},
            "spec.pvcRetentionPolicy.whenDeleted Delete is not acted on yet: use Retain",
        ),
        (
            {"pvcRetentionPolicy": {"whenScaled": "Delete"}},
            "spec.pvcRetentionPolicy.whenScaled Delete is not acted on yet: use Retain",
        ),
        ({"backup": {"defaults": STORE}}, f"spec.backup.defaults {REMOVE}"),
        ({"backup": {"sweepSnapshots": False}}, f"spec.backup.sweepSnapshots {REMOVE}"),
        ({"restore": {"sourceDatacenter": "d"}}, f"spec.restore.sourceDatacenter {REMOVE}"),
        (
            {"restore": {"topologyPolicy": "RestoreThenScale"}},
            "spec.restore.topologyPolicy RestoreThenScale is not acted on yet: use Strict",
        ),
        ({"restore": {"mapping": [{"node": "a", "source": "b"}]}}, f"spec.restore.mapping {REMOVE}"),
        ({"restore": {"allowPartial": True}}, f"spec.restore.allowPartial {REMOVE}"),
        ({"restore": {"verify": "Size"}}, "spec.restore.verify Size is not acted on yet: use Hash"),
        (
            {"restore": {"activeDeadlineSeconds": 1}},
            "spec.restore.activeDeadlineSeconds 1 is not acted on yet: use 86400",
        ),
        (
            {"restore": {"nodeProgressDeadlineSeconds": 1}},
            "spec.restore.nodeProgressDeadlineSeconds 1 is not acted on yet: use 900",
        ),
        ({"restore": {"retries": 1}}, "spec.restore.retries 1 is not acted on yet: use 3"),
        ({"prometheusSupport": True}, f"spec.prometheusSupport {REMOVE}"),
        ({"prometheusEnabled": True}, f"spec.prometheusEnabled {REMOVE}"),
        ({"monitoring": {"serviceMonitor": True}}, f"spec.monitoring.serviceMonitor {REMOVE}"),
        ({"monitoring": {"labels": {"a": "b"}}}, f"spec.monitoring.labels {REMOVE}"),
        ({"networkPolicy": {"enabled": True}}, f"spec.networkPolicy.enabled {REMOVE}"),
    ],
    backup.BackupSpec: [],
    restore.RestoreSpec: [
        ({"mode": "InPlace"}, "spec.mode InPlace is not acted on yet: use NewCluster"),
        (
            {"topologyPolicy": "RestoreThenScale"},
            "spec.topologyPolicy RestoreThenScale is not acted on yet: use Strict",
        ),
        ({"mapping": [{"node": "a", "source": "b"}]}, f"spec.mapping {REMOVE}"),
        ({"keyspaces": ["a"]}, f"spec.keyspaces {REMOVE}"),
        ({"tables": ["a.b"]}, f"spec.tables {REMOVE}"),
        ({"rename": {"a.b": "a.c"}}, f"spec.rename {REMOVE}"),
        ({"allowPartial": True}, f"spec.allowPartial {REMOVE}"),
        ({"verify": "None"}, "spec.verify None is not acted on yet: use Hash"),
        ({"retries": 0}, "spec.retries 0 is not acted on yet: use 3"),
        ({"confirm": "d"}, f"spec.confirm {REMOVE}"),
        ({"pointInTime": "now"}, f"spec.pointInTime {REMOVE}"),
    ],
}
LEAST: dict[type[common.Api], dict[str, Any]] = {
    datacenter.DataCenterSpec: IMAGES,
    backup.BackupSpec: STORE,
    restore.RestoreSpec: {"datacenter": "d"},
}


@pytest.mark.parametrize("spec", ACTED_ON)
def test_acted_on(spec: type[common.Api]) -> None:
    assert unsupported(msgspec.convert(ACTED_ON[spec], spec)) == []


@pytest.mark.parametrize(
    ("spec", "fields", "sentence"),
    [pytest.param(spec, *case, id=case[1].partition(" ")[0]) for spec, cases in NOT_YET.items() for case in cases],
)
def test_not_yet(spec: type[common.Api], fields: dict[str, Any], sentence: str) -> None:
    assert unsupported(msgspec.convert({**LEAST[spec], **fields}, spec)) == [sentence]


@pytest.mark.parametrize("spec", ACTED_ON)
def test_every_field_is_in_one_of_the_tables(spec: type[common.Api]) -> None:
    known = {*ACTED_ON[spec], *(name for fields, _ in NOT_YET[spec] for name in fields)}

    assert {field.encode_name for field in msgspec.structs.fields(spec)} == known


def test_what_is_said_of_a_spec_is_said_of_its_object() -> None:
    fields = {"mode": "InPlace", "confirm": "dc"}
    spec = msgspec.convert({**LEAST[restore.RestoreSpec], **fields}, restore.RestoreSpec)
    whole = restore.CassandraRestore(metadata=ObjectMeta(name="r"), spec=spec)

    assert len(unsupported(whole)) == 2
    assert unsupported(whole) == unsupported(spec)


@pytest.mark.parametrize(
    ("annotations", "said"),
    [
        ({}, 0),
        ({"example.com/pause": "true"}, 0),
        ({datacenter.PAUSE_ANNOTATION: "false"}, 0),
        ({datacenter.PAUSE_ANNOTATION: "true"}, 1),
        ({datacenter.RESTART_ANNOTATION: "2026-01-01T00:00:00Z", datacenter.REPLACE_ANNOTATION: "pod-0"}, 2),
    ],
)
def test_verbs_in_annotations(annotations: dict[str, str], said: int) -> None:
    whole = datacenter.CassandraDataCenter(
        metadata=ObjectMeta(name="dc", annotations=annotations), spec=msgspec.convert(IMAGES, datacenter.DataCenterSpec)
    )

    sentences = unsupported(whole)

    assert len(sentences) == said
    assert all(f"the annotation {name} {REMOVE}" in sentences for name in list(annotations)[:said])


def test_a_schedules_template_is_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a backup this release acts on all fields; a later one has more."""
    monkeypatch.setitem(_NOT_YET, common.Endpoint, {"region": ()})  # type: ignore[misc]
    body = {"schedule": "@daily", "backupTemplate": {"spec": {**STORE, "endpoint": {"region": "r"}}}}
    spec = msgspec.convert(body, schedule.ScheduleSpec)

    for given in (spec, schedule.CassandraBackupSchedule(metadata=ObjectMeta(name="s"), spec=spec)):
        assert unsupported(given) == [f"spec.backupTemplate.spec.endpoint.region {REMOVE}"]


def test_a_schedule_is_acted_on() -> None:
    template = {"metadata": {"labels": {"a": "b"}, "annotations": {"a": "b"}}, "spec": ACTED_ON[backup.BackupSpec]}
    every = {
        "schedule": "@daily",
        "timeZone": "Europe/Vienna",
        "suspend": True,
        "immediate": True,
        "startingDeadlineSeconds": 1,
        "concurrencyPolicy": "Replace",
        "jitterSeconds": 1,
        "backupTemplate": template,
        "retention": {
            "keepLast": 2, "keepWithin": "1d", "keepDaily": 2, "keepWeekly": 2, "keepMonthly": 2, "minKeep": 2
        },
        "successfulHistoryLimit": 1,
        "failedHistoryLimit": 1,
        "ownerReference": "Schedule",
    }  # fmt: skip

    assert unsupported(msgspec.convert(every, schedule.ScheduleSpec)) == []
    assert {field.encode_name for field in msgspec.structs.fields(schedule.ScheduleSpec)} == every.keys()
