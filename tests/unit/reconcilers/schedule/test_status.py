"""What is said of the backups, also of those that are gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from controller.conditions import get_condition
from reconcilers.schedule import children
from reconcilers.schedule.status import tell
from reconcilers.schedule.turn import Turn
from tests.unit.reconcilers.schedule.objects import backup, hours, schedule

if TYPE_CHECKING:
    from reconcilers.api.backup import CassandraBackup
    from reconcilers.api.schedule import ScheduleStatus

NOW = hours(100)
PHASES = {"c": "Completed", "p": "PartiallyCompleted", "f": "Failed", "v": "FailedValidation", "x": "Cancelled",
          "r": "Uploading", "l": "Completed"}  # fmt: skip
LOST = {"conditions": [{"type": "Restorable", "status": "False", "reason": "RecordGone"}]}


def made(phases: str, first: int = 1) -> list[CassandraBackup]:
    """A backup an hour."""
    return [
        backup(schedule(), hours(n), PHASES[one], message=f"{PHASES[one]} it is", **(LOST if one == "l" else {}))
        for n, one in enumerate(phases, start=first)
    ]


def told(backups: list[CassandraBackup], before: ScheduleStatus | None = None) -> ScheduleStatus:
    given = schedule(status=msgspec.to_builtins(before) if before else {})
    turn = Turn(given, NOW, children.own(given, backups))
    tell(turn)
    return turn.status


def verdict(status: ScheduleStatus) -> tuple[str, str, str]:
    found = get_condition(status.conditions, "LastBackupSucceeded")
    assert found is not None
    return found.status, found.reason, found.message


def test_before_the_first() -> None:
    status = told([])
    assert verdict(status) == ("Unknown", "NoBackupYet", "")
    assert (status.last_schedule_time, status.last_successful_time, status.last_failed_time) == ("", "", "")
    assert (status.active, status.retained, status.consecutive_failures) == ([], 0, 0)


def test_all_of_it() -> None:
    status = told(made("cfcpvr"))
    assert [one.name for one in status.active] == ["nightly-202601010600"]
    assert status.last_schedule_time == "2026-01-01T06:00:00Z"
    assert (status.last_successful_time, status.last_successful_backup) == (
        "2026-01-01T03:00:30Z", "nightly-202601010300"
    )  # fmt: skip
    assert status.last_failed_time == "2026-01-01T05:00:30Z"
    assert status.consecutive_failures == 2
    assert status.retained == 2
    name = "nightly-202601010500"
    assert verdict(status) == ("False", "FailedValidation", f"backup {name}: FailedValidation it is")


@pytest.mark.parametrize(
    ("phases", "wanted"),
    [
        ("c", ("True", 0)),
        ("f", ("False", 1)),
        ("p", ("False", 1)),
        ("fc", ("True", 0)),
        ("ffcff", ("False", 2)),
        ("cx", ("True", 0)),  # cancelled: nobody's failure
        ("fxf", ("False", 2)),
        ("x", ("Unknown", 0)),
        ("cr", ("True", 0)),
        ("cl", ("False", 0)),
        ("lc", ("True", 0)),
        ("lf", ("False", 1)),
    ],
)
def test_the_verdict_and_the_failures_in_a_row(phases: str, wanted: tuple[str, int]) -> None:
    status = told(made(phases))
    assert (verdict(status)[0], status.consecutive_failures) == wanted
    assert told(made(phases), status) == status  # saying it again changes nothing


def test_what_was_counted_stays_when_the_objects_go() -> None:
    status = told(made("cfff"))
    assert status.consecutive_failures == 3
    status = told(made("f", 4), status)  # the others were removed
    assert status.consecutive_failures == 3
    status = told(made("ff", 4), status)
    assert status.consecutive_failures == 4
    assert status.last_successful_time == "2026-01-01T01:00:30Z"
    status = told(made("f", 5) + made("c", 6), status)
    assert (status.consecutive_failures, verdict(status)[0]) == (0, "True")


def test_nothing_goes_back_when_all_objects_go() -> None:
    status = told(made("fc"))
    after = told([], status)
    assert after.last_successful_backup == "nightly-202601010200"
    assert verdict(after) == verdict(status)
    assert after.last_schedule_time == status.last_schedule_time
    assert after.retained == 0


def test_a_success_that_the_bucket_has_lost_is_none() -> None:
    before = told(made("cfc"))
    assert before.last_successful_backup == "nightly-202601010300"
    after = told(made("cfl"), before)
    assert (after.last_successful_time, after.last_successful_backup) == (
        "2026-01-01T01:00:30Z", "nightly-202601010100"
    )  # fmt: skip
    assert (after.retained, after.consecutive_failures) == (1, 1)
    message = "backup nightly-202601010300 completed, and the bucket does not hold it any more"
    assert verdict(after) == ("False", "RecordGone", message)
    assert told(made("cfl"), after) == after
    assert told(made("cfc"), after).last_successful_backup == before.last_successful_backup, "it is back"
    none = told(made("lfl"), before)
    assert (none.last_successful_time, none.last_successful_backup) == ("", "")
    assert told([], after).last_successful_backup == "nightly-202601010100"


def test_two_that_fail_in_one_second_are_two() -> None:
    one, other = made("ff")
    other.status.completion_time = one.status.completion_time
    status = told([one])
    assert told([one, other], status).consecutive_failures == 2


def test_what_is_about_to_go_is_not_retained() -> None:
    going = backup(schedule(), hours(1), "Completed", deleted=hours(2))
    assert told([going, *made("c", 2)]).retained == 1


def test_a_time_to_come_is_not_the_last_one() -> None:
    early = backup(schedule(), NOW.replace(year=2099), "Completed")  # a clock was wrong for a while
    assert told([early]).last_schedule_time == ""
