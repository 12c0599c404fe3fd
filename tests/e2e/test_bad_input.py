"""What a user can get wrong: each ends in a condition and an event that name the cause, in time, with nothing lost.

The reasons here are those of docs/troubleshoot.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from dev.scenario import dataset, nodes
from dev.scenario.cql import Consistency, session
from dev.scenario.demo import CBACK, CDC
from dev.scenario.documents import BACKUP, RESTORED, SMALL
from dev.scenario.kubectl import KubectlError, Object, condition_of, eventually
from dev.scenario.waiting import Failed, wait_for
from tests.e2e.conftest import AGENTS, storage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dev.scenario.minio_admin import MinioAdmin
    from tests.e2e.conftest import World

_DEADLINE = 120.0  # seconds
_CRS = "cassandrarestore"
_NO_BUCKET, _NO_BUCKET_REASON = (
    ("/no-such-bucket", "TargetNotMounted") if storage() == "file" else ("no-such-bucket-anywhere", "BucketMissing")
)
_SMALL_POD = f"cassandra-{SMALL}-0"


@dataclass(frozen=True)
class Refused:
    """A backup that ends by itself. ``words`` are in its message."""

    name: str
    reason: str
    words: tuple[str, ...]
    event: str = "BackupFailed"
    labels: dict[str, str] = field(default_factory=lambda: {"cassandra-datacenter": SMALL})
    spec: dict[str, Any] = field(default_factory=dict)
    phase: str = "Failed"


@pytest.mark.parametrize(
    "case",
    [
        Refused(
            "empty-selection",
            "EmptySelector",
            ("labels", "spec.selector"),
            labels={},
            phase="FailedValidation",
        ),
        Refused(
            "matches-no-pod",
            "DeadlineExceeded",
            ("no Cassandra pod", "cassandra-datacenter=nobody"),
            event="DeadlineExceeded",
            labels={"cassandra-datacenter": "nobody"},
            spec={"startingDeadlineSeconds": 15},
        ),
        Refused(
            "missing-bucket",
            _NO_BUCKET_REASON,
            (_NO_BUCKET,),
            spec={"target": _NO_BUCKET},
            phase="FailedValidation",
        ),
        Refused(
            "missing-keyspace",
            "KeyspaceNotFound",
            ("nowhere",),
            spec={"keyspaces": ["nowhere"]},
            phase="FailedValidation",
        ),
        Refused(
            "authority-not-mounted",
            "SecretNotMounted",
            ("Secret ca",),
            spec={"endpoint": {"caBundleSecretRef": {"name": "ca"}}},
            phase="FailedValidation",
        ),
    ],
    ids=lambda case: case.name,
)
def test_backup(world: World, case: Refused) -> None:
    world.kubectl.apply(world.documents.other_backup(case.name, case.labels, **case.spec))
    refused(world, case)


def test_backup_with_wrong_credentials(world: World, admin: MinioAdmin) -> None:
    admin.set_enabled(AGENTS, enabled=False)
    try:
        case = Refused("wrong-credentials", "CredentialsRefused", (world.target,), phase="FailedValidation")
        world.kubectl.apply(world.documents.other_backup(case.name, case.labels))
        refused(world, case)
    finally:
        admin.set_enabled(AGENTS, enabled=True)


@pytest.mark.skipif(storage() != "s3", reason="the variables are S3's")
def test_backup_without_credentials(world: World) -> None:
    kubectl, name = world.kubectl, "no-credentials"
    region_and_store = [
        {"name": "AWS_REGION", "value": "us-west-2"},
        {"name": "AWS_ENDPOINT_URL", "value": world.documents.url},
        {"name": "AWS_EC2_METADATA_DISABLED", "value": "true"},
    ]
    kubectl.apply(world.documents.other_datacenter(name, 1, env=region_and_store))
    try:
        wait_for(kubectl, CDC, name, "Ready", 240)
        kubectl.apply(world.documents.other_backup(name, {"cassandra-datacenter": name}))
        case = Refused(
            name, "CredentialsMissing", ("credentials",), event="CredentialsMissing", phase="FailedValidation"
        )
        refused(world, case)
    finally:
        nodes.delete_with_claims(kubectl, name)


@pytest.mark.skipif(storage() == "file", reason="a volume cannot be taken away from under its pods")
def test_bucket_vanishes_in_the_middle(world: World) -> None:
    kubectl, name, bucket = world.kubectl, "vanishing-bucket", "vanishing-bucket"
    world.store.make_empty(bucket)
    labels = {"cassandra-datacenter": RESTORED}
    kubectl.apply(world.documents.other_backup(name, labels, target=bucket, bandwidth="64Ki", retries=0))
    eventually("bytes are sent", lambda: world.store.size(bucket) > 0, _DEADLINE, every=0.3)
    world.store.remove(bucket)
    refused(world, Refused(name, "BucketMissing", (bucket,)))
    for pod in world.pods():
        assert nodes.snapshots(kubectl, pod, name) == []


@pytest.mark.parametrize(
    ("field_", "value", "words"),
    [
        ("backupType", "AWS_S4", ("Unsupported value", "AWS_S3")),
        ("target", "ftp://kube-backup-test-cassandra", ("scheme", "backupType")),
    ],
)
def test_the_schema_refuses(world: World, field_: str, value: str, words: tuple[str, ...]) -> None:
    """Before there is an object that could have a condition."""
    with pytest.raises(KubectlError) as refusal:
        world.kubectl.apply(world.documents.other_backup("refused", {"cassandra-datacenter": SMALL}, **{field_: value}))
    assert all(word in str(refusal.value) for word in words), refusal.value


@pytest.fixture
def incomplete(world: World) -> str:
    """A backup that failed."""
    name = "incomplete"
    world.kubectl.apply(world.documents.other_backup(name, {"cassandra-datacenter": SMALL}, target=_NO_BUCKET))
    with pytest.raises(Failed):
        wait_for(world.kubectl, CBACK, name, "Complete", _DEADLINE)
    return name


def test_restore_of_a_backup_that_is_not_complete(world: World, incomplete: str) -> None:
    words = (incomplete, "Failed")
    restore_refused(world, "from-incomplete", incomplete, replicas=1, reason="BackupNotComplete", words=words)


def test_restore_with_another_node_count(world: World) -> None:
    restore_refused(world, "too-few", BACKUP, replicas=2, reason="TopologyMismatch", words=("3", "2"))


def test_restore_into_a_volume_that_is_not_empty(world: World, small_backup: str) -> None:
    """A datacenter of the same name finds the volumes of the one before: its rows are there afterwards."""
    kubectl = world.kubectl
    nodes.delete_datacenter(kubectl, SMALL)
    kubectl.apply(world.documents.other_datacenter(SMALL, 1, restoreFromBackup=small_backup))
    name = f"{SMALL}-bootstrap"
    eventually("the restore is made", lambda: kubectl.find(_CRS, name), 30)
    with pytest.raises(Failed):
        wait_for(kubectl, _CRS, name, "Complete", _DEADLINE)
    failed = condition_of(kubectl.get(_CRS, name), "Failed")
    assert failed["reason"] == "VolumeNotEmpty"
    assert "empty" in failed["message"]
    assert kubectl.events(name, "Warning")
    nodes.delete_datacenter(kubectl, SMALL)
    kubectl.apply(world.documents.other_datacenter(SMALL, 1))
    wait_for(kubectl, CDC, SMALL, "Ready", 240)
    with session(kubectl, _SMALL_POD, Consistency.ONE) as cql:
        assert dataset.orders(cql) == set(range(50))


@pytest.fixture
def small_backup(world: World) -> Iterator[str]:
    """Rows in the small datacenter, and a backup of them."""
    kubectl, name = world.kubectl, "small-alone"
    with session(kubectl, _SMALL_POD) as cql:
        for keyspace in dataset.KEYSPACES:
            cql.do(f"DROP KEYSPACE IF EXISTS {keyspace}")
        dataset.create_schema(cql, SMALL, 1)
        dataset.write(cql, 100)
    kubectl.apply(world.documents.other_backup(name, {"cassandra-datacenter": SMALL}))
    wait_for(kubectl, CBACK, name, "Complete", _DEADLINE)
    yield name
    kubectl.delete(CBACK, name)


def refused(world: World, case: Refused) -> None:
    with pytest.raises(Failed):
        wait_for(world.kubectl, CBACK, case.name, "Complete", _DEADLINE)
    backup = world.kubectl.get(CBACK, case.name)
    failed = condition_of(backup, "Failed")
    assert (backup["status"]["phase"], failed["reason"]) == (case.phase, case.reason), failed["message"]
    assert all(word in failed["message"] for word in case.words), failed["message"]
    assert condition_of(backup, "Restorable")["status"] == "False"
    said = eventually("a warning", lambda: world.kubectl.events(case.name, "Warning") or None, 30)
    assert case.event in {each["reason"] for each in said}


def restore_refused(
    world: World, name: str, backup: str, *, replicas: int, reason: str, words: tuple[str, ...]
) -> None:
    """Nothing is made: no volume, no pod."""
    kubectl = world.kubectl
    kubectl.apply(world.documents.other_datacenter(name, replicas, restoreFromBackup=backup))
    restore = f"{name}-bootstrap"
    try:
        eventually("the restore is made", lambda: kubectl.find(_CRS, restore), 30)
        with pytest.raises(Failed):
            wait_for(kubectl, _CRS, restore, "Complete", _DEADLINE)
        failed = condition_of(kubectl.get(_CRS, restore), "Failed")
        assert failed["reason"] == reason, failed["message"]
        assert all(word in failed["message"] for word in words), failed["message"]
        said = eventually("a warning", lambda: kubectl.events(restore, "Warning") or None, 30)
        assert "RestoreRefused" in {each["reason"] for each in said}
        told = eventually("the datacenter says so", lambda: _not_restored(world, name), 30)
        assert told["reason"] == reason
        assert nodes.pods(kubectl, name) == []
        assert [each for each in kubectl.list("pvc") if f"cassandra-{name}-" in each["metadata"]["name"]] == []
    finally:
        kubectl.delete(CDC, name)


def _not_restored(world: World, name: str) -> Object | None:
    condition = condition_of(world.kubectl.get(CDC, name), "Restored")
    return condition if condition.get("reason") not in (None, "Pending", "Validating") else None
