from __future__ import annotations

from typing import Any

import pytest

from controller.objects import raw_object
from reconcilers.datacenter.observed import RackState, by_ordinal, ordinal, pod_state, rack_state
from tests.unit.reconcilers.datacenter.samples import NOW, pod, raw_pod

Object = dict[str, Any]


def sts(wanted: int, **status: Any) -> RackState:
    body = {"metadata": {"name": "s", "generation": 2}, "spec": {"replicas": wanted}, "status": status}
    return rack_state(raw_object(body))


@pytest.mark.parametrize(
    ("state", "settled"),
    [
        (sts(2, observedGeneration=2, replicas=2, readyReplicas=2), True),
        (sts(2, observedGeneration=1, replicas=2, readyReplicas=2), False),
        (sts(2, observedGeneration=2, replicas=2, readyReplicas=1), False),
        (sts(2, observedGeneration=2, replicas=3, readyReplicas=3), False),
        (sts(0, observedGeneration=2, replicas=0), True),
        (sts(2), False),
        (rack_state(None), True),
        (rack_state(None, recorded=2), False),
    ],
)
def test_settled(state: RackState, settled: bool) -> None:
    assert state.settled == settled


def test_a_statefulset_that_is_gone_still_has_its_nodes() -> None:
    assert rack_state(None, recorded=3) == RackState(replicas=3, settled=False)


def one(name: str, *, ready: bool = False, last: Object | None = None, **state: Any) -> Object:
    """The status of a pod with one container."""
    found = {"name": name, "image": "i", "ready": ready, "state": state, "lastState": last or {}}
    return {"initContainerStatuses" if name == "init" else "containerStatuses": [found]}


def waits(reason: str, message: str = "") -> Object:
    return one("c", waiting={"reason": reason, "message": message})


def unscheduled(since: str) -> Object:
    condition = {"type": "PodScheduled", "status": "False", "message": "0/1 nodes", "lastTransitionTime": since}
    return {"conditions": [condition]}


CRASH: Object = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s restarting"}}
ENDED: Object = {"terminated": {"exitCode": 3, "reason": "Error", "message": "one\nVolumeNotEmpty: the last line\n\n"}}
OOM: Object = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
WHY = "container init ended with exit code 3: VolumeNotEmpty: the last line"
NOT_PULLED = "image i of container c cannot be pulled"


@pytest.mark.parametrize(
    ("status", "trouble"),
    [
        ({}, ""),
        (waits("ContainerCreating"), ""),
        (waits("PodInitializing"), ""),
        (one("cassandra", running={}), ""),
        (one("cassandra", ready=True, running={}, last=ENDED), ""),
        (one("init", terminated={"exitCode": 0}, last=ENDED), ""),
        (one("init", last=ENDED, **CRASH), WHY),
        (one("init", last=ENDED, running={}), WHY),
        (one("init", **ENDED), WHY),
        (one("cassandra", running={}, last=OOM), "container cassandra ended with exit code 137: OOMKilled"),
        (waits("ErrImagePull", "a registry's words"), NOT_PULLED),
        (waits("ImagePullBackOff", "back-off 40s"), NOT_PULLED),
        (waits("CreateContainerConfigError", "no secret"), "container c waits: CreateContainerConfigError: no secret"),
        (unscheduled("2026-01-02T03:04:00Z"), ""),
        (unscheduled("2026-01-02T03:00:00Z"), "0/1 nodes"),
    ],
)
def test_trouble_is_one_sentence_that_stays_the_same(status: Object, trouble: str) -> None:
    assert pod_state(raw_pod(status), NOW).trouble == trouble


def test_a_long_message_is_cut() -> None:
    assert len(pod_state(raw_pod(waits("X", "y" * 999)), NOW).trouble) == 300


def test_a_pod_that_is_being_deleted_is_not_ready() -> None:
    status = {"conditions": [{"type": "Ready", "status": "True"}]}
    assert pod_state(raw_pod(status), NOW).ready
    assert not pod_state(raw_pod(status, deletionTimestamp="2026-01-01T00:00:00Z"), NOW).ready


def test_the_end_of_a_pod_that_was_deleted_is_no_trouble() -> None:
    stopped = one("cassandra", terminated={"exitCode": 143, "reason": "Error"})
    assert pod_state(raw_pod(stopped), NOW).trouble
    assert not pod_state(raw_pod(stopped, deletionTimestamp="2026-01-01T00:00:00Z"), NOW).trouble


def test_the_agent_is_asked_again_when_pod_or_readiness_change() -> None:
    up = {**one("sidecar", ready=True), "conditions": [{"type": "Ready", "status": "True"}]}
    seen = {
        pod_state(raw_pod({}), NOW).seen,
        pod_state(raw_pod(up), NOW).seen,
        pod_state(raw_pod(up, uid="another"), NOW).seen,
        pod_state(raw_pod({**up, "conditions": []}), NOW).seen,
    }
    assert len(seen) == 4


def test_order_is_that_of_racks_and_ordinals() -> None:
    pods = [pod("s-b-0", rack="b"), pod("s-a-10", rack="a"), pod("s-a-9", rack="a"), pod("s-x-0", rack="x")]
    assert [p.name for p in by_ordinal(pods, {"a": 0, "b": 1})] == ["s-a-9", "s-a-10", "s-b-0", "s-x-0"]
    assert ordinal("strange") == 0
