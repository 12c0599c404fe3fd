"""What is really there: StatefulSets and pods, reduced to what decisions are made on. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from controller.clock import parse_rfc3339
from reconcilers import labels

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from controller.objects import RawObject

_MESSAGE_LIMIT = 300
_BINDING = timedelta(seconds=30)  # a pod waits for its new volume, which is no trouble
# A container waits in these for a moment in every start: they say nothing.
_ORDINARY_WAITS = frozenset({"", "ContainerCreating", "PodInitializing", "CrashLoopBackOff"})
_PULLING = frozenset({"ErrImagePull", "ImagePullBackOff"})  # the kubelet alternates between the two


@dataclass(frozen=True, slots=True)
class RackState:
    """A StatefulSet as it stands. ``settled``: its controller has seen its spec, and all its pods are ready."""

    replicas: int = 0
    ready: int = 0
    updated: int = 0
    settled: bool = True
    exists: bool = False
    current_revision: str = ""
    update_revision: str = ""


def rack_state(sts: RawObject | None, *, recorded: int = 0) -> RackState:
    """Of a StatefulSet that is not there, ``recorded`` replicas are still wanted: its volumes hold their data."""
    if sts is None:
        return RackState(replicas=recorded, settled=recorded == 0)
    spec: dict[str, Any] = sts.body.get("spec", {})
    status: dict[str, Any] = sts.body.get("status", {})
    replicas = spec.get("replicas", 1)
    ready = status.get("readyReplicas", 0)
    seen = status.get("observedGeneration", 0) >= sts.metadata.generation
    return RackState(
        replicas=replicas,
        ready=min(ready, replicas),
        updated=status.get("updatedReplicas", 0),
        settled=seen and ready == status.get("replicas", 0) == replicas,
        exists=True,
        current_revision=status.get("currentRevision", ""),
        update_revision=status.get("updateRevision", ""),
    )


@dataclass(frozen=True, slots=True)
class PodState:
    """A pod of a node. ``trouble`` is a sentence where something keeps it from starting, else empty."""

    name: str
    uid: str
    rack: str
    ready: bool
    agent_ready: bool
    revision: str
    trouble: str = ""

    @property
    def seen(self) -> tuple[str, bool, bool]:
        """What must change before the agent is asked about its node again."""
        return (self.uid, self.agent_ready, self.ready)


def pod_state(pod: RawObject, now: datetime) -> PodState:
    status: dict[str, Any] = pod.body.get("status", {})
    containers = status.get("containerStatuses", [])
    stays = pod.metadata.deletion_timestamp is None
    return PodState(
        name=pod.metadata.name,
        uid=pod.metadata.uid,
        rack=pod.metadata.labels.get(labels.RACK, ""),
        ready=stays and _condition(status, "Ready").get("status") == "True",
        agent_ready=any(c["name"] == labels.SIDECAR_CONTAINER and c.get("ready", False) for c in containers),
        revision=pod.metadata.labels.get("controller-revision-hash", ""),
        trouble=_trouble(status, now) if stays else "",
    )


def _condition(status: dict[str, Any], type_: str) -> dict[str, Any]:
    return next((c for c in status.get("conditions", []) if c["type"] == type_), {})


def _trouble(status: dict[str, Any], now: datetime) -> str:
    scheduled = _condition(status, "PodScheduled")
    if scheduled.get("status") == "False":
        since = scheduled.get("lastTransitionTime")
        if since and now - parse_rfc3339(since) < _BINDING:
            return ""
        return _short(scheduled.get("message", "it cannot be scheduled"))
    return next(_container_troubles(status), "")


def _container_troubles(status: dict[str, Any]) -> Iterator[str]:
    """One sentence for each container that fails to start, the same for every try: what counts restarts or seconds of
    a back-off would be written to the status again and again.
    """
    for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        state = container.get("state", {})
        if container.get("ready", False) or state.get("terminated", {}).get("exitCode") == 0:
            continue
        ended = state.get("terminated") or container.get("lastState", {}).get("terminated", {})
        waiting = state.get("waiting", {})
        if ended.get("exitCode"):
            why = _last_line(ended.get("message", "")) or ended.get("reason", "Error")
            yield _short(f"container {container['name']} ended with exit code {ended['exitCode']}: {why}")
        elif waiting.get("reason") in _PULLING:
            yield _short(f"image {container.get('image', '')} of container {container['name']} cannot be pulled")
        elif waiting.get("reason", "") not in _ORDINARY_WAITS:
            yield _short(f"container {container['name']} waits: {waiting['reason']}: {waiting.get('message', '')}")


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def _short(text: str) -> str:
    return text if len(text) <= _MESSAGE_LIMIT else f"{text[: _MESSAGE_LIMIT - 1]}…"


def by_ordinal(pods: Iterable[PodState], order: dict[str, int]) -> list[PodState]:
    """In the order of the racks (``order``: a rack's place by its name), then of their ordinals."""
    return sorted(pods, key=lambda pod: (order.get(pod.rack, len(order)), ordinal(pod.name)))


def ordinal(pod: str) -> int:
    tail = pod.rpartition("-")[2]
    return int(tail) if tail.isdecimal() else 0
