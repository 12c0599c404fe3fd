"""A short-lived pod that asks the bucket, where no agent of the datacenter is alive yet.

It is the sidecar without a Cassandra: same image, environment and service account, so it has the datacenter's
credentials and the operator never does. It carries none of the datacenter's labels, so no budget, service or backup
takes it for a node.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from controller.builtin import PODS
from controller.errors import AlreadyExists
from controller.resource import Key
from reconcilers import labels
from reconcilers.agents import Address
from reconcilers.api.backup import BACKUPS
from reconcilers.api.common import API_VERSION
from reconcilers.api.datacenter import DATACENTERS
from reconcilers.api.restore import RESTORES
from reconcilers.datacenter import meta
from reconcilers.datacenter import pod as datacenter_pod
from reconcilers.datacenter.layout import layout_of

if TYPE_CHECKING:
    from controller.client import Client
    from controller.objects import RawObject
    from controller.store import Store
    from reconcilers.api.common import Kind
    from reconcilers.api.datacenter import CassandraDataCenter

_LIFETIME = 900  # seconds; should nobody delete it, the kubelet ends it
_VOLUMES = ("agent", "tmp-sidecar")
_STATE = {"name": "AGENT_STATE_DIR", "value": "/tmp/agent"}  # noqa: S108  there is no data volume
_LONGEST_NAME = 253


_SUFFIXES = {RESTORES.kind: "inspector", BACKUPS.kind: "backup-inspector", DATACENTERS.kind: "catalog-inspector"}


def name_of(owner: Kind) -> str:
    """Objects of two kinds may have one name, their inspectors not."""
    suffix = _SUFFIXES[owner.kind]
    name = owner.metadata.name
    if len(name) + len(suffix) >= _LONGEST_NAME:
        name = f"{name[:200]}-{hashlib.sha256(name.encode()).hexdigest()[:10]}"
    return f"{name}-{suffix}"


def build(owner: Kind, datacenter: CassandraDataCenter) -> dict[str, Any]:
    """Pure: what is left of a node's pod without Cassandra, as a child of ``owner``."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name_of(owner),
            "namespace": owner.metadata.namespace,
            "labels": {labels.INSPECTOR: meta.label_value(owner.metadata.name)},
            "ownerReferences": [
                {
                    "apiVersion": API_VERSION,
                    "kind": owner.kind,
                    "name": owner.metadata.name,
                    "uid": owner.metadata.uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": pod_spec(datacenter),
    }


def pod_spec(datacenter: CassandraDataCenter, *, lifetime: int = _LIFETIME) -> dict[str, Any]:
    """``lifetime``: seconds."""
    layout = layout_of(datacenter, cluster_name="-", datacenter_name="-")
    whole = datacenter_pod.template(datacenter, layout, layout.racks[0])["spec"]
    sidecar = next(c for c in whole["containers"] if c["name"] == labels.SIDECAR_CONTAINER)
    env = [e for e in sidecar["env"] if "resourceFieldRef" not in e.get("valueFrom", {})]
    mounts = [m for m in sidecar["volumeMounts"] if _kept(m["name"])]
    kept = (
        "serviceAccountName", "automountServiceAccountToken", "enableServiceLinks", "securityContext",
        "imagePullSecrets", "tolerations", "priorityClassName",
    )  # fmt: skip
    return {
        **{key: whole[key] for key in kept if key in whole},
        "restartPolicy": "OnFailure",
        "activeDeadlineSeconds": lifetime,
        "terminationGracePeriodSeconds": 1,
        "containers": [
            {
                **{key: value for key, value in sidecar.items() if key != "livenessProbe"},
                "args": ["agent", "inspect"],
                "env": datacenter_pod.merge_env(env, [_STATE]),
                "volumeMounts": mounts,
                "readinessProbe": {**sidecar["readinessProbe"], "periodSeconds": 1},
            }
        ],
        "volumes": [v for v in whole["volumes"] if _kept(v["name"])],
    }


def _kept(volume: str) -> bool:
    return volume in _VOLUMES or volume.startswith(datacenter_pod.BACKUP_VOLUMES)


class Inspectors:
    """Starts, finds and ends the inspector of an object, its owner."""

    def __init__(self, *, client: Client, store: Store[RawObject]) -> None:
        self._client = client
        self._store = store

    def find(self, owner: Kind) -> RawObject | None:
        return self._store.get(Key(owner.metadata.namespace, name_of(owner)))

    async def start(self, owner: Kind, datacenter: CassandraDataCenter) -> None:
        try:
            await self._client.create(PODS, build(owner, datacenter))
        except AlreadyExists:
            return  # ours from an earlier try: the store will show it

    async def end(self, owner: Kind) -> None:
        found = self.find(owner)
        if found is not None and found.metadata.deletion_timestamp is None:
            key = Key(found.metadata.namespace, found.metadata.name)
            await self._client.delete(PODS, key, uid=found.metadata.uid)


def address(inspector: RawObject, datacenter: CassandraDataCenter) -> Address | None:
    ip = inspector.body.get("status", {}).get("podIP", "")
    if not ip or inspector.metadata.deletion_timestamp is not None:
        return None
    meta = inspector.metadata
    return Address(meta.namespace, meta.name, meta.uid, ip, datacenter.metadata.uid)
