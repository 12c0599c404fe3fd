"""The operator's memory holds nothing that may not be lost: SIGKILL in the middle of an upload changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dev.scenario import bed, install, nodes
from dev.scenario.demo import CBACK
from dev.scenario.documents import RESTORED
from dev.scenario.kubectl import Object, eventually
from dev.scenario.waiting import wait_for

if TYPE_CHECKING:
    from tests.e2e.conftest import World

_SLOW = "64Ki"  # bytes a second and node: the upload of a few megabytes then takes longer than a change of leader


def test_a_backup_survives_sigkill_during_upload(world: World) -> None:
    kubectl, name = world.kubectl, "operator-killed"
    labels = {"cassandra-datacenter": RESTORED}
    made = world.documents.other_backup(name, labels, bandwidth=_SLOW, type="Full")  # whatever the bucket has already
    kubectl.apply(made)

    def uploading() -> Object | None:
        status = kubectl.get(CBACK, name).get("status", {})
        started = [node for node in status.get("nodes", []) if node.get("bytesDone")]
        return status if status.get("phase") == "Uploading" and started else None

    before = eventually("bytes of the backup are sent", uploading, 120)
    killed = operators(world)
    for container in killed.values():
        bed.kill_container(container)
    assert kubectl.get(CBACK, name)["status"]["phase"] == "Uploading", "the upload ended before the operator was killed"

    wait_for(kubectl, CBACK, name, "Complete", 300)
    after = kubectl.get(CBACK, name)["status"]
    assert after["snapshotTime"] == before["snapshotTime"], "the snapshot was taken again"
    assert {n["pod"]: n["agentSession"] for n in after["nodes"]} == {
        n["pod"]: n["agentSession"] for n in before["nodes"]
    }
    assert [n["attempts"] for n in after["nodes"]] == [n["attempts"] for n in before["nodes"]]
    assert after["operatorSession"] != before["operatorSession"]
    assert not killed.items() & operators(world).items(), "an operator's container was not killed"
    for pod in world.pods():
        assert nodes.snapshots(kubectl, pod, name) == []


def operators(world: World) -> dict[str, str]:
    """Container by pod, of the replicas that run."""
    found = world.kubectl.list("pods", install.OPERATOR_SELECTOR)
    return {pod["metadata"]["name"]: nodes.container_of(pod, "operator")["containerID"] for pod in found}
