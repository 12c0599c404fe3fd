"""A node that is down: with AllowPartial the others are backed up, and the backup says which one it lacks."""

from __future__ import annotations

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


@pytest.fixture
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


def test_it_completes_without_the_node(world: World, backups: Backups, down: str) -> None:
    backup = backups.make("partial", RESTORED, nodeFailurePolicy="AllowPartial", minNodes=2)
    status = backup.ends()
    assert status["phase"] == "PartiallyCompleted", status["message"]
    assert (backup.row["STATUS"], backup.row["NODES"]) == ("PartiallyCompleted", "2/3")
    assert down in status["message"]
    assert {node["pod"] for node in status["nodes"] if node["phase"] != "Completed"} == {down}
    missing = next(node for node in status["nodes"] if node["pod"] == down)
    assert missing["hostId"], "nobody could tell later whose data is missing"
    assert missing["tokens"] > 0
    assert any("/_backups/" in key for key in backup.records())
    assert backup.snapshots(*(pod for pod in world.pods() if pod != down)) == []

    too_few = backups.make("too-few-nodes", RESTORED, nodeFailurePolicy="AllowPartial", minNodes="100%")
    status = too_few.ends()
    assert status["phase"] == "Failed"
    assert down in status["message"]
    assert too_few.records() == []


def _unschedulable(world: World, pod: str) -> bool:
    found = world.kubectl.find("pod", pod) or {}
    return condition_of(found, "PodScheduled").get("reason") == "Unschedulable"
