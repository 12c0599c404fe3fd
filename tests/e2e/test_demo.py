"""The main job: the user's own documents, from an empty namespace to every row in a new datacenter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dev.scenario import nodes
from dev.scenario.demo import CBACK, CDC
from dev.scenario.documents import BACKUP, BOTH, RESTORED
from dev.scenario.kubectl import condition_of

if TYPE_CHECKING:
    from tests.e2e.conftest import World

pytestmark = pytest.mark.smoke


def test_every_row_comes_back(world: World) -> None:
    """The fixture compared them; here is what the user is told of it."""
    kubectl = world.kubectl
    backup = kubectl.get(CBACK, BACKUP)
    assert condition_of(backup, "Complete")["status"] == "True"
    assert condition_of(backup, "Restorable")["status"] == "True"
    assert backup["status"]["phase"] == "Completed"
    assert [node["phase"] for node in backup["status"]["nodes"]] == ["Completed"] * 3
    assert all(node["bytesDone"] == node["bytesTotal"] > 0 for node in backup["status"]["nodes"])
    restored = kubectl.get(CDC, RESTORED)
    assert condition_of(restored, "Restored")["status"] == "True"
    assert restored["status"]["readyReplicas"] == 3


def test_one_backup_of_two_datacenters(world: World) -> None:
    status = world.kubectl.get(CBACK, BOTH)["status"]
    assert {each["name"]: each["nodes"] for each in status["datacenters"]} == {"foo-cassandra": 3, "small-cassandra": 1}
    records = [key for key in world.store.keys(world.target) if f"/_backups/{BOTH}/" in key and key.endswith(".json")]
    assert len(records) >= 2, f"a record for each of two clusters is expected, there is {records}"


def test_no_snapshot_is_left(world: World) -> None:
    """A backup pins disk space for as long as it runs, and no longer."""
    for pod in [*world.pods(), "cassandra-small-cassandra-0"]:
        for tag in (BACKUP, BOTH):
            assert nodes.snapshots(world.kubectl, pod, tag) == []
