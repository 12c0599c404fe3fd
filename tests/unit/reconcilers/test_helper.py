from __future__ import annotations

import json

import pytest

from controller.builtin import CONFIGMAPS
from controller.objects import ObjectMeta, raw_object
from reconcilers import helper, labels
from reconcilers.agents import Address
from reconcilers.api.common import KeySelector
from reconcilers.helper import Owner
from reconcilers.identity import MasterKey
from reconcilers.mounts import Secrets
from tests.unit.reconcilers.test_access import KEY, datacenter

OWNER = Owner(CONFIGMAPS, ObjectMeta(namespace="ns", name="n" * 253, uid="owner-uid"))


def test_it_belongs_to_any_object_and_looks_like_no_node() -> None:
    pod = helper.pod(OWNER, datacenter(env=[KEY]), Secrets())
    meta = pod["metadata"]
    assert meta["ownerReferences"] == [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "n" * 253, "uid": "owner-uid", "controller": True}
    ]
    assert list(meta["labels"]) == [labels.INSPECTOR]
    assert len(meta["name"]) <= 63, "a label's value, too"
    assert "livenessProbe" not in json.dumps(pod)
    env = {e["name"]: e for e in pod["spec"]["containers"][0]["env"]}
    assert env["KEY"] == KEY
    assert env["AGENT_STATE_DIR"]["value"].startswith("/tmp/"), "there is no data volume, and the image is read-only"


def test_its_identity_is_its_owners_and_nothing_of_the_datacenters() -> None:
    pod = helper.pod(OWNER, datacenter(), Secrets())
    secret = helper.secret(OWNER, "dc", MasterKey(b"k" * 32).identity("owner-uid"))
    mounted = next(v for v in pod["spec"]["volumes"] if v["name"] == "agent")
    assert mounted["secret"]["secretName"] == secret["metadata"]["name"] == pod["metadata"]["name"]
    assert secret["metadata"]["ownerReferences"] == pod["metadata"]["ownerReferences"]
    assert "ca.crt" not in secret["data"]
    found = raw_object({"metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "status": {"podIP": "10.0.0.1"}})
    assert helper.address(found, OWNER) == Address("ns", "p", "u", "10.0.0.1", "owner-uid")


def test_each_datacenter_of_an_owner_has_one_of_its_own() -> None:
    names = {helper.name_of(OWNER, name) for name in ("a", "b")}
    names |= {helper.name_of(Owner(CONFIGMAPS, ObjectMeta(uid="other")), "a")}
    assert len(names) == 3


@pytest.mark.parametrize(
    ("secrets", "names", "paths"),
    [
        (Secrets("cloud"), ["cloud"], ("/etc/store-credentials/cloud", "")),
        (Secrets(ca_bundle=KeySelector(name="ca")), ["ca"], ("", "/etc/store-credentials/ca/ca.crt")),
        (
            Secrets("cloud", KeySelector(name="ca", key="pem")),
            ["cloud", "ca"],
            ("/etc/store-credentials/cloud", "/etc/store-credentials/ca/pem"),
        ),
        (
            Secrets("both", KeySelector(name="both")),
            ["both"],
            ("/etc/store-credentials/both", "/etc/store-credentials/both/ca.crt"),
        ),
    ],
)
def test_the_stores_own_secrets_are_mounted(secrets: Secrets, names: list[str], paths: tuple[str, str]) -> None:
    spec = helper.pod(OWNER, datacenter(), secrets)["spec"]
    volumes = {v["name"]: v["secret"]["secretName"] for v in spec["volumes"] if v["name"].startswith("store-secret")}
    assert list(volumes.values()) == names
    for mount in spec["containers"][0]["volumeMounts"]:
        if mount["name"] in volumes:
            assert (mount["mountPath"], mount["readOnly"]) == (f"/etc/store-credentials/{volumes[mount['name']]}", True)
    assert {m["name"] for m in spec["containers"][0]["volumeMounts"]} >= set(volumes)
    assert helper.paths(secrets) == paths


def test_one_that_ended_has_no_address() -> None:
    for phase in ("Failed", "Succeeded"):
        found = raw_object({"metadata": {"name": "p"}, "status": {"podIP": "10.0.0.1", "phase": phase}})
        assert helper.address(found, OWNER) is None
        assert helper.ended(found)
