from __future__ import annotations

from typing import Any

import msgspec
import pytest

from controller.objects import ObjectMeta
from reconcilers import mounts
from reconcilers.api.backup import BackupSpec
from reconcilers.api.common import KeySelector
from reconcilers.api.datacenter import BackupCatalog, CassandraDataCenter, DataCenterSpec
from reconcilers.api.restore import RestoreSource
from reconcilers.mounts import Paths, Secrets

CA = KeySelector(name="ca")


def datacenter(*secrets: dict[str, Any]) -> CassandraDataCenter:
    """With a volume for each, at ``/0``, ``/1`` and so on."""
    volumes = [{"name": f"v{i}", "mountPath": f"/{i}", "secret": secret} for i, secret in enumerate(secrets)]
    spec = {"cassandraImage": "c", "sidecarImage": "s", "backup": {"volumes": volumes}}
    return CassandraDataCenter(metadata=ObjectMeta(name="dc"), spec=msgspec.convert(spec, DataCenterSpec))


@pytest.mark.parametrize(
    ("secret", "bundle", "path"),
    [
        ({"secretName": "ca"}, CA, "/0/ca.crt"),
        ({"secretName": "ca"}, KeySelector(name="ca", key="root.pem"), "/0/root.pem"),
        ({"secretName": "ca", "items": []}, CA, "/0/ca.crt"),
        ({"secretName": "ca", "items": [{"key": "ca.crt", "path": "own/authority"}]}, CA, "/0/own/authority"),
    ],
)
def test_where_the_authorities_are(secret: dict[str, Any], bundle: KeySelector, path: str) -> None:
    assert mounts.paths(datacenter(secret), Secrets(ca_bundle=bundle)) == Paths("", path)
    assert mounts.lacking_secrets(datacenter(secret), Secrets(ca_bundle=bundle)) is None


def test_the_volume_that_has_the_key_is_taken() -> None:
    both = datacenter({"secretName": "ca", "items": [{"key": "other", "path": "other"}]}, {"secretName": "ca"})
    assert mounts.paths(both, Secrets("ca", CA)) == Paths("/0", "/1/ca.crt")


@pytest.mark.parametrize(
    ("secrets", "message"),
    [
        (Secrets(ca_bundle=KeySelector(name="gone")), "have not mounted Secret gone: add a volume with secret"),
        (Secrets("gone", CA), "have not mounted Secret gone"),
        (Secrets(ca_bundle=CA), "have mounted Secret ca without its key ca.crt: add the key to that volume's items"),
    ],
)
def test_what_is_lacking(secrets: Secrets, message: str) -> None:
    lacks = mounts.lacking_secrets(datacenter({"secretName": "ca", "items": [{"key": "a", "path": "a"}]}), secrets)
    assert lacks is not None
    assert lacks.reason == "SecretNotMounted"
    assert message in lacks.message
    assert "datacenter dc" in lacks.message


@pytest.mark.parametrize("kind", [BackupSpec, BackupCatalog, RestoreSource])
def test_whoever_names_them(kind: type[BackupSpec | BackupCatalog | RestoreSource]) -> None:
    store = {
        "backupType": "AWS_S3", "target": "b", "clusterName": "c", "datacenterName": "d", "snapshotTag": "t",
        "endpoint": {"caBundleSecretRef": {"name": "ca"}}, "credentialsSecretRef": {"name": "keys"},
    }  # fmt: skip
    given = msgspec.convert(store, kind)
    assert Secrets.of(given) == Secrets("keys", CA)
    assert mounts.lacking(datacenter({"secretName": "keys"}, {"secretName": "ca"}), given) is None
    lacks = mounts.lacking(datacenter({"secretName": "keys"}), given)
    assert lacks is not None
    assert "Secret ca" in lacks.message
