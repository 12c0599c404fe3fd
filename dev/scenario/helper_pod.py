"""A pod of a scenario's own, that runs a few lines of Python in the agents' image, which every node has already."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import yaml

from dev.scenario.documents import example

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dev.scenario.kubectl import Kubectl, Object

_READY = 60.0  # seconds


@contextlib.contextmanager
def helper_pod(
    kubectl: Kubectl, name: str, argv: Sequence[str], *, probe: Object, volumes: dict[str, Object] | None = None
) -> Iterator[Object]:
    """The pod, ready, while the block runs. ``argv`` are Python's; ``volumes`` are mounted at ``/NAME``."""
    kubectl.apply(_pod(name, argv, probe, volumes or {}))
    try:
        kubectl.wait(f"pod/{name}", "condition=Ready", _READY)
        yield kubectl.get("pod", name)
    finally:
        kubectl.delete("pod", name, "--grace-period=1")


def _pod(name: str, argv: Sequence[str], probe: Object, volumes: dict[str, Object]) -> Object:
    """As the strictest of the Pod Security Standards wants it."""
    container: Object = {
        "name": name,
        "image": yaml.safe_load(example("datacenter"))["spec"]["sidecarImage"],
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", *argv],
        "readinessProbe": {**probe, "periodSeconds": 1},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": volume, "mountPath": f"/{volume}"} for volume in volumes],
    }
    spec: Object = {
        "automountServiceAccountToken": False,
        "containers": [container],
        "securityContext": {"runAsNonRoot": True, "runAsUser": 999, "seccompProfile": {"type": "RuntimeDefault"}},
        "volumes": [{"name": volume, **source} for volume, source in volumes.items()],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
