from __future__ import annotations

from typing import Any

import msgspec
import pytest

from controller.objects import raw_object
from controller.resource import Key
from reconcilers import labels
from reconcilers.api.backup import CassandraBackup
from reconcilers.datacenter import wiring

DC = Key("ns", "dc")
OWNER = {"apiVersion": "stable.instaclustr.com/v1", "kind": "CassandraDataCenter", "name": "dc", "controller": True}


@pytest.mark.parametrize(
    ("metadata", "keys"),
    [
        ({"labels": {labels.DATACENTER: "dc"}}, {DC}),
        ({"ownerReferences": [OWNER]}, {DC}),
        ({"ownerReferences": [{**OWNER, "kind": "StatefulSet"}]}, set()),
        ({"labels": {labels.DATACENTER: "old"}, "ownerReferences": [OWNER]}, {DC, Key("ns", "old")}),
        ({"name": labels.restore_plan("dc")}, {DC}),
        ({"labels": {labels.INSPECTOR: "r"}}, set()),
        ({}, set()),
    ],
)
def test_a_child_wakes_its_datacenter(metadata: dict[str, Any], keys: set[Key]) -> None:
    child = raw_object({"metadata": {"name": "x", "namespace": "ns", **metadata}})
    assert set(wiring._by_child(child)) == keys


def test_the_index_is_by_label() -> None:
    child = raw_object({"metadata": {"name": "x", "namespace": "ns", "labels": {labels.DATACENTER: "dc"}}})
    assert list(wiring.children_index(child)) == ["ns/dc"]


def backup(phase: str, restorable: str = "True") -> CassandraBackup:
    conditions = [{"type": "Restorable", "status": restorable, "reason": "RecordGone"}]
    body = {
        "kind": "CassandraBackup",
        "metadata": {"name": "b", "namespace": "ns"},
        "spec": {"backupType": "FILE", "target": "/b"},
        "status": {"phase": phase, "datacenters": [{"name": "dc"}, {"name": "other"}], "conditions": conditions},
    }
    return msgspec.convert(body, CassandraBackup)


def test_a_backup_counts_for_all_its_datacenters_when_its_phase_changes() -> None:
    assert list(wiring.backups_index(backup("Completed"))) == ["ns/dc", "ns/other"]
    assert wiring._phase_changed(backup("Uploading"), backup("Completed"))
    assert wiring._phase_changed(None, backup("Completed"))
    assert wiring._phase_changed(backup("Completed"), None)
    assert not wiring._phase_changed(backup("Uploading"), backup("Uploading"))
    assert wiring._phase_changed(backup("Completed"), backup("Completed", "False"))
