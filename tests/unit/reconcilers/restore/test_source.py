from __future__ import annotations

from typing import Any

import pytest

from agent.protocol import Endpoint, Location
from controller.objects import ObjectMeta
from controller.resource import Key
from reconcilers.api import common
from reconcilers.api.backup import BackupSpec, CassandraBackup
from reconcilers.api.backup_status import BackupDatacenter, BackupPhase, BackupStatus, BackupStorage
from reconcilers.api.common import BackupType, ObjectReference
from reconcilers.api.restore import CassandraRestore, RestoreSource, RestoreSpec
from reconcilers.restore.source import Never, NotYet, Source, resolve

LOCATION = Location(backup_type="AWS_S3", target="bucket/prefix")


class Backups:
    """The one method of a store that is asked."""

    def __init__(self, *backups: CassandraBackup) -> None:
        self._found = {Key(b.metadata.namespace, b.metadata.name): b for b in backups}

    def get(self, key: Key) -> CassandraBackup | None:
        return self._found.get(key)


def backup(
    phase: str = BackupPhase.COMPLETED, datacenters: tuple[str, ...] = ("dc1",), **fields: Any
) -> CassandraBackup:
    status = BackupStatus(
        phase=phase,
        location="s3://bucket/prefix",
        snapshot_tag="the-tag",
        datacenters=[BackupDatacenter(name=f"cr-{d}", cluster_name="c", datacenter_name=d) for d in datacenters],
        storage=BackupStorage(backup_type="AWS_S3", target="bucket/prefix"),
    )
    spec = BackupSpec(backup_type=BackupType.AWS_S3, target="changed-meanwhile")
    return CassandraBackup(metadata=ObjectMeta(namespace="ns", name="b", **fields), spec=spec, status=status)


def restore(**spec: Any) -> CassandraRestore:
    spec.setdefault("backup", ObjectReference(name="b"))
    return CassandraRestore(metadata=ObjectMeta(namespace="ns", name="r"), spec=RestoreSpec(datacenter="bar", **spec))


def test_a_completed_backup_by_its_frozen_storage() -> None:
    assert resolve(restore(), Backups(backup())) == Source(
        location=LOCATION, uri="s3://bucket/prefix", cluster="c", datacenter="dc1", tag="the-tag"
    )


@pytest.mark.parametrize("phase", ["", "Pending", "Queued", "Snapshotting", "Uploading", "Finalizing"])
def test_a_running_backup_is_waited_for(phase: str) -> None:
    found = resolve(restore(), Backups(backup(phase)))
    assert isinstance(found, NotYet)
    assert found.reason == "BackupNotComplete"
    assert found.message == f"backup b is {phase or 'Pending'}, and only a Completed one can be restored"


@pytest.mark.parametrize("phase", ["Failed", "FailedValidation", "Cancelled"])
def test_a_backup_that_ended_otherwise_never(phase: str) -> None:
    found = resolve(restore(), Backups(backup(phase)))
    assert isinstance(found, Never)
    assert found.reason == "BackupNotComplete"


def test_a_backup_that_is_not_there_may_come() -> None:
    found = resolve(restore(), Backups())
    assert isinstance(found, NotYet)
    assert found.reason == "BackupNotFound"
    assert "use source" in found.message


def test_another_namespaces_backup_is_not_there() -> None:
    elsewhere = backup()
    elsewhere.metadata.namespace = "elsewhere"
    assert isinstance(resolve(restore(), Backups(elsewhere)), NotYet)


@pytest.mark.parametrize("wanted", ["", "dc9"])
def test_several_datacenters_have_to_be_told_apart(wanted: str) -> None:
    found = resolve(restore(source_datacenter=wanted), Backups(backup(datacenters=("dc2", "dc1"))))
    assert found == Never(
        "SourceDatacenter", "backup b holds the datacenters dc1, dc2: name one of them in sourceDatacenter"
    )


def test_one_of_several_datacenters() -> None:
    found = resolve(restore(source_datacenter="dc2"), Backups(backup(datacenters=("dc2", "dc1"))))
    assert isinstance(found, Source)
    assert found.datacenter == "dc2"


def test_a_place_in_a_store_needs_no_backup() -> None:
    given = RestoreSource(
        backup_type=BackupType.AWS_S3,
        target="s3://bucket",
        cluster_name="c",
        datacenter_name="d",
        snapshot_tag="t",
        endpoint=common.Endpoint(url="https://minio", region="r", path_style=True),
    )
    found = resolve(restore(backup=None, source=given), Backups())
    assert isinstance(found, Source)
    assert found.uri == "s3://bucket"
    assert found.location.endpoint == Endpoint(url="https://minio", region="r", path_style=True)
    assert (found.cluster, found.datacenter, found.tag) == ("c", "d", "t")
