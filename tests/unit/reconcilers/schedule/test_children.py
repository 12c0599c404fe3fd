"""The backup of a slot: what it is made of, whose it is, and for how long it counts as under way."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from controller.clock import rfc3339
from reconcilers import labels
from reconcilers.backup.selection import effective_selector
from reconcilers.schedule import children
from tests.unit.reconcilers.schedule.objects import MARKS, NAME, OWN, UID, backup, hours, schedule, without

if TYPE_CHECKING:
    from reconcilers.api.backup import CassandraBackup


def test_the_body() -> None:
    given = schedule(annotations={"a": "b"}, template={"type": "Full", "tags": {"team": "data"}})
    assert children.body(given, hours(1.5)) == {
        "metadata": {
            "name": "nightly-202601010130",
            "namespace": "ns",
            "labels": {**OWN, labels.SCHEDULE: NAME},
            "annotations": {"a": "b", labels.SCHEDULE_UID: UID},
        },
        "spec": {"backupType": "AWS_S3", "target": "bucket", "type": "Full", "tags": {"team": "data"}},
    }


def test_our_marks_win_over_the_templates() -> None:
    marks = {labels.SCHEDULE: "other"}
    metadata = children.body(schedule(own=marks, annotations={labels.SCHEDULE_UID: "other"}), hours(1))["metadata"]
    assert metadata["labels"] == {labels.SCHEDULE: NAME}
    assert metadata["annotations"][labels.SCHEDULE_UID] == UID


def test_an_owner_only_where_it_is_asked_for() -> None:
    (owner,) = children.body(schedule(ownerReference="Schedule"), hours(1))["metadata"]["ownerReferences"]
    assert owner == {
        "apiVersion": "stable.instaclustr.com/v1", "kind": "CassandraBackupSchedule", "name": NAME, "uid": UID,
        "controller": True,
    }  # fmt: skip


def test_the_schedules_label_is_no_part_of_the_selector() -> None:
    assert effective_selector(backup(schedule(), hours(1))) == "cassandra-datacenter=foo"


def test_a_label_of_the_operators_own_may_still_select() -> None:
    of_cluster = schedule(own={labels.CLUSTER: "c"})
    assert effective_selector(backup(of_cluster, hours(1))) == f"{labels.CLUSTER}=c"


@pytest.mark.parametrize("taken_off", MARKS)
def test_what_is_own(taken_off: str) -> None:
    mine = backup(schedule(), hours(1))
    assert children.is_own(schedule(), mine.metadata)
    assert not children.is_own(schedule(), without(mine, taken_off).metadata)
    assert not children.is_own(schedule(name="other"), mine.metadata)
    again = msgspec.structs.replace(schedule().metadata, uid="another")
    assert not children.is_own(msgspec.structs.replace(schedule(), metadata=again), mine.metadata)
    elsewhere = msgspec.structs.replace(schedule().metadata, namespace="other")
    assert not children.is_own(msgspec.structs.replace(schedule(), metadata=elsewhere), mine.metadata)


def test_the_name_says_the_slot() -> None:
    assert children.slot_of(backup(schedule(), hours(2.5))) == hours(2.5)


@pytest.mark.parametrize("name", ["nightly", "before-the-upgrade", "nightly-", "nightly-1", "other-202601010000"])
def test_a_backup_that_was_given_to_the_schedule_has_the_time_of_its_creation(name: str) -> None:
    found = backup(schedule(), hours(2))
    found.metadata.name = name
    assert children.slot_of(found) == hours(2)


def blocks(found: CassandraBackup, after: float) -> bool:
    """``after`` seconds after its slot."""
    return children.blocking([found], children.slot_of(found) + timedelta(seconds=after)) == [found]


DEADLINES: dict[str, Any] = {
    "startingDeadlineSeconds": 100, "activeDeadlineSeconds": 1000, "nodeProgressDeadlineSeconds": 50
}  # fmt: skip


def test_a_backup_past_its_deadlines_blocks_no_more() -> None:
    waiting = backup(schedule(template=DEADLINES), hours(1), "Queued")
    assert blocks(waiting, 100 + 50 + 60)
    assert not blocks(waiting, 100 + 50 + 61)
    running = backup(schedule(template=DEADLINES), hours(1), "Uploading", startTime=rfc3339(hours(2)))
    assert blocks(running, 3600 + 1000 + 50 + 60)
    assert not blocks(running, 3600 + 1000 + 50 + 61)
    assert not blocks(backup(schedule(), hours(1)), 0)


def test_a_deadline_beyond_the_end_of_time() -> None:
    endless = backup(schedule(template={"startingDeadlineSeconds": 10**18}), hours(1), "")
    assert blocks(endless, 10**9)


def test_names_for_a_message() -> None:
    found = [backup(schedule(), hours(n)) for n in range(5)]
    assert children.names(found[:1]) == "nightly-202601010000"
    assert children.names(found) == "nightly-202601010000, nightly-202601010100, nightly-202601010200 and 2 more"
