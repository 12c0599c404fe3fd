"""The objects that a datacenter owns, but for the pod (``pod``). Pure: a datacenter and its layout in, objects out."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any

import msgspec

from reconcilers import labels
from reconcilers.datacenter import meta, pod

if TYPE_CHECKING:
    from controller.objects import RawObject
    from reconcilers.api.datacenter import CassandraDataCenter
    from reconcilers.datacenter.layout import Layout, Rack
    from reconcilers.identity import AgentIdentity

# Which identity the agents' Secret was last written with; the Secret itself cannot be read back.
IDENTITY = f"{labels.PREFIX}/agent-identity"
# More virtual nodes make streaming finer and availability worse; 16 is Cassandra's own default since 4.0.
_NUM_TOKENS = 16

Object = dict[str, Any]


def service_account(cdc: CassandraDataCenter, layout: Layout) -> Object:
    """One of its own, so that a cloud role can be bound to one datacenter. Annotations of others stay."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": meta.metadata(cdc, labels.service_account(layout.datacenter), meta.child_labels(layout)),
        "automountServiceAccountToken": False,
    }


def nodes_service(cdc: CassandraDataCenter, layout: Layout) -> Object:
    """Where CQL clients find the nodes that are ready. Headless: a driver wants every address, not one in turn."""
    return _service(
        cdc, layout, labels.nodes_service(layout.datacenter), [{"name": "cql", "port": pod.CQL_PORT, "protocol": "TCP"}]
    )


def seeds_service(cdc: CassandraDataCenter, layout: Layout) -> Object:
    """Gives every pod its name in DNS, before it is ready: a node must find its peers in order to become so."""
    ports = [{"name": "storage", "port": pod.STORAGE_PORT, "protocol": "TCP"}]
    body = _service(cdc, layout, labels.seeds_service(layout.datacenter), ports)
    body["spec"]["publishNotReadyAddresses"] = True
    return body


def _service(cdc: CassandraDataCenter, layout: Layout, name: str, ports: list[Object]) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta.metadata(cdc, name, meta.child_labels(layout)),
        "spec": {"clusterIP": "None", "ports": ports, "selector": meta.selector(layout)},
    }


def disruption_budget(cdc: CassandraDataCenter, layout: Layout) -> Object:
    """One node at a time may be evicted: with three replicas of every row, quorums hold."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": meta.metadata(
            cdc, labels.statefulset(layout.datacenter, "", default=True), meta.child_labels(layout)
        ),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": meta.selector(layout)}},
    }


def node_config(
    cdc: CassandraDataCenter, layout: Layout, rack: Rack, *, identity: str, established: bool = False
) -> Object:
    """What the agent must know to configure a node of ``rack``; ``identity`` is ``fingerprint``'s answer.

    ``established``: the nodes were all up once, so a first pod whose volume is empty has lost it, and must not start a
    cluster of its own. Nothing else changes with time or with replicas: scaling changes no file in a running pod.
    """
    auth = cdc.spec.cassandra_auth
    node = {
        "clusterName": layout.cluster_name,
        "datacenterName": layout.datacenter_name,
        "rack": rack.name,
        "numTokens": _NUM_TOKENS,
        "seeds": [*layout.seeds, *cdc.spec.additional_seeds],
        "firstPod": layout.first_pod,
        "peers": layout.peers,
        "established": established,
        **({"authenticator": auth.authenticator} if auth and auth.authenticator else {}),
        **({"authorizer": auth.authorizer} if auth and auth.authorizer else {}),
        **({"roleManager": auth.role_manager} if auth and auth.role_manager else {}),
    }
    text = msgspec.json.format(msgspec.json.encode(node), indent=2).decode()
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": meta.metadata(
            cdc, labels.node_config(rack.statefulset), meta.child_labels(layout, rack), {IDENTITY: identity}
        ),
        "data": {"node.json": text},
    }


def is_established(config: RawObject | None) -> bool:
    """What ``node_config`` said when it was written."""
    text = config.body.get("data", {}).get("node.json", "{}") if config is not None else "{}"
    try:
        return msgspec.json.decode(text, type=dict[str, Any]).get("established") is True
    except msgspec.MsgspecError:
        return False  # somebody's edit, which is about to be repaired


def agent_secret(cdc: CassandraDataCenter, layout: Layout, identity: AgentIdentity) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": meta.metadata(cdc, labels.agent_secret(layout.datacenter), meta.child_labels(layout)),
        "type": "Opaque",
        "data": {
            name: base64.b64encode(text.encode()).decode()
            for name, text in (
                ("token", identity.token),
                ("tls.crt", identity.certificate),
                ("tls.key", identity.private_key),
                ("ca.crt", identity.ca),
            )
        },
    }


def fingerprint(identity: AgentIdentity) -> str:
    """Tells one identity from another by what it shows in public: its certificate and its authority's."""
    return hashlib.sha256((identity.certificate + identity.ca).encode()).hexdigest()[:16]


def stateful_set(
    cdc: CassandraDataCenter, layout: Layout, rack: Rack, replicas: int, *, claims: list[Object] | None = None
) -> Object:
    """The nodes of one rack. ``claims`` are the claim templates of the StatefulSet as it stands, which cannot change.

    OnDelete: no write of the operator restarts a pod. Retain: no write of anybody deletes data.
    """
    wanted = claim_templates(cdc, layout, rack) if claims is None else claims
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": meta.metadata(cdc, rack.statefulset, meta.child_labels(layout, rack)),
        "spec": {
            "replicas": replicas,
            "serviceName": labels.seeds_service(layout.datacenter),
            "podManagementPolicy": "OrderedReady",
            "updateStrategy": {"type": "OnDelete"},
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
            "selector": {"matchLabels": meta.selector(layout, rack)},
            "template": pod.template(cdc, layout, rack),
            **({"volumeClaimTemplates": wanted} if wanted else {}),
        },
    }


def claim_templates(cdc: CassandraDataCenter, layout: Layout, rack: Rack) -> list[Object]:
    """Empty where the data live no longer than their pod."""
    if not cdc.spec.data_volume_claim:
        return []
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": pod.DATA_VOLUME, "labels": meta.selector(layout, rack)},
        "spec": cdc.spec.data_volume_claim,
    }
    return [claim]
