"""What the demo applies is the user's document, word for word, and what manifests/examples has for the other stores."""

from __future__ import annotations

import pytest
import yaml

from dev.scenario.bed import REPO
from dev.scenario.documents import Documents

EXAMPLES = REPO / "manifests" / "examples"
S3 = Documents("", "s3", (), "http://store:9000", "AWS_ENDPOINT_URL")
GCS = Documents("gcs-", "gs", (), "http://store:4443", "STORAGE_EMULATOR_HOST")
AZURE = Documents("azure-", "azure", (), "http://store:10000/account")
FILE = Documents("file-", "file", ())


@pytest.mark.parametrize("store", [S3, GCS], ids=["s3", "gcs"])
def test_the_datacenter_has_one_variable_more(store: Documents) -> None:
    theirs = (EXAMPLES / f"{store.prefix}datacenter.yaml").read_text().rstrip()
    ours = store.datacenter()
    assert ours.startswith(theirs)
    added = yaml.safe_load(f"env:\n{ours.removeprefix(theirs)}")
    assert added == {"env": [{"name": store.url_env, "value": store.url}]}
    assert store.backup() == (EXAMPLES / f"{store.prefix}backup.yaml").read_text()


def test_without_a_variable_the_backup_has_the_endpoint() -> None:
    theirs = yaml.safe_load((EXAMPLES / "azure-backup.yaml").read_text())
    assert yaml.safe_load(AZURE.backup())["spec"] == {**theirs["spec"], "endpoint": {"url": AZURE.url}}
    assert AZURE.datacenter() == (EXAMPLES / "azure-datacenter.yaml").read_text()


def test_a_directory_is_nowhere_else() -> None:
    assert FILE.datacenter() == (EXAMPLES / "file-datacenter.yaml").read_text()
    assert FILE.backup() == (EXAMPLES / "file-backup.yaml").read_text()


def test_another_datacenter_keeps_everything_else() -> None:
    theirs = yaml.safe_load(S3.datacenter())
    ours = S3.other_datacenter("bar", 3, restoreFromBackup="b")
    assert ours["spec"].pop("restoreFromBackup") == "b"
    assert ours["spec"] == theirs["spec"]
    assert ours["metadata"] == {"name": "bar", "labels": {"app": "cassandra"}}


def test_an_addition_that_would_go_elsewhere_is_seen() -> None:
    with pytest.raises(ValueError, match="no longer ends"):
        Documents("file-", "file", (), "http://store", "A_VARIABLE").datacenter()


@pytest.mark.parametrize(
    ("store", "kind", "target"),
    [
        (S3, "AWS_S3", "kube-backup-test-cassandra"),
        (GCS, "GCP_BLOB", "kube-backup-test-cassandra"),
        (AZURE, "AZURE_BLOB", "kube-backup-test-cassandra"),
        (FILE, "FILE", "/backups"),
    ],
)
def test_type_and_target_are_the_examples(store: Documents, kind: str, target: str) -> None:
    assert (store.backup_type, store.target) == (kind, target)
