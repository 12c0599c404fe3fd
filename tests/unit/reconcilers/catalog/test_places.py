"""Which backups a catalog may speak of: those in the very store that it looks into."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from reconcilers.access import access_of
from reconcilers.api.backup import CassandraBackup
from reconcilers.api.datacenter import CassandraDataCenter
from reconcilers.catalog import places
from reconcilers.catalog.places import Record

ACCOUNT = {"name": "AZURE_STORAGE_ACCOUNT", "valueFrom": {"secretKeyRef": {"name": "one", "key": "account"}}}
OTHER_ACCOUNT = {**ACCOUNT, "valueFrom": {"secretKeyRef": {"name": "another", "key": "account"}}}
KEY = {"name": "AWS_SECRET_ACCESS_KEY", "valueFrom": {"secretKeyRef": {"name": "one", "key": "secret"}}}
OTHER_KEY = {**KEY, "valueFrom": {"secretKeyRef": {"name": "another", "key": "secret"}}}
HERE, THERE = ({"name": "AWS_ENDPOINT_URL", "value": f"http://{name}"} for name in ("here", "there"))
LITERAL = {"name": "AZURE_STORAGE_CONNECTION_STRING", "value": "AccountName=one;AccountKey=k"}
VOLUME: dict[str, Any] = {"name": "b", "mountPath": "/backups", "persistentVolumeClaim": {"claimName": "one"}}
OTHER_VOLUME: dict[str, Any] = {**VOLUME, "persistentVolumeClaim": {"claimName": "another"}}
KEYS: dict[str, Any] = {"name": "k", "mountPath": "/keys", "secret": {"secretName": "keys"}}


def datacenter(
    name: str = "foo", *, env: Any = (), volumes: Any = (), catalog: dict[str, Any] | None = None
) -> CassandraDataCenter:
    body = {
        "kind": "CassandraDataCenter",
        "metadata": {"name": name, "namespace": "ns", "uid": f"uid-{name}"},
        "spec": {
            "replicas": 1, "cassandraImage": "c", "sidecarImage": "s", "env": env,
            "backup": {"volumes": volumes, "catalog": {"backupType": "AWS_S3", "target": "bucket", **(catalog or {})}},
        },
    }  # fmt: skip
    return msgspec.convert(body, CassandraDataCenter)


def backup(*covered: CassandraDataCenter, own: dict[str, str] | None = None, **spec: Any) -> CassandraBackup:
    """Of these datacenters, as they were."""
    names = [
        {
            "name": one.metadata.name, "clusterName": "c", "datacenterName": one.metadata.name,
            "access": msgspec.to_builtins(access_of(one)),
        }
        for one in covered
    ]  # fmt: skip
    body = {
        "kind": "CassandraBackup",
        "metadata": {"name": "b", "namespace": "ns", "uid": "uid-b", "labels": own or {}},
        "spec": {"backupType": "AWS_S3", "target": "bucket", **spec},
        "status": {"phase": "Completed", "datacenters": names},
    }
    return msgspec.convert(body, CassandraBackup)


def seen(by: CassandraDataCenter, of: CassandraBackup) -> bool:
    assert by.spec.backup is not None
    assert by.spec.backup.catalog is not None
    return places.looks_at(by, by.spec.backup.catalog, of)


@pytest.mark.parametrize(
    ("target", "catalog", "spec"),
    [
        ("bucket", {}, {"target": "s3://bucket/"}),
        ("bucket", {"endpoint": {"url": "http://a"}}, {"endpoint": {"url": "http://a", "pathStyle": True}}),
        ("bucket", {"credentialsSecretRef": {"name": "s"}}, {"credentialsSecretRef": {"name": "s"}}),
    ],
)
def test_the_same_store(target: str, catalog: dict[str, Any], spec: dict[str, Any]) -> None:
    assert seen(datacenter(catalog={"target": target, **catalog}), backup(datacenter(), **spec))


@pytest.mark.parametrize(
    ("catalog", "spec"),
    [
        ({}, {"target": "bucket/prefix"}),
        ({}, {"backupType": "GCP_BLOB"}),
        ({"endpoint": {"url": "http://a"}}, {"endpoint": {"url": "http://b"}}),
        ({}, {"endpoint": {"url": "http://b"}}),
        ({"endpoint": {"url": "http://a"}}, {}),
        ({"credentialsSecretRef": {"name": "s"}}, {}),
        ({}, {"credentialsSecretRef": {"name": "s"}}),
    ],
)
def test_another_store(catalog: dict[str, Any], spec: dict[str, Any]) -> None:
    assert not seen(datacenter(catalog=catalog), backup(datacenter(), **spec))


@pytest.mark.parametrize(
    ("name", "then", "now", "same"),
    [
        ("foo", [HERE], [HERE], True),
        ("foo", [HERE], [THERE], False),
        ("foo", [HERE], [], False),
        ("foo", [KEY], [OTHER_KEY], True),  # credentials are rotated
        ("foo", [ACCOUNT], [OTHER_ACCOUNT], False),
        ("gone", [ACCOUNT], [ACCOUNT], True),
        ("gone", [ACCOUNT], [OTHER_ACCOUNT], False),
        ("gone", [HERE, KEY], [KEY, HERE], True),
        ("foo", [LITERAL], [LITERAL], True),
        ("gone", [LITERAL], [LITERAL], False),  # what it says is not kept
        ("gone", [], [LITERAL], False),
    ],
)
def test_the_environment_says_where_a_store_is(name: str, then: Any, now: Any, *, same: bool) -> None:
    assert seen(datacenter(env=now), backup(datacenter(name, env=then))) == same


@pytest.mark.parametrize(
    ("volumes", "same"),
    [([VOLUME], True), ([VOLUME, KEYS], True), ([OTHER_VOLUME], False), ([], False)],
)
def test_a_directory_is_on_a_volume(volumes: Any, *, same: bool) -> None:
    file: dict[str, Any] = {"backupType": "FILE", "target": "file:///backups/all"}
    assert seen(datacenter(volumes=volumes, catalog=file), backup(datacenter(volumes=[VOLUME]), **file)) == same


def test_each_datacenter_of_a_backup_is_asked_for() -> None:
    one, other = datacenter(env=[HERE]), datacenter("bar", env=[HERE])
    assert seen(one, backup(one, other))
    assert not seen(one, backup(one, datacenter("bar", env=[THERE])))
    assert not seen(one, backup(datacenter("bar", env=[THERE]), one))


def test_an_import_that_was_refused_is_of_whom_it_names() -> None:
    assert seen(datacenter(), backup(own={"cassandra-datacenter": "foo"}))
    assert not seen(datacenter(), backup(own={"cassandra-datacenter": "bar"}))


def test_what_a_backup_needs_in_the_bucket() -> None:
    two = backup(datacenter(), datacenter("bar"), snapshotTag="tag")
    assert places.records(two) == [Record("c", "foo", "tag"), Record("c", "bar", "tag")]
    refused = backup(importExisting=True, sourceCluster="c", sourceDatacenter="d")
    assert places.records(refused) == [Record("c", "d", "b")]
    assert places.records(backup(importExisting=True, sourceCluster="c")) == []
    assert (places.maker(two), places.maker(refused)) == ("uid-b", "")
