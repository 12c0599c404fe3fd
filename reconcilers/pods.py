"""What a reconciler reads of a Cassandra pod."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reconcilers import labels
from reconcilers.agents import Address

if TYPE_CHECKING:
    from controller.objects import RawObject


def address(pod: RawObject | None) -> Address | None:
    """Where the pod's agent answers; None while there is no pod, or it has no address, or is going away."""
    if pod is None or pod.metadata.deletion_timestamp is not None:
        return None
    ip = pod.body.get("status", {}).get("podIP", "")
    datacenter = pod.metadata.labels.get(labels.DATACENTER_UID, "")
    if not ip or not datacenter:
        return None
    return Address(pod.metadata.namespace, pod.metadata.name, pod.metadata.uid, ip, datacenter)


def ready(pod: RawObject | None) -> bool:
    return ready_since(pod) is not None


def ready_since(pod: RawObject | None) -> str | None:
    """RFC 3339, empty where nobody says; None for a pod that is not ready."""
    if pod is None or pod.metadata.deletion_timestamp is not None:
        return None
    conditions: list[dict[str, Any]] = pod.body.get("status", {}).get("conditions", [])
    for condition in conditions:
        if condition.get("type") == "Ready" and condition.get("status") == "True":
            return condition.get("lastTransitionTime") or ""
    return None


def waiting_reason(pod: RawObject | None) -> str:
    """Why a container does not start, in the kubelet's words; empty where none waits for a bad reason."""
    if pod is None:
        return ""
    status = pod.body.get("status", {})
    for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        waiting = container.get("state", {}).get("waiting") or {}
        reason = waiting.get("reason", "")
        if reason and reason not in ("PodInitializing", "ContainerCreating"):
            return f"{container['name']}: {reason}: {waiting.get('message', '')}".strip(": ")
    for condition in status.get("conditions", []):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return f"{condition.get('reason', '')}: {condition.get('message', '')}"
    return ""
