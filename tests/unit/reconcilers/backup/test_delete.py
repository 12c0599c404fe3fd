"""Which restores hold a deletion, and what has to be deleted at all."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from controller.conditions import Condition
from controller.objects import ObjectMeta
from reconcilers.api.backup import BackupSpec, CassandraBackup
from reconcilers.api.backup_status import BackupNode, BackupStatus, BackupStorage
from reconcilers.api.common import BackupType, ObjectReference
from reconcilers.api.restore import CassandraRestore, RestoreSource, RestoreSpec, RestoreStatus
from reconcilers.backup.delete import left_something, reads

BACKUP = CassandraBackup(
    metadata=ObjectMeta(namespace="ns", name="b"),
    spec=BackupSpec(backup_type=BackupType.AWS_S3, target="bucket/p"),
    status=BackupStatus(snapshot_tag="t", location="s3://bucket/p"),
)


def restore(phase: str = "Downloading", deleted: str | None = None, **spec: Any) -> CassandraRestore:
    return CassandraRestore(
        metadata=ObjectMeta(namespace="ns", name="r", deletion_timestamp=deleted),
        spec=RestoreSpec(datacenter="d", **spec),
        status=RestoreStatus(phase=phase),
    )


def source(target: str = "bucket/p", tag: str = "t") -> RestoreSource:
    return RestoreSource(
        backup_type=BackupType.AWS_S3, target=target, cluster_name="c", datacenter_name="d", snapshot_tag=tag
    )


NAMED: dict[str, Any] = {"backup": ObjectReference(name="b")}


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (restore(**NAMED), True),
        (restore("Pending", **NAMED), True),
        (restore("", **NAMED), True),
        (restore("Completed", **NAMED), False),
        (restore("Failed", **NAMED), False),
        (restore(deleted="2026-01-01T00:00:00Z", **NAMED), False),
        (restore(backup=ObjectReference(name="other")), False),
        (restore(source=source()), True),
        (restore(source=source("s3://bucket/p")), True),
        (restore(source=source("bucket")), False),
        (restore(source=source(tag="t2")), False),
    ],
)
def test_a_restore_reads_it(given: CassandraRestore, *, wanted: bool) -> None:
    assert reads(given, BACKUP) is wanted


def test_a_restore_of_another_namespace_means_another_backup() -> None:
    other = restore(**NAMED)
    other.metadata.namespace = "elsewhere"
    assert not reads(other, BACKUP)


def ended(*, storage: bool = True, **status: Any) -> BackupStatus:
    return BackupStatus(phase="Failed", storage=BackupStorage() if storage else None, **status)


def test_a_backup_left_something_once_its_nodes_had_begun() -> None:
    begun = BackupNode(pod="p", start_time="2026-01-01T00:00:00Z")
    assert not left_something(ended(nodes=[BackupNode(pod="p")]))
    assert left_something(ended(nodes=[BackupNode(pod="p"), begun]))
    complete = Condition(type="Complete", status="True", reason="Completed", message="")
    assert left_something(ended(conditions=[complete]))
    assert not left_something(ended(conditions=[structs.replace(complete, status="False")]))
    assert not left_something(ended(storage=False, nodes=[begun], conditions=[complete]))
