"""Every object that is built, in golden files: ``UPDATE_GOLDEN=1 pytest`` writes them, and the diff is to be read."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import yaml

from controller.objects import raw_object
from reconcilers import labels
from reconcilers.api.volumes import IN_USE
from reconcilers.datacenter import builders, pod
from reconcilers.identity import MasterKey
from tests.unit.reconcilers.datacenter.samples import cdc, layout

if TYPE_CHECKING:
    from reconcilers.api.datacenter import CassandraDataCenter

GOLDEN = Path(__file__).parent / "golden"
RICH = cdc(
    marks={"helm.sh/chart": "x", "app.kubernetes.io/managed-by": "Helm", labels.RACK: "mine", "operator": "mine"},
    clusterName="Test",
    imagePullSecrets=[{"name": "one"}, {"name": "two"}],
    imagePullSecret="two",
    resources={"requests": {"cpu": "1"}},
    sidecarResources={"limits": {"memory": "1Gi"}},
    dataVolumeClaim=None,
    sidecarEnv=[{"name": "AWS_REGION", "value": "eu-west-1"}, {"name": "POD_NAME", "value": "liar"}],
    cassandraEnv=[{"name": "JVM_EXTRA_OPTS", "value": "-Dx=y"}],
    racks=[
        {"name": "a", "labels": {"disk": "fast"}, "topologyKey": "topology.kubernetes.io/zone"},
        {"name": "b", "tolerations": [{"key": "cassandra", "operator": "Exists"}], "affinity": {"nodeAffinity": {}}},
    ],
    serviceAccountName="with-a-role",
    cassandraAuth={"authenticator": "PasswordAuthenticator", "authorizer": "CassandraAuthorizer"},
    additionalSeeds=["seed.elsewhere"],
    backup={
        "volumes": [
            {"name": "store", "mountPath": "/backups", "persistentVolumeClaim": {"claimName": "shared"}},
            {"name": "key", "mountPath": "/keys", "readOnly": True, "secret": {"secretName": "k", "defaultMode": 288}},
        ]
    },
    podTemplate={
        "metadata": {"labels": {"team": "db", labels.DATACENTER: "mine"}, "annotations": {"note": "here"}},
        "tolerations": [{"key": "all", "operator": "Exists"}],
        "topologySpreadConstraints": [{"maxSkew": 1}],
        "priorityClassName": "high",
        "securityContext": {"runAsUser": 1000, "fsGroup": 1000},
    },
)


class _Readable(yaml.SafeDumper):
    """Text of several lines as such."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Readable.add_representer(str, _text)


def objects(given: CassandraDataCenter) -> list[dict[str, Any]]:
    where = layout(given)
    return [
        builders.service_account(given, where),
        builders.seeds_service(given, where),
        builders.nodes_service(given, where),
        builders.disruption_budget(given, where),
        *(builders.node_config(given, where, rack, identity="mark") for rack in where.racks),
        *(builders.stateful_set(given, where, rack, 3) for rack in where.racks),
    ]


@pytest.mark.slow  # PyYAML
@pytest.mark.parametrize(("name", "given"), [("seed", cdc()), ("rich", RICH)])
def test_golden(name: str, given: CassandraDataCenter) -> None:
    path = GOLDEN / f"{name}.yaml"
    made = msgspec.json.decode(msgspec.json.encode(objects(given)))  # as it goes over the wire
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.dump_all(made, Dumper=_Readable, sort_keys=False, width=120))
    assert made == list(yaml.safe_load_all(path.read_text()))


def test_neither_replicas_nor_a_restore_changes_what_a_running_pod_sees() -> None:
    given, other = cdc(replicas=1), cdc(replicas=30, restoreFromBackup="backup-hostname")
    rack = layout(given).racks[0]

    assert pod.template(given, layout(given), rack) == pod.template(other, layout(other), rack)
    one = builders.node_config(given, layout(given), rack, identity="")
    assert one == builders.node_config(other, layout(other), rack, identity="")


def test_the_template_is_made_of_nothing_but_the_spec() -> None:
    """An object's uid is in its pods' labels, and nothing else of it: no resourceVersion, no status."""
    given = cdc()
    again = cdc(status={"phase": "Ready", "replicas": 9})
    again.metadata.resource_version, again.metadata.generation = "8", 3
    rack = layout(given).racks[0]

    assert builders.stateful_set(given, layout(given), rack, 3) == builders.stateful_set(again, layout(again), rack, 3)


def test_credentials_reach_the_agent_and_not_cassandra() -> None:
    spec = pod.template(cdc(), layout(cdc()), layout(cdc()).racks[0])["spec"]
    names = {c["name"]: {e["name"] for e in c.get("env", [])} for c in [*spec["initContainers"], *spec["containers"]]}

    assert "AWS_SECRET_ACCESS_KEY" in names["sidecar"] & names["init"]
    assert "AWS_SECRET_ACCESS_KEY" not in names["cassandra"] | names["config"]


