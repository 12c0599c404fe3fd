from __future__ import annotations

from typing import Any

import pytest

from controller.objects import RawObject, raw_object
from reconcilers import labels, pods
from reconcilers.agents import Address


def pod(status: dict[str, Any] | None = None, **meta: Any) -> RawObject:
    metadata = {"name": "p", "namespace": "ns", "uid": "u", "labels": {labels.DATACENTER_UID: "dc"}, **meta}
    return raw_object({"metadata": metadata, "status": status or {}})


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (None, None),
        (pod(), None),
        (pod({"podIP": "10.0.0.1"}), Address("ns", "p", "u", "10.0.0.1", "dc")),
        (pod({"podIP": "10.0.0.1"}, labels={}), None),
        (pod({"podIP": "10.0.0.1"}, deletionTimestamp="2026-01-01T00:00:00Z"), None),
    ],
)
def test_address(given: RawObject | None, wanted: Address | None) -> None:
    assert pods.address(given) == wanted


def ready(value: str, **fields: str) -> dict[str, Any]:
    return {"conditions": [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": value, **fields}]}


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (None, None),
        (pod(), None),
        (pod(ready("False")), None),
        (pod(ready("True")), ""),
        (pod(ready("True", lastTransitionTime="2026-01-01T00:00:00Z")), "2026-01-01T00:00:00Z"),
        (pod(ready("True"), deletionTimestamp="2026-01-01T00:00:00Z"), None),
    ],
)
def test_ready(given: RawObject | None, wanted: str | None) -> None:
    assert pods.ready_since(given) == wanted
    assert pods.ready(given) is (wanted is not None)


def waiting(reason: str, kind: str = "containerStatuses", message: str = "") -> dict[str, Any]:
    return {kind: [{"name": "c", "state": {"waiting": {"reason": reason, "message": message}}}]}


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (None, ""),
        (pod(), ""),
        (pod(waiting("PodInitializing")), ""),
        (pod(waiting("ContainerCreating")), ""),
        (pod({"containerStatuses": [{"name": "c", "state": {"running": {}}}]}), ""),
        (pod(waiting("ImagePullBackOff", message="no such image")), "c: ImagePullBackOff: no such image"),
        (pod(waiting("CrashLoopBackOff", "initContainerStatuses")), "c: CrashLoopBackOff"),
        (
            pod(
                {
                    "conditions": [
                        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1"}
                    ]
                }
            ),
            "Unschedulable: 0/1",
        ),
    ],
)
def test_waiting_reason(given: RawObject | None, text: str) -> None:
    assert pods.waiting_reason(given) == text
