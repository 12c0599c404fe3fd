"""A node that is down: with AllowPartial the others are backed up, and the backup says which one it lacks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from dev.scenario.demo import CDC
from dev.scenario.documents import RESTORED
from dev.scenario.kubectl import condition_of, eventually
from dev.scenario.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.backups import Backups
    from tests.e2e.conftest import World


@pytest.fixture(scope="module")
def down(world: World) -> Iterator[str]:
    """A pod that no machine takes: the only one is cordoned, which leaves those that run alone."""
    kubectl, node, pod = world.kubectl, world.demo.bed.node, world.pods()[-1]
    kubectl.run("cordon", node)
    try:
        kubectl.delete("pod", pod, seconds=240)
        eventually(f"{pod} cannot be scheduled", lambda: _unschedulable(world, pod), 60)
        yield pod
    finally:
        kubectl.run("uncordon", node)
        wait_for(kubectl, CDC, RESTORED, "Ready", 400)


def test_it_goes_on_without_the_node(world: World, backups: Backups, down: str) -> None:
    kubectl = world.kubectl
    host_id = next(node["hostId"] for node in kubectl.get(CDC, RESTORED)["status"]["nodes"] if node["pod"] == down)
    backup = backups.make("partial", RESTORED, nodeFailurePolicy="AllowPartial", minNodes=2)
    status = backup.ends()
    assert (status["phase"], status["reason"]) == ("PartiallyCompleted", "Partial"), status["message"]
    assert down in status["message"]
    assert (backup.row["STATUS"], backup.row["NODES"]) == ("PartiallyCompleted", "2/3")
    assert {node["pod"]: node["phase"] for node in status["nodes"] if node["phase"] != "Completed"} == {down: "Failed"}
    assert {backup.condition(each)["status"] for each in ("Complete", "Failed", "Restorable")} == {"False"}
    backup.tells("Warning", "BackupPartial")
    assert backup.snapshots(*(pod for pod in world.pods() if pod != down)) == []

    (key,) = [each for each in backup.records() if "/_backups/" in each and each.endswith(".json")]
    (missing,) = json.loads(world.store.read(backup.bucket, key))["missing"]
    assert missing["hostId"] == host_id
    assert missing["tokens"], "nobody could tell which rows are missing"


def test_with_fewer_nodes_than_asked_for_it_waits(world: World, backups: Backups, down: str) -> None:
    backup = backups.make(
        "too-few-nodes", RESTORED, nodeFailurePolicy="AllowPartial", minNodes="100%", startingDeadlineSeconds=75
    )
    backup.reaches("waits", lambda status: status.get("reason") == "NodesNotReady")
    backup.tells("Warning", "NodesNotReady")
    status = backup.ends()
    assert (status["phase"], status["reason"]) == ("Failed", "DeadlineExceeded")
    assert "2 of 3" in status["message"] or down in status["message"], status["message"]
    assert backup.records() == []


def _unschedulable(world: World, pod: str) -> bool:
    found = world.kubectl.find("pod", pod) or {}
    return condition_of(found, "PodScheduled").get("reason") == "Unschedulable"
