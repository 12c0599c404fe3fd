"""Which good backups are kept: a table a rule, and what must hold whatever the rules."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconcilers.api.schedule import Retention
from reconcilers.schedule.retention import dropped, seconds

NOW = datetime(2026, 6, 30, 12, tzinfo=UTC)  # a Tuesday
ZONES = {name: ZoneInfo(name) for name in ("UTC", "America/New_York", "Asia/Tokyo")}


def day(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-{text}").replace(tzinfo=UTC)


def kept(times: list[datetime], policy: Retention, zone: str = "UTC", now: datetime = NOW) -> list[datetime]:
    gone = dropped(times, policy, time=lambda one: one, zone=ZONES[zone], now=now)
    assert gone == sorted(gone)
    return [one for one in sorted(times) if one not in gone]


DAILY = [NOW - timedelta(days=n) for n in range(40)]


@pytest.mark.parametrize(
    ("policy", "wanted"),
    [
        (Retention(), 40),
        (Retention(min_keep=5), 40),  # no rule at all drops nothing
        (Retention(keep_last=0, keep_daily=0), 40),
        (Retention(keep_last=3), 3),
        (Retention(keep_last=100), 40),
        (Retention(keep_last=2, min_keep=5), 5),
        (Retention(keep_within="7d"), 8),  # that of seven days ago is just young enough
        (Retention(keep_within="1h"), 1),
        (Retention(keep_within="1w"), 8),
        (Retention(keep_within="1m"), 32),
        (Retention(keep_within="1y"), 40),
        (Retention(keep_within="9" * 15 + "y"), 40),
        (Retention(keep_daily=7), 7),
        (Retention(keep_weekly=3), 3),
        (Retention(keep_monthly=2), 2),
        (Retention(keep_monthly=12), 2),
        (Retention(keep_last=2, keep_within="3d", keep_daily=5), 5),  # what any rule keeps is kept
    ],
)
def test_how_many_of_forty_days_are_kept(policy: Retention, wanted: int) -> None:
    assert len(kept(DAILY, policy)) == wanted


def test_the_last_of_each_day_week_and_month() -> None:
    times = [day(t) for t in ("05-30", "05-31 08:00", "05-31 20:00", "06-27", "06-28 01:00", "06-28 23:00", "06-30")]
    assert kept(times, Retention(keep_daily=3)) == [day("06-27"), day("06-28 23:00"), day("06-30")]
    # weeks begin on Monday: 06-28 is a Sunday, 05-31 too
    assert kept(times, Retention(keep_weekly=3)) == [day("05-31 20:00"), day("06-28 23:00"), day("06-30")]
    assert kept(times, Retention(keep_monthly=2)) == [day("05-31 20:00"), day("06-30")]


def test_a_time_without_backups_costs_no_older_ones() -> None:
    times = [day("01-01"), day("01-02"), day("06-30")]
    assert kept(times, Retention(keep_daily=3)) == times


def test_an_iso_week_over_new_year_is_one() -> None:
    times = [datetime(2026, 12, 31, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)]  # Thursday, Friday
    assert kept(times, Retention(keep_weekly=2)) == times[1:]
    assert kept(times, Retention(keep_monthly=2)) == times


def test_a_week_a_year_ago_is_another_one() -> None:
    times = [day("06-30").replace(year=2025), day("06-30")]  # both in week 27
    assert kept(times, Retention(keep_weekly=2)) == times


@pytest.mark.parametrize(
    ("zone", "wanted"),
    [
        ("UTC", ["06-28 23:00", "06-29 03:30", "06-30"]),
        ("America/New_York", ["06-29 03:30", "06-30"]),  # both still the 28th, then the 29th
        ("Asia/Tokyo", ["06-28 14:30", "06-29 03:30", "06-30"]),  # 23:30 on the 28th; two on the 29th; the 30th
    ],
)
def test_days_are_the_zones(zone: str, wanted: list[str]) -> None:
    times = [day("06-28 14:30"), day("06-28 23:00"), day("06-29 03:30"), day("06-30")]
    assert kept(times, Retention(keep_daily=3), zone) == [*map(day, wanted)]


@pytest.mark.parametrize(("text", "wanted"), [("1h", 3600), ("30d", 30 * 86400), ("2w", 14 * 86400)])
def test_seconds(text: str, wanted: int) -> None:
    assert seconds(text) == wanted


@pytest.mark.parametrize("unit", ["m", "y"])
def test_a_month_and_a_year_are_never_shorter_than_the_calendars(unit: str) -> None:
    assert seconds(f"1{unit}") == {"m": 31, "y": 366}[unit] * 86400


@pytest.mark.parametrize("text", ["", "d", "30", "0d", "01d", "-1d", "30 d", "30D", "1.5d", "30s", "²d"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="such as 30d"):
        seconds(text)


counts = st.none() | st.integers(0, 8)
policies = st.builds(
    Retention,
    keep_last=counts,
    keep_within=st.sampled_from(["", "1h", "3d", "2w", "1m", "1y"]),
    keep_daily=counts,
    keep_weekly=counts,
    keep_monthly=counts,
    min_keep=st.integers(1, 5),
)
ages = st.lists(st.integers(0, 800 * 24 * 60), unique=True, max_size=60)


@given(ages, policies, st.sampled_from(sorted(ZONES)))
@settings(max_examples=200, deadline=None, database=None)
def test_what_holds_for_every_policy(minutes: list[int], policy: Retention, zone: str) -> None:
    times = [NOW - timedelta(minutes=n) for n in minutes]
    first = kept(times, policy, zone)
    assert kept(first, policy, zone) == first  # what was kept is kept the next time
    assert kept(list(reversed(times)), policy, zone) == first  # in whatever order they come
    newest = sorted(times)[-policy.min_keep :]
    assert first[len(first) - len(newest) :] == newest  # the last good one never goes, nor the others of minKeep
    gone = set(times) - set(first)
    assert all(old < newest[0] for old in gone)
    within = seconds(policy.keep_within) if policy.keep_within else -1
    assert not any((NOW - old).total_seconds() <= within for old in gone)
    more = kept([*times, NOW + timedelta(minutes=1)], policy, zone)
    assert NOW + timedelta(minutes=1) in more
