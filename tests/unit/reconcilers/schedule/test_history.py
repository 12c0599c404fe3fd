"""Which objects go, and which with their data."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconcilers.api.backup_status import BackupPhase
from reconcilers.schedule import children
from reconcilers.schedule.history import Leaving, leaving
from reconcilers.schedule.slots import zone_of
from tests.unit.reconcilers.schedule.objects import backup, hours, schedule

if TYPE_CHECKING:
    from reconcilers.api.backup import CassandraBackup

UTC = zone_of("UTC")
NOW = hours(1000)
LETTERS = {"c": "Completed", "p": "PartiallyCompleted", "f": "Failed", "v": "FailedValidation", "x": "Cancelled",
           "r": "Uploading", "q": "", "l": "Completed"}  # fmt: skip
LOST = [{"type": "Restorable", "status": "False", "reason": "RecordGone"}]


def made(phases: str, **fields: Any) -> list[CassandraBackup]:
    """A backup an hour, by the letters of LETTERS; capital ones are about to go, those of l are lost."""
    return [
        backup(
            schedule(),
            hours(n),
            LETTERS[letter.lower()],
            deleted=hours(n + 1) if letter.isupper() else None,
            conditions=LOST if letter == "l" else [],
            **fields,
        )
        for n, letter in enumerate(phases)
    ]


def gone(backups: list[CassandraBackup], *, in_use: set[str] | None = None, **spec: Any) -> tuple[list[int], list[int]]:
    """Positions of those that go with their data, and of those whose object goes."""
    found: Leaving = leaving(backups, schedule(**spec).spec, in_use=in_use or set(), zone=UTC, now=NOW)
    at = {id(one): n for n, one in enumerate(backups)}
    return [at[id(one)] for one in found.with_data], [at[id(one)] for one in found.objects]


@pytest.mark.parametrize(
    ("phases", "spec", "data", "objects"),
    [
        ("cccc", {}, [], []),
        ("c" * 12, {}, [], [0, 1]),  # ten by default
        ("cccc", {"successfulHistoryLimit": 2}, [], [0, 1]),
        ("cccc", {"successfulHistoryLimit": 0}, [], [0, 1, 2]),  # the last good one stays
        ("fffff", {}, [], [0, 1]),  # three by default
        ("fpvxf", {"failedHistoryLimit": 1}, [], [0, 1, 2, 3]),
        ("fpvx", {"failedHistoryLimit": 0}, [], [0, 1, 2, 3]),
        ("cfcf", {"failedHistoryLimit": 0, "successfulHistoryLimit": 1}, [], [1, 3, 0]),
        ("crcq", {"failedHistoryLimit": 0, "successfulHistoryLimit": 1}, [], [0]),  # what runs is left alone
        ("cccc", {"retention": {"keepLast": 2}}, [0, 1], []),
        ("c" * 12, {"retention": {}}, [], []),  # with retention, the successful limit has no say
        ("c" * 12, {"retention": {"keepWithin": "1y"}, "successfulHistoryLimit": 1}, [], []),
        ("cpcf", {"retention": {"keepLast": 1}}, [0], []),  # a partial one is no good one
        ("cppp", {"retention": {"keepLast": 1}, "failedHistoryLimit": 0}, [], [1, 2, 3]),
        ("ccCC", {"retention": {"keepLast": 1}}, [0], []),  # what is about to go keeps nothing else from staying
        ("cCCC", {"retention": {"keepLast": 1}}, [], []),
        ("FFFFf", {"failedHistoryLimit": 1}, [], []),
        ("ccll", {"retention": {"keepLast": 2}}, [], []),  # what the bucket has lost keeps no good one from staying
        ("cccl", {"retention": {"keepLast": 2}}, [0], []),
        ("lclc", {"retention": {"keepLast": 2}}, [0], []),  # and goes when it would have gone anyway
        ("llll", {"retention": {"keepLast": 2}}, [0, 1], []),
        ("ccll", {"successfulHistoryLimit": 2}, [], []),
        ("lclcl", {"successfulHistoryLimit": 2}, [], [0, 2]),
        ("clll", {"successfulHistoryLimit": 1, "failedHistoryLimit": 0}, [], [1, 2]),
    ],
)
def test_leaving(phases: str, spec: dict[str, Any], data: list[int], objects: list[int]) -> None:
    assert gone(made(phases), **spec) == (data, objects)


def test_a_history_limit_takes_no_data() -> None:
    backups = made("cccpff", spec={"deletionPolicy": "Delete"})
    assert gone(backups, successfulHistoryLimit=1, failedHistoryLimit=0) == ([], [4, 5])
    assert gone(backups, retention={"keepLast": 1}, failedHistoryLimit=0) == ([0, 1], [4, 5])


def test_what_is_being_restored_stays() -> None:
    backups = made("cccc")
    used = {backups[0].metadata.name}
    assert gone(backups, in_use=used, retention={"keepLast": 1}) == ([1, 2], [])
    assert gone(backups, in_use=used, successfulHistoryLimit=1) == ([], [1, 2])


@given(
    st.text("cplfvxrqCF", max_size=20),
    st.none() | st.fixed_dictionaries({}, optional={"keepLast": st.integers(0, 4), "keepDaily": st.integers(0, 4)}),
    st.integers(0, 4),
    st.integers(0, 4),
)
@settings(max_examples=200, deadline=None, database=None)
def test_what_holds_for_every_history(
    phases: str, retention: dict[str, int] | None, successful: int, failed: int
) -> None:
    backups = made(phases)
    spec = {"successfulHistoryLimit": successful, "failedHistoryLimit": failed}
    spec |= {} if retention is None else {"retention": retention}
    data, objects = gone(backups, **spec)
    assert not set(data) & set(objects)
    assert {phases[n] for n in data} <= {"c", "l"}
    assert {phases[n] for n in objects} <= set("clpfvx")
    good = [n for n, letter in enumerate(phases) if letter == "c"]
    assert not good or good[-1] not in {*data, *objects}
    left = [b for n, b in enumerate(backups) if n not in {*data, *objects}]
    assert gone(left, **spec) == ([], [])  # what was left stays


def test_phases_that_are_good_and_those_that_failed() -> None:
    ended = [b for b in made("".join(LETTERS)) if b.ended]
    assert {b.status.phase for b in children.good(ended)} == {BackupPhase.COMPLETED}
    assert {b.status.phase for b in ended if b.status.phase in children.FAILED} == {
        "PartiallyCompleted", "Failed", "FailedValidation"
    }  # fmt: skip
    assert timedelta(hours=1) == children.slot_of(ended[1]) - children.slot_of(ended[0])
