"""What is due: the newest slot in time, and how many others were missed."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from reconcilers.schedule.due import MOST_COUNTED, Due, due, jitter
from reconcilers.schedule.slots import Slots
from tests.unit.reconcilers.schedule.objects import START, hours

HOURLY = Slots("0 * * * *", "UTC")


def at(now: datetime, *, since: datetime = START, shift: float = 0, deadline: int = 600) -> Due | None:
    return due(HOURLY, since=since, now=now, jitter=timedelta(seconds=shift), deadline=deadline)


@pytest.mark.parametrize(
    ("after", "wanted"),
    [
        (3599.9, None),
        (3600, Due(hours(1), 0, hours(1))),
        (3600 + 600, Due(hours(1), 0, hours(1))),
        (3600 + 601, Due(None, 1, hours(1))),
        (3 * 3600, Due(hours(3), 2, hours(3))),  # of several only the newest
        (3 * 3600 + 601, Due(None, 3, hours(3))),
    ],
)
def test_due(after: float, wanted: Due | None) -> None:
    assert at(START + timedelta(seconds=after)) == wanted


def test_what_was_dealt_with_is_not_due_again() -> None:
    assert at(hours(1.1), since=hours(1)) is None
    assert at(hours(0.5), since=hours(9)) is None  # a clock that was set back


def test_jitter_moves_a_slot_and_its_deadline() -> None:
    assert at(hours(1), shift=900) is None
    assert at(hours(1) + timedelta(seconds=899), shift=900) is None
    assert at(hours(1) + timedelta(seconds=900), shift=900) == Due(hours(1), 0, hours(1))
    assert at(hours(1) + timedelta(seconds=1500), shift=900) == Due(hours(1), 0, hours(1))
    assert at(hours(1) + timedelta(seconds=1501), shift=900) == Due(None, 1, hours(1))


def test_years_of_minutes_are_not_counted_through() -> None:
    minutes = Slots("* * * * *", "Europe/Vienna")
    now = START.replace(year=2036)
    found = due(minutes, since=START, now=now, jitter=timedelta(), deadline=10**12)
    assert found == Due(now, MOST_COUNTED - 1, now)


@pytest.mark.parametrize("most", [0, 1, 60, 3600])
def test_jitter_is_stable_and_spread(most: int) -> None:
    uids = [f"uid-{n}" for n in range(2000)]
    found = [jitter(uid, most).total_seconds() for uid in uids]
    assert found == [jitter(uid, most).total_seconds() for uid in uids]
    assert 0 <= min(found) <= max(found) <= most
    assert len(set(found)) > min(most, 900)
