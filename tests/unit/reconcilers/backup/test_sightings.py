"""What a catalog saw becomes a condition, where it changes one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from controller.conditions import get_condition
from controller.objects import key_of
from reconcilers.api.backup import CassandraBackup
from reconcilers.backup.run import Run
from reconcilers.backup.sightings import Sightings

TRUE, GONE, PARTIAL = ("True", "Completed"), ("False", "RecordGone"), ("False", "Partial")


def backup(truth: str, reason: str, uid: str = "uid") -> CassandraBackup:
    body: dict[str, Any] = {
        "kind": "CassandraBackup",
        "metadata": {"name": "b", "namespace": "ns", "uid": uid, "generation": 1},
        "spec": {"backupType": "AWS_S3", "target": "bucket"},
        "status": {"phase": "Completed", "conditions": [{"type": "Restorable", "status": truth, "reason": reason}]},
    }
    return msgspec.convert(body, CassandraBackup)


def told(sightings: Sightings, of: CassandraBackup) -> tuple[str, str] | None:
    run = Run(of, datetime(2026, 1, 1, tzinfo=UTC))
    if not sightings.tell(run):
        return None
    found = get_condition(run.status.conditions, "Restorable")
    assert found is not None
    assert [(reason, message) for _, reason, message in run.events] == [(found.reason, found.message)]
    assert run.status.phase == "Completed"
    return found.status, found.reason


@pytest.mark.parametrize(
    ("before", "lost", "after"),
    [
        (TRUE, "it is gone", GONE),
        (TRUE, "", None),
        (GONE, "it is gone", None),
        (GONE, "", ("True", "RecordFound")),
        (PARTIAL, "it is gone", None),  # it could never be restored
        (PARTIAL, "", None),
    ],
)
def test_what_is_told(before: tuple[str, str], lost: str, after: tuple[str, str] | None) -> None:
    sightings = Sightings()
    woken: list[object] = []
    sightings.wake = woken.append
    sightings.saw(backup(*before), lost)
    assert bool(woken) == (after is not None)
    assert told(sightings, backup(*before)) == after


def test_it_is_told_until_it_is_written() -> None:
    sightings, of = Sightings(), backup(*TRUE)
    sightings.saw(of, "it is gone")
    assert told(sightings, of) == told(sightings, of) == GONE
    sightings.forget(key_of(of))
    assert told(sightings, of) is None


def test_the_last_word_counts_and_another_object_is_not_meant() -> None:
    sightings, of = Sightings(), backup(*TRUE)
    sightings.saw(of, "it is gone")
    assert told(sightings, backup(*TRUE, uid="made-anew")) is None
    sightings.saw(of, "")
    assert told(sightings, of) is None


def test_what_is_said_already_is_not_told_again() -> None:
    sightings = Sightings()
    sightings.saw(backup(*TRUE), "it is gone")
    assert told(sightings, backup(*GONE)) is None, "another catalog was first"
