"""The Structs: what they read of the user's YAMLs, their defaults, and what they write."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import pytest
import yaml

from backends.registry import OPENERS
from controller.objects import ObjectMeta
from reconcilers.api import common, datacenter_status
from reconcilers.api.backup import BACKUPS, BackupSpec, CassandraBackup, Type
from reconcilers.api.backup_status import BackupStatus
from reconcilers.api.common import BackupType, Kind
from reconcilers.api.crds import DIRECTORY
from reconcilers.api.datacenter import DATACENTERS, CassandraDataCenter, DataCenterRestore, DataCenterSpec
from reconcilers.api.restore import RESTORES, CassandraRestore, Mode, RestoreSpec
from reconcilers.api.schedule import SCHEDULES, CassandraBackupSchedule

EXAMPLES = DIRECTORY.parent / "examples"
KINDS = [CassandraDataCenter, CassandraBackup, CassandraBackupSchedule, CassandraRestore]
SEED = {  # SHA-256 of the blocks of the user's document
    "datacenter.yaml": "a4e2c6e9a4219850eec3320a7d83edc06896c410ee83fac8481a6f2667f46b3b",
    "backup.yaml": "59e4689c68d6add497385c61176581daeef3680e3d13f1de07c15793a858656c",
}
ENV = """\
  env:
    - name: AWS_ACCESS_KEY_ID
      valueFrom:
        secretKeyRef:
          key: access
          name: awsbackuptest
    - name: AWS_SECRET_ACCESS_KEY
      valueFrom:
        secretKeyRef:
          key: secret
          name: awsbackuptest
    - name: AWS_REGION
      value: us-west-2
"""


def wire(name: str) -> bytes:
    return msgspec.json.encode(yaml.safe_load((EXAMPLES / name).read_text()))


@pytest.mark.parametrize("name", SEED)
def test_the_users_yamls_are_kept_word_for_word(name: str) -> None:
    assert hashlib.sha256((EXAMPLES / name).read_bytes()).hexdigest() == SEED[name]


def test_the_users_datacenter() -> None:
    found = CassandraDataCenter.decode(wire("datacenter.yaml"))

    assert found.metadata.name == "foo-cassandra"
    assert found.metadata.labels == {
        "app": "cassandra",
        "chart": "cassandra-0.1.0",
        "release": "foo",
        "heritage": "Tiller",
    }
    assert found.spec == DataCenterSpec(
        replicas=3,
        cassandra_image="gcr.io/cassandra-operator/cassandra:latest",
        sidecar_image="gcr.io/cassandra-operator/cassandra-sidecar:latest",
        resources={"limits": {"memory": "512Mi"}, "requests": {"memory": "512Mi"}},
        data_volume_claim={"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "100Mi"}}},
        env=yaml.safe_load(ENV)["env"],
    )
    assert "".join(line for line in (EXAMPLES / "datacenter.yaml").read_text().partition("  env:\n")[1:]) == ENV


def test_the_users_backup() -> None:
    found = CassandraBackup.decode(wire("backup.yaml"))

    assert found.metadata.labels == {"cassandra-datacenter": "foo-cassandra"}
    assert found.spec == BackupSpec(backup_type=BackupType.AWS_S3, target="kube-backup-test-cassandra")
    assert found.status == BackupStatus()
    assert found.tag == "backup-hostname"


def test_a_default_is_applied_on_reading_and_not_written() -> None:
    found = CassandraBackup.decode(wire("backup.yaml"))

    assert (found.spec.type, found.spec.retries, found.spec.concurrent_transfers) == (Type.INCREMENTAL, 3, 0)
    assert msgspec.to_builtins(found.spec) == {"backupType": "AWS_S3", "target": "kube-backup-test-cassandra"}


def test_an_object_names_its_kind_when_written() -> None:
    restore = CassandraRestore(metadata=ObjectMeta(name="r"), spec=RestoreSpec(datacenter="dc"))

    assert msgspec.to_builtins(restore) == {
        "apiVersion": "stable.instaclustr.com/v1",
        "kind": "CassandraRestore",
        "metadata": {"name": "r"},
        "spec": {"datacenter": "dc"},
        "status": {},
    }


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_its_resource(kind: type[Kind]) -> None:
    resources = {resource.kind: resource for resource in (DATACENTERS, BACKUPS, SCHEDULES, RESTORES)}

    assert kind.resource == resources[kind.__name__]
    assert kind.resource.api_version == common.API_VERSION


def test_what_a_newer_release_wrote_is_read() -> None:
    body: dict[str, Any] = yaml.safe_load((EXAMPLES / "backup.yaml").read_text())
    body["spec"] |= {"colour": "red", "retries": 99}  # a field, and a bound, of another release
    body["status"] = {"phase": "Ascending", "shape": {"round": True}}

    found = CassandraBackup.decode(msgspec.json.encode(body))

    assert found.spec.retries == 99
    assert found.status.phase == "Ascending"


@pytest.mark.parametrize(
    ("phase", "ended"), [("", False), ("Pending", False), ("Failed", True), ("Cancelled", True), ("Completed", True)]
)
def test_a_final_phase_ends_a_run(phase: str, ended: bool) -> None:
    backup = CassandraBackup.decode(wire("backup.yaml"))
    restore = CassandraRestore.decode(wire("restore.yaml"))
    backup.status.phase = restore.status.phase = phase

    assert (backup.ended, restore.ended) == (ended, ended)


def test_zeros_of_columns_are_written_and_other_defaults_are_not() -> None:
    assert msgspec.to_builtins(datacenter_status.DataCenterStatus()) == {
        "replicas": 0,
        "readyReplicas": 0,
        "updatedReplicas": 0,
    }
    assert msgspec.to_builtins(BackupStatus()) == {}


@pytest.mark.parametrize(("body", "name"), [({}, ""), ({"backupName": "b"}, "b"), ({"backupRef": {"name": "b"}}, "b")])
def test_both_spellings_of_the_backup_to_start_from(body: dict[str, Any], name: str) -> None:
    assert msgspec.convert(body, DataCenterRestore).backup == name


@pytest.mark.parametrize(
    ("mode", "include", "wanted"),
    [
        (Mode.NEW_CLUSTER, None, True),
        (Mode.IN_PLACE, None, False),
        (Mode.NEW_CLUSTER, False, False),
        (Mode.IMPORT, True, True),
    ],
)
def test_roles_are_restored_by_default_into_a_new_cluster_only(mode: Mode, include: bool | None, wanted: bool) -> None:
    assert RestoreSpec(datacenter="dc", mode=mode, include_auth=include).with_auth is wanted


def test_the_schemes_are_those_the_agent_knows() -> None:
    assert {str(kind): schemes for kind, schemes in common.SCHEMES.items()} == {
        kind: OPENERS[kind][0] for kind in map(str, BackupType)
    }
