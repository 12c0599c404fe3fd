"""Whose record is read, and whose object may go."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from agent.protocol import BackupName, BackupNames
from reconcilers.api.backup import CassandraBackup
from reconcilers.api.datacenter import BackupCatalog
from reconcilers.catalog import objects
from reconcilers.catalog.doubts import doubtful, prunable
from reconcilers.catalog.places import Record
from tests.unit.reconcilers.catalog.test_places import datacenter

SYNCED = {"cassandra-datacenter": "foo", "stable.instaclustr.com/synced": "true"}
DATACENTER = datacenter()
TRUE, GONE, NEVER = ("True", "Completed"), ("False", "RecordGone"), ("False", "Partial")


def catalog(**fields: Any) -> BackupCatalog:
    return msgspec.convert({"backupType": "AWS_S3", "target": "bucket", **fields}, BackupCatalog)


def backup(
    tag: str, said: tuple[str, str] = TRUE, *, spec: dict[str, Any] | None = None, phase: str = "Completed", **meta: Any
) -> CassandraBackup:
    """One that the catalog made, unless ``meta`` says otherwise."""
    body: dict[str, Any] = {
        "kind": "CassandraBackup",
        "metadata": {
            "name": objects.object_name(catalog(), Record("c", "d", tag)), "namespace": "ns", "uid": f"uid-{tag}",
            "labels": SYNCED, "finalizers": ["stable.instaclustr.com/backup"], **meta,
        },
        "spec": {
            "backupType": "AWS_S3", "target": "bucket", "snapshotTag": tag, "importExisting": True, **(spec or {}),
        },
        "status": {
            "phase": phase, "backupId": f"id-{tag}", "conditions": [
                {"type": "Restorable", "status": said[0], "reason": said[1]}
            ],
            "datacenters": [{"name": "foo", "clusterName": "c", "datacenterName": "d"}],
        },
    }  # fmt: skip
    return msgspec.convert(body, CassandraBackup)


def doubts(*backups: CassandraBackup, listed: str = "", total: int | None = None, prune: bool = False) -> list[str]:
    """Tags; ``listed`` has those of the listing, a letter each."""
    names = [BackupName(cluster="c", datacenter="d", tag=tag) for tag in listed]
    found = BackupNames(names=names, total=len(names) if total is None else total)
    return [one.tag for one in doubtful(found, backups, DATACENTER, catalog(prune=prune))]


@pytest.mark.parametrize(
    ("said", "listed", "prune", "doubt"),
    [
        (TRUE, True, False, False),
        (TRUE, False, False, True),
        (GONE, True, False, True),
        (GONE, False, False, False),
        (GONE, False, True, True),
        (NEVER, False, False, False),
        (NEVER, True, True, False),
        (NEVER, False, True, True),
    ],
)
def test_who_is_doubted(said: tuple[str, str], listed: bool, prune: bool, doubt: bool) -> None:
    assert bool(doubts(backup("t", said), listed="xt" if listed else "x", prune=prune)) == doubt


def test_a_listing_that_was_cut_tells_only_of_what_it_has() -> None:
    both = backup("a"), backup("b", GONE)
    assert doubts(*both, listed="b", total=2) == ["b"]
    assert doubts(*both, listed="b", total=1) == ["a", "b"]
    assert doubts(backup("a", GONE), listed="b", total=2, prune=True) == []


def test_whoever_claims_one_record_is_doubted() -> None:
    one, other = backup("t"), backup("t", name="by-hand")
    assert doubts(one, other, listed="t") == [], "they are two objects of one backup"
    other.status.backup_id = "another"
    assert doubts(one, other, listed="t") == ["t", "t"]
    other.status.conditions = []
    assert doubts(one, other, listed="t") == [], "one that failed for the name claims nothing"


def test_who_runs_or_goes_is_left_alone() -> None:
    assert doubts(backup("t", phase="Uploading")) == []
    assert doubts(backup("t", deletionTimestamp="2026-01-01T00:00:00Z")) == []


@pytest.mark.parametrize(
    "hand",
    [
        {"name": "by-hand"},
        {"labels": {"cassandra-datacenter": "foo"}},
        {"labels": {**SYNCED, "cassandra-datacenter": "bar"}},
        {"finalizers": ["stable.instaclustr.com/backup", "example.com/mine"]},
        {"deletionTimestamp": "2026-01-01T00:00:00Z"},
        {"spec": {"deletionPolicy": "Delete"}},
        {"phase": "Pending"},
    ],
)
def test_what_may_go(hand: dict[str, Any]) -> None:
    assert prunable(backup("t"), DATACENTER, catalog())
    assert not prunable(backup("t", **hand), DATACENTER, catalog())
