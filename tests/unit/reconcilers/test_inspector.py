from __future__ import annotations

import json
from typing import Any

from controller.objects import ObjectMeta
from reconcilers import inspector, labels
from reconcilers.api.datacenter import BackupSettings, CassandraDataCenter, DataCenterSpec
from reconcilers.api.restore import CassandraRestore, RestoreSpec
from reconcilers.api.volumes import BackupVolume

ENV = [
    {"name": "AWS_ACCESS_KEY_ID", "valueFrom": {"secretKeyRef": {"key": "access", "name": "awsbackuptest"}}},
    {"name": "AWS_REGION", "value": "us-west-2"},
]


def build(**spec: Any) -> dict[str, Any]:
    datacenter = CassandraDataCenter(
        metadata=ObjectMeta(namespace="ns", name="bar", uid="dc-uid", labels={"app": "cassandra"}),
        spec=DataCenterSpec(
            replicas=3,
            cassandra_image="c",
            sidecar_image="s",
            env=ENV,
            resources={"limits": {"memory": "512Mi"}},
            **spec,
        ),
    )
    restore = CassandraRestore(
        metadata=ObjectMeta(namespace="ns", name="r", uid="u"), spec=RestoreSpec(datacenter="bar")
    )
    return inspector.build(restore, datacenter)


def test_it_looks_like_no_node() -> None:
    pod = build()
    assert pod["metadata"]["labels"] == {labels.INSPECTOR: "r"}
    assert [c["name"] for c in pod["spec"]["containers"]] == ["sidecar"]
    assert "initContainers" not in pod["spec"]
    assert "resourceFieldRef" not in json.dumps(pod), "it would name a container that is not there"
    assert "livenessProbe" not in pod["spec"]["containers"][0]


def test_it_has_the_agents_credentials_and_nothing_of_the_node() -> None:
    pod = build(service_account_name="mine", data_volume_claim={"accessModes": ["ReadWriteOnce"]})
    container = pod["spec"]["containers"][0]
    assert [e for e in container["env"] if e["name"].startswith("AWS")] == ENV
    assert container["image"] == "s"
    assert container["args"] == ["agent", "inspect"]
    assert {m["name"] for m in container["volumeMounts"]} == {"agent", "tmp-sidecar"}
    assert {v["name"] for v in pod["spec"]["volumes"]} == {"agent", "tmp-sidecar"}
    assert pod["spec"]["serviceAccountName"] == "mine"
    assert pod["spec"]["automountServiceAccountToken"] is False


def test_it_sees_the_directory_of_a_file_store() -> None:
    volume = BackupVolume(name="store", mount_path="/backups", persistent_volume_claim={"claimName": "shared"})
    pod = build(backup=BackupSettings(volumes=[volume]))["spec"]
    assert {"name": "backup-store", "mountPath": "/backups"} in pod["containers"][0]["volumeMounts"]
    assert {"name": "backup-store", "persistentVolumeClaim": {"claimName": "shared"}} in pod["volumes"]


def test_it_ends_by_itself_and_goes_with_its_restore() -> None:
    pod = build()
    assert pod["spec"]["activeDeadlineSeconds"] == 900
    assert pod["metadata"]["ownerReferences"] == [
        {
            "apiVersion": "stable.instaclustr.com/v1",
            "kind": "CassandraRestore",
            "name": "r",
            "uid": "u",
            "controller": True,
            "blockOwnerDeletion": True,
        }
    ]
    assert (pod["metadata"]["name"], pod["metadata"]["namespace"]) == ("r-inspector", "ns")


def test_building_is_pure() -> None:
    assert build() == build()
