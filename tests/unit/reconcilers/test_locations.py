from __future__ import annotations

import msgspec
import pytest

from agent.protocol import Endpoint, Location, StoreOptions
from reconcilers import locations
from reconcilers.api import common
from reconcilers.api.backup import BackupSpec
from reconcilers.mounts import Paths


@pytest.mark.parametrize(
    ("kind", "target", "uri"),
    [
        ("AWS_S3", "bucket", "s3://bucket"),
        ("AWS_S3", "bucket/prefix", "s3://bucket/prefix"),
        ("AWS_S3", "s3://bucket/prefix", "s3://bucket/prefix"),
        ("GCP_BLOB", "bucket", "gs://bucket"),
        ("AZURE_BLOB", "container", "azure://container"),
        ("FILE", "/backups", "file:///backups"),
        ("NEW", "x", "new://x"),
    ],
)
def test_uri(kind: str, target: str, uri: str) -> None:
    assert locations.uri(kind, target) == uri


def test_to_agent() -> None:
    assert locations.to_agent("AWS_S3", "b", None) == Location(backup_type="AWS_S3", target="b")
    endpoint = common.Endpoint(url="u", region="r", path_style=False, insecure_skip_verify=True)
    assert locations.to_agent("AWS_S3", "b", endpoint).endpoint == Endpoint(
        url="u", region="r", path_style=False, insecure_skip_verify=True
    )


def test_what_an_agent_has_mounted() -> None:
    endpoint = common.Endpoint(url="u", ca_bundle_secret_ref=common.KeySelector(name="ca"))
    told = locations.to_agent("AWS_S3", "b", endpoint, paths=Paths("/keys", "/ca/ca.crt"))
    assert (told.credentials, told.endpoint) == ("/keys", Endpoint(url="u", ca_file="/ca/ca.crt"))
    other = locations.moved(told, Paths("/elsewhere", "/there/ca.crt"))
    assert other == locations.to_agent("AWS_S3", "b", endpoint, paths=Paths("/elsewhere", "/there/ca.crt"))
    assert told.credentials == "/keys", "the one that was told first is as it was"
    bare = locations.to_agent("AWS_S3", "b", None)
    assert locations.moved(bare, Paths("/keys")) == locations.to_agent("AWS_S3", "b", None, paths=Paths("/keys"))


def test_how_objects_are_kept() -> None:
    asked = {
        "backupType": "AWS_S3", "target": "b", "storageClass": "STANDARD_IA", "tags": {"team": "data"},
        "encryption": {"sse": "KMS", "kmsKeyId": "key"}, "objectLock": {"mode": "GOVERNANCE", "days": 7},
    }  # fmt: skip
    spec = msgspec.convert(asked, BackupSpec)
    assert locations.to_agent("AWS_S3", "b", common.Endpoint(requester_pays=True), spec).options == StoreOptions(
        storage_class="STANDARD_IA", tags={"team": "data"}, encryption="KMS", kms_key="key", lock_mode="GOVERNANCE",
        lock_days=7, requester_pays=True,
    )  # fmt: skip


def test_nothing_asked_is_nothing_said() -> None:
    spec = msgspec.convert({"backupType": "AWS_S3", "target": "b", "encryption": {"sse": "none"}}, BackupSpec)
    assert locations.to_agent("AWS_S3", "b", common.Endpoint(), spec).options is None
