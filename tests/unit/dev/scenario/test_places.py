"""What each of the four stores needs beside the user's documents is what those documents name."""

from __future__ import annotations

import pytest
import yaml

from dev.scenario import bed
from dev.scenario.kubectl import Kubectl
from dev.scenario.places import STORAGE, place

KUBECTL = Kubectl(None, "nowhere")


@pytest.fixture(autouse=True)
def servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bed, "server", lambda name: bed.Server(f"http://{name}", "owner", "password"))


@pytest.mark.parametrize("name", ["s3", "gcs", "azure"])
def test_the_secret_has_the_keys_that_the_datacenter_names(name: str) -> None:
    documents = place(name, KUBECTL).documents
    (secret,) = documents.objects
    env = yaml.safe_load(documents.datacenter())["spec"]["env"]
    named = [each["valueFrom"]["secretKeyRef"] for each in env if "valueFrom" in each]
    assert {each["name"] for each in named} == {secret["metadata"]["name"]}
    assert {each["key"] for each in named} == secret["stringData"].keys()
    assert documents.url == f"http://{name}"


def test_the_claim_is_the_one_that_the_datacenter_mounts() -> None:
    documents = place("file", KUBECTL).documents
    (claim,) = documents.objects
    (volume,) = yaml.safe_load(documents.datacenter())["spec"]["backup"]["volumes"]
    assert volume["persistentVolumeClaim"] == {"claimName": claim["metadata"]["name"]}
    assert volume["mountPath"] == documents.target
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


def test_the_agents_may_have_other_keys_than_the_owner() -> None:
    (secret,) = place("s3", KUBECTL, keys=("agents", "theirs")).documents.objects
    assert secret["stringData"] == {"access": "agents", "secret": "theirs"}


def test_each_has_its_own_type_and_scheme() -> None:
    found = {name: place(name, KUBECTL).documents for name in STORAGE}
    assert {name: (each.backup_type, each.scheme) for name, each in found.items()} == {
        "s3": ("AWS_S3", "s3"),
        "gcs": ("GCP_BLOB", "gs"),
        "azure": ("AZURE_BLOB", "azure"),
        "file": ("FILE", "file"),
    }
