"""The user's own documents, word for word from manifests/examples, and the few made from them."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import yaml

from dev.scenario.bed import REPO

Object = dict[str, Any]

DATACENTER = "foo-cassandra"
RESTORED = "bar-cassandra"
SMALL = "small-cassandra"
BACKUP = "backup-hostname"
BOTH = "both-datacenters"
BUCKET = "kube-backup-test-cassandra"
_EXAMPLES = REPO / "manifests" / "examples"


def example(name: str) -> str:
    return (_EXAMPLES / f"{name}.yaml").read_text()


@dataclass(frozen=True)
class Documents:
    """Those of one store. Where the bed's own server is, is added at their ends; a real cloud needs no such line."""

    prefix: str  # of the examples' names: "" or "gcs-"
    scheme: str
    objects: tuple[Object, ...]  # to be applied before: the Secret or the claim that the datacenter names
    url: str = ""
    url_env: str = ""  # the agents' variable for the url; where there is none, the backup has it as its endpoint

    def datacenter(self) -> str:
        text = example(f"{self.prefix}datacenter")
        if not self.url_env:
            return text
        wanted = yaml.safe_load(text)
        wanted["spec"].setdefault("env", []).append({"name": self.url_env, "value": self.url})
        # The document ends with its list of variables, so the addition is text after its last line.
        return _same(f"{text.rstrip()}\n    - name: {self.url_env}\n      value: {self.url}\n", wanted)

    def backup(self) -> str:
        text = example(f"{self.prefix}backup")
        if self.url_env or not self.url:
            return text
        wanted = yaml.safe_load(text)
        wanted["spec"]["endpoint"] = {"url": self.url}
        return _same(f"{text.rstrip()}\n  endpoint:\n    url: {self.url}\n", wanted)

    def other_datacenter(self, name: str, replicas: int, **spec: Any) -> Object:
        """The user's datacenter under another name and size, and with other fields of ``spec``."""
        made: Object = copy.deepcopy(yaml.safe_load(self.datacenter()))
        made["metadata"] = {"name": name, "labels": {"app": "cassandra"}}
        made["spec"].update({"replicas": replicas, **spec})
        return made

    def other_backup(self, name: str, labels: dict[str, str], **spec: Any) -> Object:
        """The user's backup under another name, with other labels and so another selection."""
        made: Object = copy.deepcopy(yaml.safe_load(self.backup()))
        made["metadata"] = {"name": name, "labels": labels}
        made["spec"].update(spec)
        return made

    @property
    def backup_type(self) -> str:
        return str(yaml.safe_load(self.backup())["spec"]["backupType"])

    @property
    def target(self) -> str:
        """The bucket, container or directory that the backup names."""
        return str(yaml.safe_load(self.backup())["spec"]["target"])


def _same(text: str, wanted: Object) -> str:
    if yaml.safe_load(text) != wanted:
        raise ValueError("the user's document no longer ends with what is added to: the line went elsewhere")
    return text


def secret(name: str, **content: str) -> Object:
    """What `kubectl create secret generic NAME --from-file=...` makes."""
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": content}
