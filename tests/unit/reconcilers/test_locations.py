from __future__ import annotations

import pytest

from agent.protocol import Endpoint, Location
from reconcilers import locations
from reconcilers.api import common


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
