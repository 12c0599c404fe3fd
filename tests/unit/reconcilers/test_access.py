"""What is kept of a datacenter for the time when it is gone: enough to build a helper pod, and no secret."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from controller.objects import ObjectMeta
from reconcilers.access import access_of, datacenter_of
from reconcilers.api.common import ObjectReference
from reconcilers.api.datacenter import BackupSettings, CassandraDataCenter, DataCenterSpec, PodTemplate
from reconcilers.api.volumes import BackupVolume
from reconcilers.inspector import pod_spec

KEY = {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "aws", "key": "k"}}}


def datacenter(**spec: Any) -> CassandraDataCenter:
    least: dict[str, Any] = {"cassandra_image": "c", "sidecar_image": "s"}
    return CassandraDataCenter(
        metadata=ObjectMeta(namespace="ns", name="dc", uid="u"), spec=DataCenterSpec(**(least | spec))
    )


def test_a_pod_of_what_was_kept_is_like_one_of_the_datacenter() -> None:
    whole = datacenter(
        env=[KEY, {"name": "AWS_REGION", "value": "eu-1"}],
        sidecar_env=[{"name": "AWS_REGION", "value": "eu-2"}],
        image_pull_secrets=[ObjectReference(name="a")],
        image_pull_secret="b",
        service_account_name="mine",
        pod_template=PodTemplate(security_context={"runAsUser": 7, "fsGroup": 7}),
        backup=BackupSettings(volumes=[BackupVolume(name="v", mount_path="/b", nfs={"server": "n", "path": "/p"})]),
    )
    kept = msgspec.json.decode(msgspec.json.encode(access_of(whole)), type=type(access_of(whole)))
    spec, wanted = pod_spec(datacenter_of(kept, "ns", "dc")), pod_spec(whole)
    assert spec == wanted
    assert spec["imagePullSecrets"] == [{"name": "a"}, {"name": "b"}]
    assert {"name": "AWS_REGION", "value": "eu-2"} in spec["containers"][0]["env"]


def test_the_service_account_that_the_operator_made_is_gone_with_the_datacenter() -> None:
    assert pod_spec(datacenter_of(access_of(datacenter()), "ns", "dc"))["serviceAccountName"] == "default"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_SECRET_ACCESS_KEY", "x"),
        ("AZURE_STORAGE_KEY", "x"),
        ("azure_storage_connection_string", "x"),
        ("DB_PASSWORD", "x"),
        ("GOOGLE_APPLICATION_CREDENTIALS_JSON", "{}"),
        ("AZURE_STORAGE_SAS", "x"),
        ("HTTPS_PROXY", "http://me:pass@proxy:80"),
        ("ENDPOINT", "https://a.blob.core.windows.net/c?sv=1&sig=abc"),
        ("BUNDLE", "-----BEGIN PRIVATE KEY-----"),
        ("LONG", "x" * 1025),
    ],
)
def test_a_literal_that_may_be_secret_is_withheld(name: str, value: str) -> None:
    access = access_of(datacenter(env=[{"name": name, "value": value}, KEY]))
    assert access.env == [KEY]
    assert access.withheld == [name]
    assert value not in msgspec.json.encode(access).decode() or value == "x"


@pytest.mark.parametrize("name", ["AWS_REGION", "AWS_ENDPOINT_URL", "HTTPS_PROXY", "AGENT_LEAST_GRACE"])
def test_other_literals_are_kept(name: str) -> None:
    given = {"name": name, "value": "http://minio:9000"}
    access = access_of(datacenter(env=[given]))
    assert (access.env, access.withheld) == ([given], [])


def test_it_is_never_large() -> None:
    many = [{"name": f"N{n}", "value": "x" * 1000} for n in range(100)]
    access = access_of(datacenter(env=many))
    assert len(msgspec.json.encode(access)) < 1000
    assert access.withheld == ["its environment, which is too large"]
