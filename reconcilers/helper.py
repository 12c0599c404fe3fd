"""A short-lived pod that works in a bucket for an object that is no kind of ours, or whose datacenter is gone. Pure.

It is an inspector with an identity of its own, derived from its owner's UID: so it needs nothing of a datacenter that
may be gone but names. Its Secret and itself go with their owner.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from controller.resource import Key
from reconcilers import inspector, labels
from reconcilers.agents import Address
from reconcilers.mounts import Paths

if TYPE_CHECKING:
    from controller.objects import ObjectMeta, RawObject
    from controller.resource import Resource
    from reconcilers.api.datacenter import CassandraDataCenter
    from reconcilers.identity import AgentIdentity
    from reconcilers.mounts import Secrets

_SECRETS = "/etc/store-credentials"  # <name of the Secret> below it
_LIFETIME = 4 * 3600  # seconds: a collector may look at very many objects
_OWNER_AND_GROUP_READ = 0o440

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Owner:
    """What the work is for."""

    resource: Resource
    metadata: ObjectMeta

    @property
    def key(self) -> Key:
        return Key(self.metadata.namespace, self.metadata.name)


def name_of(owner: Owner, datacenter: str) -> str:
    """Of the pod and its Secret: one for each datacenter that an object is about."""
    digest = hashlib.sha256(f"{owner.metadata.uid}/{datacenter}".encode()).hexdigest()
    return f"{datacenter[:40]}-helper-{digest[:10]}"


def is_one(found: RawObject) -> bool:
    return found.metadata.labels.get(labels.INSPECTOR) == found.metadata.name and not ended(found)


def pod(owner: Owner, datacenter: CassandraDataCenter, secrets: Secrets) -> Object:
    """``secrets`` are mounted beside what the datacenter mounts: that may have changed, or be too much to be kept."""
    name = name_of(owner, datacenter.metadata.name)
    spec = inspector.pod_spec(datacenter, lifetime=_LIFETIME)
    for volume in spec["volumes"]:
        if volume["name"] == "agent":
            volume["secret"] = {"secretName": name, "defaultMode": _OWNER_AND_GROUP_READ}
    for number, given in enumerate(secrets.names):
        volume = f"store-secret-{number}"
        source = {"secretName": given, "defaultMode": _OWNER_AND_GROUP_READ}
        spec["volumes"].append({"name": volume, "secret": source})
        mount = {"name": volume, "mountPath": f"{_SECRETS}/{given}", "readOnly": True}
        spec["containers"][0]["volumeMounts"].append(mount)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": _metadata(owner, name), "spec": spec}


def paths(secrets: Secrets) -> Paths:
    """Where such a pod has them."""
    bundle = secrets.ca_bundle
    return Paths(
        f"{_SECRETS}/{secrets.credentials}" if secrets.credentials else "",
        f"{_SECRETS}/{bundle.name}/{bundle.key}" if bundle is not None else "",
    )


def secret(owner: Owner, datacenter: str, identity: AgentIdentity) -> Object:
    files = {"token": identity.token, "tls.crt": identity.certificate, "tls.key": identity.private_key}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _metadata(owner, name_of(owner, datacenter)),
        "type": "Opaque",
        "data": {name: base64.b64encode(text.encode()).decode() for name, text in files.items()},
    }


def address(found: RawObject, owner: Owner) -> Address | None:
    """None while it has none, and when it has ended."""
    status = found.body.get("status", {})
    ip = status.get("podIP", "")
    if not ip or found.metadata.deletion_timestamp is not None or ended(found):
        return None
    meta = found.metadata
    return Address(meta.namespace, meta.name, meta.uid, ip, owner.metadata.uid)


def ended(found: RawObject) -> bool:
    """By its lifetime, or evicted: it comes to nothing any more."""
    return found.body.get("status", {}).get("phase") in ("Failed", "Succeeded")


def _metadata(owner: Owner, name: str) -> Object:
    return {
        "name": name,
        "namespace": owner.metadata.namespace,
        "labels": {labels.INSPECTOR: name},
        "ownerReferences": [
            {
                "apiVersion": owner.resource.api_version,
                "kind": owner.resource.kind,
                "name": owner.metadata.name,
                "uid": owner.metadata.uid,
                "controller": True,
            }
        ],
    }