def test_backup_volumes_reach_the_agent_and_not_cassandra() -> None:
    spec = pod.template(RICH, layout(RICH), layout(RICH).racks[0])["spec"]
    mounts = {c["name"]: c["volumeMounts"] for c in [*spec["initContainers"], *spec["containers"]]}
    wanted = [
        {"name": "backup-store", "mountPath": "/backups"},
        {"name": "backup-key", "mountPath": "/keys", "readOnly": True},
    ]

    assert {name: [m for m in of if m["name"].startswith("backup-")] for name, of in mounts.items()} == {
        "config": [], "init": wanted, "cassandra": [], "sidecar": wanted
    }  # fmt: skip
    assert {"name": "backup-store", "persistentVolumeClaim": {"claimName": "shared"}} in spec["volumes"]
    assert {"name": "backup-key", "secret": {"secretName": "k", "defaultMode": 288}} in spec["volumes"]


def test_no_backup_volume_may_cover_what_the_pod_mounts() -> None:
    spec = pod.template(cdc(), layout(cdc()), layout(cdc()).racks[0])["spec"]
    agents = [c for c in [*spec["initContainers"], *spec["containers"]] if c.get("args", [""])[0] == "agent"]
    assert len(agents) == 2
    assert {mount["mountPath"] for agent in agents for mount in agent["volumeMounts"]} <= set(IN_USE)


def test_no_name_is_given_twice() -> None:
    """Server-side apply refuses that."""
    template = pod.template(RICH, layout(RICH), layout(RICH).racks[0])
    for container in template["spec"]["containers"]:
        names = [e["name"] for e in container["env"]]
        assert len(names) == len(set(names))
    sidecar = {e["name"]: e for e in template["spec"]["containers"][1]["env"]}
    assert sidecar["AWS_REGION"] == {"name": "AWS_REGION", "value": "eu-west-1"}
    assert "valueFrom" in sidecar["POD_NAME"]


@pytest.mark.parametrize("given", [cdc(), RICH], ids=["seed", "rich"])
def test_every_pod_is_restricted(given: CassandraDataCenter) -> None:
    spec = pod.template(given, layout(given), layout(given).racks[0])["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in [*spec["initContainers"], *spec["containers"]]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


@pytest.mark.parametrize("given", [cdc(), RICH], ids=["seed", "rich"])
def test_every_mount_has_its_volume(given: CassandraDataCenter) -> None:
    rack = layout(given).racks[0]
    spec = pod.template(given, layout(given), rack)["spec"]
    claims = builders.claim_templates(given, layout(given), rack)
    volumes = [v["name"] for v in spec["volumes"]] + [c["metadata"]["name"] for c in claims]
    mounted = {m["name"] for c in [*spec["initContainers"], *spec["containers"]] for m in c["volumeMounts"]}
    assert mounted == set(volumes)
    assert len(volumes) == len(set(volumes))


def test_a_selector_keeps_to_labels_that_never_change() -> None:
    set_ = builders.stateful_set(RICH, layout(RICH), layout(RICH).racks[0], 1)
    selector = set_["spec"]["selector"]["matchLabels"]
    assert set(selector) == {labels.OPERATOR, labels.DATACENTER, labels.RACK}
    assert selector.items() <= set_["spec"]["template"]["metadata"]["labels"].items()


def test_the_secret_holds_the_identity() -> None:
    identity = MasterKey(b"k" * 32).identity("uid")
    secret = builders.agent_secret(cdc(), layout(cdc()), identity)
    data = {name: base64.b64decode(text).decode() for name, text in secret["data"].items()}
    assert data == {
        "token": identity.token,
        "tls.crt": identity.certificate,
        "tls.key": identity.private_key,
        "ca.crt": identity.ca,
    }


def test_a_fingerprint_tells_keys_and_datacenters_apart_and_gives_no_secret_away() -> None:
    one, other = MasterKey(b"k" * 32), MasterKey(b"l" * 32)
    marks = {builders.fingerprint(key.identity(uid)) for key in (one, other) for uid in ("a", "b")}
    assert len(marks) == 4
    assert builders.fingerprint(one.identity("a")) == builders.fingerprint(MasterKey(b"k" * 32).identity("a"))


def test_node_json_is_what_the_agent_reads() -> None:
    from agent.configuration import decode_node

    body = builders.node_config(RICH, layout(RICH), layout(RICH).racks[1], identity="", established=True)
    node = decode_node(body["data"]["node.json"].encode())

    assert (node.cluster_name, node.datacenter_name, node.rack) == ("Test Cluster", "dc1", "b")
    assert node.first_pod == "cassandra-foo-cassandra-a-0"
    assert node.seeds[-1] == "seed.elsewhere"
    assert node.established
    assert set(json.loads(body["data"]["node.json"])) <= {f.encode_name for f in msgspec.structs.fields(node)}
    assert builders.is_established(raw_object(body))


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"established": "yes"}'])
def test_a_spoilt_configuration_says_nothing(text: str) -> None:
    assert not builders.is_established(raw_object({"metadata": {"name": "x"}, "data": {"node.json": text}}))
    assert not builders.is_established(None)
