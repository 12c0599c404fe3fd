from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from reconcilers.datacenter.bootstrap import choose, gate, restore_object
from tests.unit.reconcilers.datacenter.samples import cdc, restore

if TYPE_CHECKING:
    from reconcilers.api.restore import CassandraRestore

RECORDED: dict[str, Any] = {"restore": {"name": "foo-cassandra-bootstrap", "phase": "Downloading"}}
DONE: dict[str, Any] = {"restore": {"name": "foo-cassandra-bootstrap", "phase": "Completed"}}
SOURCE = {
    "backupType": "FILE",
    "target": "/b",
    "clusterName": "c",
    "datacenterName": "d",
    "snapshotTag": "t",
}
WISH: dict[str, Any] = {"restoreFromBackup": "b"}


@pytest.mark.parametrize(
    ("spec", "status", "found", "around", "expected"),
    [
        # nothing to restore
        ({}, {}, None, "", "open"),
        ({}, {}, None, "nodes", "open"),
        ({}, {}, None, "plan", "discard"),  # a plan that no restore stands behind
        # a restore that is to be made, or is on its way
        (WISH, {}, None, "", "create Pending"),
        (WISH, RECORDED, None, "plan", "create Pending"),
        (WISH, RECORDED, restore(""), "", "shut Pending"),
        (WISH, RECORDED, restore("Validating"), "plan", "shut Validating"),
        (WISH, RECORDED, restore("Preparing"), "", "shut Preparing"),
        (WISH, RECORDED, restore("Preparing"), "plan", "open Restoring"),
        (WISH, RECORDED, restore("Starting"), "plan nodes", "open Restoring"),
        (WISH, RECORDED, restore("Starting"), "nodes", "shut Starting"),
        ({}, RECORDED, restore("Starting"), "plan nodes", "open Restoring"),  # the wish was edited out too early
        # its ends
        (WISH, RECORDED, restore("Completed"), "nodes", "open Completed"),
        (WISH, DONE, None, "nodes", "open Completed"),
        ({}, DONE, None, "nodes", "open Completed"),
        (WISH, RECORDED, restore("Failed", reason="Why"), "plan", "failed Why"),
        (WISH, RECORDED, restore("Failed"), "plan nodes", "failed Failed"),
        (WISH, RECORDED, restore("Cancelled"), "", "failed Cancelled"),
        (WISH, RECORDED, None, "plan nodes", "failed RestoreLost"),
        ({}, RECORDED, None, "plan nodes", "failed RestoreLost"),
        ({}, RECORDED, None, "", "open"),
        # what it must not touch
        (WISH, {}, None, "nodes", "open NotEmpty"),
        (WISH, {}, restore("Pending"), "nodes", "open NotEmpty"),
        ({}, {}, restore("Pending"), "nodes", "open"),
        (WISH, {}, restore("Preparing", owner="an-earlier-datacenter"), "plan", "failed NameTaken"),
        (WISH, {}, restore("Preparing", owner=""), "plan", "open Restoring"),
    ],
)
def test_gate(
    spec: dict[str, Any],
    status: dict[str, Any],
    found: CassandraRestore | None,
    around: str,
    expected: str,
) -> None:
    result = gate(cdc(status=status, **spec), found, planned="plan" in around, nodes_exist="nodes" in around)
    word = (
        "failed" if result.failed
        else "create" if result.create
        else "discard" if result.discard
        else "open" if result.open
        else "shut"
    )  # fmt: skip
    reason = f" {result.verdict.reason}" if result.verdict else ""
    assert word + reason == expected
    assert not (result.open and (result.create or result.discard or result.failed))


def test_the_name_of_the_source_is_passed_on() -> None:
    found = restore("Preparing", sourceDatacenterName="dc-of-old", progress="7%")
    result = gate(cdc(**WISH), found, planned=True, nodes_exist=False)
    assert result.source_datacenter == "dc-of-old"
    assert result.summary is not None
    assert (result.summary.name, result.summary.progress) == ("foo-cassandra-bootstrap", "7%")


@pytest.mark.parametrize(
    ("spec", "status", "names", "chosen"),
    [
        ({}, {}, [], None),
        ({}, {}, ["by-hand"], "by-hand"),
        ({}, {}, ["foo-cassandra-bootstrap", "by-hand"], "foo-cassandra-bootstrap"),
        (WISH, {}, ["by-hand"], None),
        (WISH, {}, ["by-hand", "foo-cassandra-bootstrap"], "foo-cassandra-bootstrap"),
        ({}, {"restore": {"name": "b"}}, ["a", "b"], "b"),
        ({}, {"restore": {"name": "gone"}}, ["a", "b"], None),
    ],
)
def test_choose(spec: dict[str, Any], status: dict[str, Any], names: list[str], chosen: str | None) -> None:
    found = choose(cdc(status=status, **spec), [restore(name=name, owner="") for name in names])
    assert (found.metadata.name if found else None) == chosen


def test_a_hand_written_restore_counts_only_while_it_may_fill_this_datacenter() -> None:
    other = restore(name="other")
    other.spec.datacenter = "another"
    away = restore(name="away")
    away.metadata.namespace = "elsewhere"
    ended, importing = restore("Failed", name="ended"), restore(name="importing", mode="Import")
    assert choose(cdc(), [other, away, ended, importing]) is None


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"restoreFromBackup": "b"}, {"backup": {"name": "b"}}),
        ({"restore": {"backupName": "b"}}, {"backup": {"name": "b"}}),
        ({"restore": {"backupRef": {"name": "b"}}}, {"backup": {"name": "b"}}),
        ({"restore": {"backupName": "b", "includeAuth": False}}, {"backup": {"name": "b"}, "includeAuth": False}),
        ({"restore": {"backupName": "b", "bandwidth": "5Mi"}}, {"backup": {"name": "b"}, "bandwidth": "5Mi"}),
        ({"restore": {"source": SOURCE}}, {"source": SOURCE}),
    ],
)  # fmt: skip
def test_the_restore_that_the_spec_asks_for(spec: dict[str, Any], expected: dict[str, Any]) -> None:
    body = restore_object(cdc(**spec))
    assert body["spec"] == {"datacenter": "foo-cassandra", **expected}
    assert body["metadata"]["name"] == "foo-cassandra-bootstrap"
    assert body["metadata"]["ownerReferences"][0]["controller"] is True
