"""One node that can never upload: the backup fails, says which node and in the store's own words, and lets go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dev.scenario import nodes
from dev.scenario.demo import CBACK, CDC
from dev.scenario.documents import BUCKET, RESTORED
from dev.scenario.kubectl import condition_of
from dev.scenario.minio_admin import MinioAdmin, allow_all, deny_writes_below
from dev.scenario.waiting import Failed, wait_for
from tests.e2e.conftest import AGENTS

if TYPE_CHECKING:
    from tests.e2e.conftest import World


def test_a_denied_node_fails_the_backup_by_name(world: World, admin: MinioAdmin) -> None:
    kubectl, name = world.kubectl, "upload-denied"
    denied, *others = reversed(world.pods())
    status = kubectl.get(CDC, RESTORED)["status"]
    admin.set_policy(AGENTS, deny_writes_below(BUCKET, f"{status['clusterName']}/{status['datacenterName']}/{denied}/"))
    try:
        kubectl.apply(world.documents.other_backup(name, {"cassandra-datacenter": RESTORED}))
        with pytest.raises(Failed):
            wait_for(kubectl, CBACK, name, "Complete", 240)
    finally:
        admin.set_policy(AGENTS, allow_all())

    backup = kubectl.get(CBACK, name)
    failed = condition_of(backup, "Failed")
    assert denied in failed["message"]
    assert "Access Denied" in failed["message"], "the store's own words are missing"
    assert condition_of(backup, "Restorable")["status"] == "False"
    by_pod = {node["pod"]: node for node in backup["status"]["nodes"]}
    assert by_pod[denied]["phase"] == "Failed"
    assert "Access Denied" in by_pod[denied]["message"]
    assert all(by_pod[pod]["phase"] != "Failed" for pod in others)
    for pod in by_pod:
        assert nodes.snapshots(kubectl, pod, name) == [], f"{pod} still pins the snapshot"
    records = [key for key in world.store.keys(BUCKET) if f"/_backups/{name}/" in key]
    assert records == [], "a failed backup has no record, which is what makes it one"
    events = kubectl.list("events", "")
    warned = [each for each in events if each["involvedObject"]["name"] == name and each["type"] == "Warning"]
    assert any(denied in each["message"] for each in warned)
