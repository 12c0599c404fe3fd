"""A restore happens once: a restored pod that comes again brings its own disk, with what was written since."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dev.scenario import dataset, nodes
from dev.scenario.cql import Consistency, session
from dev.scenario.demo import CDC
from dev.scenario.documents import BUCKET, RESTORED
from dev.scenario.kubectl import Object, eventually
from dev.scenario.minio_admin import MinioAdmin, allow_all
from dev.scenario.waiting import wait_for
from tests.e2e.conftest import AGENTS

if TYPE_CHECKING:
    from tests.e2e.conftest import World

_NEW = 1_000_000  # no order of the dataset has this number


def test_a_restored_pod_comes_again_with_its_own_rows(world: World, admin: MinioAdmin) -> None:
    kubectl = world.kubectl
    pod = world.pods()[1]
    with session(kubectl, pod) as cql:
        dataset.write_order(cql, _NEW)
        before = dataset.orders(cql)
    uid = kubectl.get("pod", pod)["metadata"]["uid"]
    restore = kubectl.get("cassandrarestore", f"{RESTORED}-bootstrap")["status"]

    # Nothing can be fetched twice where nothing can be fetched.
    admin.set_policy(AGENTS, [*allow_all(), _deny_reads()])
    try:
        kubectl.delete("pod", pod, seconds=240)
        eventually("the pod comes again", lambda: _ready(world, pod, uid), 240)
    finally:
        admin.set_policy(AGENTS, allow_all())
    wait_for(kubectl, CDC, RESTORED, "Ready", 120)

    with session(kubectl, pod, Consistency.ONE) as cql:
        after = dataset.orders(cql)
    assert _NEW in after
    assert after == before
    assert kubectl.get("cassandrarestore", f"{RESTORED}-bootstrap")["status"] == restore


def _ready(world: World, pod: str, old_uid: str) -> bool:
    found = world.kubectl.find("pod", pod)
    if found is None or found["metadata"]["uid"] == old_uid:
        return False
    statuses: list[Object] = found["status"].get("containerStatuses", [])
    assert nodes.init_failures(found) == [], "the init container of a restored node failed"
    return bool(statuses) and all(each["ready"] for each in statuses)


def _deny_reads() -> Object:
    where = [f"arn:aws:s3:::{BUCKET}/*"]
    return {"Effect": "Deny", "Action": ["s3:GetObject"], "Resource": where}
