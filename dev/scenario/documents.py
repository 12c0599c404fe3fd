"""The user's own documents, word for word from manifests/examples, and the few made from them."""

from __future__ import annotations

import copy
from typing import Any

import yaml

from dev.scenario.bed import REPO

Object = dict[str, Any]

DATACENTER = "foo-cassandra"
RESTORED = "bar-cassandra"
SMALL = "small-cassandra"
BACKUP = "backup-hostname"
BOTH = "both-datacenters"
SECRET = "awsbackuptest"
BUCKET = "kube-backup-test-cassandra"
_EXAMPLES = REPO / "manifests" / "examples"


def example(kind: str, name: str) -> str:
    """The text of the example that holds this object and nothing else."""
    for path in sorted(_EXAMPLES.glob("*.yaml")):
        text = path.read_text()
        objects = [each for each in yaml.safe_load_all(text) if each]
        if [(each["kind"], each["metadata"]["name"]) for each in objects] == [(kind, name)]:
            return text
    raise FileNotFoundError(f"no file in {_EXAMPLES} is the {kind} {name} alone")


def datacenter(endpoint: str) -> str:
    """The user's datacenter and one line more: where the store answers, which a real AWS needs not."""
    text = example("CassandraDataCenter", DATACENTER)
    given = yaml.safe_load(text)
    addition = {"name": "AWS_ENDPOINT_URL", "value": endpoint}
    # The document ends with its list of variables, so the addition is text after its last line.
    added = text.rstrip() + f"\n    - name: {addition['name']}\n      value: {addition['value']}\n"
    given["spec"]["env"].append(addition)
    if yaml.safe_load(added) != given:
        raise ValueError("the user's datacenter no longer ends with spec.env: the variable went elsewhere")
    return added


def backup() -> str:
    return example("CassandraBackup", BACKUP)


def other_datacenter(name: str, endpoint: str, replicas: int, **spec: Any) -> Object:
    """The user's datacenter under another name and size, and with other fields of ``spec``."""
    made: Object = copy.deepcopy(yaml.safe_load(datacenter(endpoint)))
    made["metadata"] = {"name": name, "labels": {"app": "cassandra"}}
    made["spec"].update({"replicas": replicas, **spec})
    return made


def other_backup(name: str, labels: dict[str, str], **spec: Any) -> Object:
    """The user's backup under another name, with other labels and so another selection."""
    made: Object = copy.deepcopy(yaml.safe_load(backup()))
    made["metadata"] = {"name": name, "labels": labels}
    made["spec"].update(spec)
    return made


def secret(access: str, key: str) -> Object:
    """What `kubectl create secret generic awsbackuptest --from-file=./access --from-file=./secret` makes."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET},
        "stringData": {"access": access, "secret": key},
    }
