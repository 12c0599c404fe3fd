"""The pod of a Cassandra node. Pure: a datacenter and a rack in, a pod template out.

    init    config   Cassandra's own configuration, as its image ships it, copied to a volume that may be written
            init     the agent renders the node's configuration over it, and restores data where a plan names this pod
    run     cassandra
            sidecar  the agent, ``serve``

The template says nothing of a restore or of the number of nodes: neither may ever be a reason to restart a node.
Every pod meets the "restricted" Pod Security Standard.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.protocol import DEFAULT_PORT
from reconcilers import labels
from reconcilers.api.datacenter import PodMetadata, PodTemplate
from reconcilers.datacenter import meta

if TYPE_CHECKING:
    from reconcilers.api.datacenter import CassandraDataCenter, DataCenterSpec
    from reconcilers.api.volumes import BackupVolume
    from reconcilers.datacenter.layout import Layout, Rack

DATA_VOLUME = "data"
CQL_PORT = 9042
STORAGE_PORT = 7000
DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"

# The official image's user. The volume's group is the same, so the agent and Cassandra may link each other's files.
_USER = 999
# A drain flushes every memtable: a node that is ended in the middle replays its commit log, which takes longer.
_GRACE_SECONDS = 300
_SIDECAR_RESOURCES = {"requests": {"memory": "64Mi"}, "limits": {"memory": "256Mi"}}
_OWNER_AND_GROUP_READ = 0o440

_DATA = {"name": DATA_VOLUME, "mountPath": "/var/lib/cassandra"}
_CONFIG = {"name": "config", "mountPath": "/etc/cassandra"}
_NODE = {"name": "node", "mountPath": "/etc/node", "readOnly": True}
_PLAN = {"name": "restore-plan", "mountPath": "/etc/restore-plan", "readOnly": True}
_AGENT = {"name": "agent", "mountPath": "/etc/agent", "readOnly": True}
_LOGS = {"name": "logs", "mountPath": "/opt/cassandra/logs"}
BACKUP_VOLUMES = "backup-"  # how the names of the user's volumes for the agent begin

Object = dict[str, Any]


def template(cdc: CassandraDataCenter, layout: Layout, rack: Rack) -> Object:
    added = _extra(cdc.spec).metadata or PodMetadata()
    return {
        "metadata": {
            "labels": {**meta.inherited(added.labels), **meta.pod_labels(cdc, layout, rack)},
            "annotations": {DEFAULT_CONTAINER: labels.CASSANDRA_CONTAINER, **added.annotations},
        },
        "spec": _spec(cdc.spec, layout, rack),
    }


def _extra(spec: DataCenterSpec) -> PodTemplate:
    return spec.pod_template or PodTemplate()


def _spec(spec: DataCenterSpec, layout: Layout, rack: Rack) -> Object:
    given = {
        "imagePullSecrets": [{"name": name} for name in _pull_secrets(spec)],
        "tolerations": [*_extra(spec).tolerations, *(rack.spec.tolerations if rack.spec else [])],
        "nodeSelector": _node_selector(rack),
        "topologySpreadConstraints": _extra(spec).topology_spread_constraints,
        "priorityClassName": _extra(spec).priority_class_name,
    }
    return {
        "serviceAccountName": spec.service_account_name or labels.service_account(layout.datacenter),
        # Cloud identities come as projected tokens of their own; neither Cassandra nor the agent talks to Kubernetes.
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": _GRACE_SECONDS,
        "securityContext": _pod_security(spec),
        "affinity": _affinity(spec, layout, rack),
        "initContainers": [_config(spec), _init(spec)],
        "containers": [_cassandra(spec), _sidecar(spec)],
        "volumes": _volumes(spec, layout, rack),
        **{name: value for name, value in given.items() if value},
    }


def _pull_secrets(spec: DataCenterSpec) -> list[str]:
    named = [secret.name for secret in spec.image_pull_secrets]
    return list(dict.fromkeys([*named, spec.image_pull_secret] if spec.image_pull_secret else named))


def _node_selector(rack: Rack) -> dict[str, str]:
    if rack.spec is None:
        return {}
    return {**rack.spec.labels, **({rack.spec.topology_key: rack.name} if rack.spec.topology_key else {})}


def _pod_security(spec: DataCenterSpec) -> Object:
    return {
        "runAsNonRoot": True,
        "runAsUser": _USER,
        "runAsGroup": _USER,
        "fsGroup": _USER,
        "fsGroupChangePolicy": "OnRootMismatch",  # else every start walks the whole volume
        "seccompProfile": {"type": "RuntimeDefault"},
        **_extra(spec).security_context,
    }


def _affinity(spec: DataCenterSpec, layout: Layout, rack: Rack) -> Object:
    """The rack's, or the datacenter's, or a wish that no two nodes of a datacenter share a machine."""
    chosen = (rack.spec.affinity if rack.spec else {}) or _extra(spec).affinity
    if chosen:
        return chosen
    term = {"labelSelector": {"matchLabels": meta.selector(layout)}, "topologyKey": "kubernetes.io/hostname"}
    return {
        "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": term}]
        }
    }


def _config(spec: DataCenterSpec) -> Object:
    return {
        "name": "config",
        "image": spec.cassandra_image,
        "imagePullPolicy": spec.image_pull_policy,
        "command": ["sh", "-c", "cp -r /etc/cassandra/. /config/"],
        "resources": _sidecar_resources(spec),
        "securityContext": _security(),
        "volumeMounts": [{"name": "config", "mountPath": "/config"}],
    }


def _init(spec: DataCenterSpec) -> Object:
    return {
        "name": labels.INIT_CONTAINER,
        "image": spec.sidecar_image,
        "imagePullPolicy": spec.image_pull_policy,
        "args": ["agent", "init"],
        "env": _agent_env(spec),
        "resources": _sidecar_resources(spec),
        "securityContext": _security(),
        "terminationMessagePolicy": "FallbackToLogsOnError",  # the status then says why a node does not start
        "volumeMounts": [_DATA, _CONFIG, _NODE, _PLAN, _AGENT, _tmp("init"), *_backup_mounts(spec)],
    }


def _cassandra(spec: DataCenterSpec) -> Object:
    return {
        "name": labels.CASSANDRA_CONTAINER,
        "image": spec.cassandra_image,
        "imagePullPolicy": spec.image_pull_policy,
        "command": ["cassandra", "-f"],
        "env": merge_env([{"name": "HOME", "value": "/tmp"}], spec.cassandra_env),  # noqa: S108  a volume of its own
        "ports": [
            {"name": "storage", "containerPort": STORAGE_PORT, "protocol": "TCP"},
            {"name": "cql", "containerPort": CQL_PORT, "protocol": "TCP"},
        ],
        "resources": spec.resources,
        "securityContext": _security(),
        # No liveness probe: a database that is slow to answer is busy, and ending it makes the others busier.
        "readinessProbe": {**_probe("/readyz"), "periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": 3},
        "volumeMounts": [_DATA, _CONFIG, _LOGS, _tmp("cassandra")],
    }


def _sidecar(spec: DataCenterSpec) -> Object:
    return {
        "name": labels.SIDECAR_CONTAINER,
        "image": spec.sidecar_image,
        "imagePullPolicy": spec.image_pull_policy,
        "args": ["agent", "serve"],
        "env": _agent_env(spec),
        "ports": [{"name": "agent", "containerPort": DEFAULT_PORT, "protocol": "TCP"}],
        "resources": _sidecar_resources(spec),
        "securityContext": _security(),
        "readinessProbe": {**_probe("/healthz"), "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 3},
        # Lenient: an agent that is restarted resumes its work, but one that is starved of CPU should get to its end.
        "livenessProbe": {**_probe("/healthz"), "periodSeconds": 30, "timeoutSeconds": 10, "failureThreshold": 10},
        "volumeMounts": [_DATA, {**_CONFIG, "readOnly": True}, _NODE, _AGENT, _tmp("sidecar"), *_backup_mounts(spec)],
    }


def _volumes(spec: DataCenterSpec, layout: Layout, rack: Rack) -> list[Object]:
    """A claim template is mounted by its name; without one the data are as short-lived as the pod."""
    data: list[Object] = [] if spec.data_volume_claim else [{"name": DATA_VOLUME, "emptyDir": {}}]
    plan = {"name": labels.restore_plan(layout.datacenter), "optional": True}
    secret = {"secretName": labels.agent_secret(layout.datacenter), "defaultMode": _OWNER_AND_GROUP_READ}
    return [
        *data,
        *({"name": name, "emptyDir": {}} for name in ("config", "logs", "tmp-init", "tmp-cassandra", "tmp-sidecar")),
        {"name": "node", "configMap": {"name": labels.node_config(rack.statefulset)}},
        {"name": "restore-plan", "configMap": plan},
        {"name": "agent", "secret": secret},
        *({"name": f"{BACKUP_VOLUMES}{volume.name}", **volume.source} for volume in _backup_volumes(spec)),
    ]


def _backup_mounts(spec: DataCenterSpec) -> list[Object]:
    return [
        {
            "name": f"{BACKUP_VOLUMES}{volume.name}",
            "mountPath": volume.mount_path,
            **({"readOnly": True} if volume.read_only else {}),
        }
        for volume in _backup_volumes(spec)
    ]


def _backup_volumes(spec: DataCenterSpec) -> list[BackupVolume]:
    return spec.backup.volumes if spec.backup else []


def _tmp(container: str) -> Object:
    return {"name": f"tmp-{container}", "mountPath": "/tmp"}  # noqa: S108  a volume of its own


def _security() -> Object:
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def _probe(path: str) -> Object:
    return {"httpGet": {"path": path, "port": DEFAULT_PORT, "scheme": "HTTPS"}}


def _sidecar_resources(spec: DataCenterSpec) -> Object:
    return spec.sidecar_resources or _SIDECAR_RESOURCES


def _agent_env(spec: DataCenterSpec) -> list[Object]:
    """The user's variables hold the credentials of the object store: the agent has them and Cassandra has not."""
    ours: list[Object] = [
        {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}
        for name, path in (
            ("POD_NAME", "metadata.name"),
            ("POD_NAMESPACE", "metadata.namespace"),
            ("POD_UID", "metadata.uid"),
            ("POD_IP", "status.podIP"),
        )
    ]
    if spec.resources.get("limits", {}).get("memory"):  # without a limit Kubernetes would say the machine's size
        limit = {"containerName": labels.CASSANDRA_CONTAINER, "resource": "limits.memory", "divisor": "1"}
        ours.append({"name": "CASSANDRA_MEMORY_LIMIT", "valueFrom": {"resourceFieldRef": limit}})
    return merge_env([{"name": "HOME", "value": "/tmp"}], spec.env, spec.sidecar_env, ours)  # noqa: S108  as above


def merge_env(*groups: list[Object]) -> list[Object]:
    """One entry a name, the last one's value at the first one's place: server-side apply refuses a name given twice."""
    merged: dict[str, Object] = {}
    for group in groups:
        for variable in group:
            merged[variable["name"]] = variable
    return list(merged.values())
