"""The times of a schedule, above all where a clock is set forward or back."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconcilers.schedule.slots import NICKNAMES, ScheduleError, Slots, zone_of

VIENNA = "Europe/Vienna"  # 2026: 02:00 -> 03:00 on March 29, 03:00 -> 02:00 on October 25
SANTIAGO = "America/Santiago"  # 2026-09-06: 00:00 -> 01:00
HOWE = "Australia/Lord_Howe"  # half an hour: 2026-04-05 02:00 -> 01:30


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def local(schedule: str, zone: str, after: str, count: int) -> list[str]:
    slots = Slots(schedule, zone)
    found = itertools.islice(slots.following(moment(after)), count)
    return [slot.astimezone(slots.zone).strftime("%m-%d %H:%M%z") for slot in found]


@pytest.mark.parametrize(
    ("schedule", "zone", "after", "wanted"),
    [
        ("30 2 * * *", "UTC", "2026-03-28T02:30Z", ["03-29 02:30+0000"]),  # strictly after
        ("30 2 * * *", "UTC", "2026-03-28T02:29:59.9Z", ["03-28 02:30+0000", "03-29 02:30+0000"]),
        ("@daily", VIENNA, "2026-06-01T00:00Z", ["06-02 00:00+0200"]),
        ("0 9 * * MON-FRI", VIENNA, "2026-06-05T09:00Z", ["06-08 09:00+0200"]),
        ("0 0 L * *", "UTC", "2026-02-01T00:00Z", ["02-28 00:00+0000", "03-31 00:00+0000"]),
        ("0 0 1 * 1", "UTC", "2026-06-01T00:00Z", ["06-08 00:00+0000"]),  # either of the two, as cron has it
        # a gap: once, at the first minute after it
        ("30 2 * * *", VIENNA, "2026-03-28T12:00Z", ["03-29 03:00+0200", "03-30 02:30+0200"]),
        ("0,30 2 * * *", VIENNA, "2026-03-28T12:00Z", ["03-29 03:00+0200", "03-30 02:00+0200"]),
        ("*/10 2 * * *", VIENNA, "2026-03-28T12:00Z", ["03-29 03:00+0200", "03-30 02:00+0200"]),
        ("0 2,3 * * *", VIENNA, "2026-03-28T12:00Z", ["03-29 03:00+0200", "03-30 02:00+0200"]),
        ("@daily", SANTIAGO, "2026-09-05T12:00Z", ["09-06 01:00-0300", "09-07 00:00-0300"]),
        # twice on the clock: once, the first time
        ("30 2 * * *", VIENNA, "2026-10-24T12:00Z", ["10-25 02:30+0200", "10-26 02:30+0100"]),
        ("*/30 2 * * *", VIENNA, "2026-10-24T12:00Z", ["10-25 02:00+0200", "10-25 02:30+0200", "10-26 02:00+0100"]),
        ("45 1 * * *", HOWE, "2026-04-04T00:00Z", ["04-05 01:45+1100", "04-06 01:45+1030"]),
        # asked in the second pass, when the first has had it
        ("30 2 * * *", VIENNA, "2026-10-25T01:15Z", ["10-26 02:30+0100"]),
        # every hour: each that passes
        ("30 * * * *", VIENNA, "2026-03-29T00:00Z", ["03-29 01:30+0100", "03-29 03:30+0200"]),
        ("30 * * * *", VIENNA, "2026-10-24T23:45Z", ["10-25 02:30+0200", "10-25 02:30+0100", "10-25 03:30+0100"]),
        ("30 0-23 * * *", VIENNA, "2026-10-24T23:45Z", ["10-25 02:30+0200", "10-25 02:30+0100", "10-25 03:30+0100"]),
        ("* * * * *", VIENNA, "2026-03-29T00:58Z", ["03-29 01:59+0100", "03-29 03:00+0200"]),
    ],
)
def test_following(schedule: str, zone: str, after: str, wanted: list[str]) -> None:
    assert local(schedule, zone, after, len(wanted)) == wanted


@pytest.mark.parametrize(
    ("schedule", "zone", "until", "wanted"),
    [
        ("30 2 * * *", "UTC", "2026-06-01T02:30Z", "2026-06-01T02:30Z"),  # itself
        ("30 2 * * *", "UTC", "2026-06-01T02:29:59Z", "2026-05-31T02:30Z"),
        ("0 0 1 1 *", "UTC", "2026-12-31T00:00Z", "2026-01-01T00:00Z"),
        ("30 2 * * *", VIENNA, "2026-03-29T01:00Z", "2026-03-29T01:00Z"),  # after the gap
        ("30 2 * * *", VIENNA, "2026-03-29T00:59:59Z", "2026-03-28T01:30Z"),
        ("30 2 * * *", VIENNA, "2026-10-25T01:15Z", "2026-10-25T00:30Z"),  # 02:15 again: 02:30 has been
        ("30 * * * *", VIENNA, "2026-10-25T01:15Z", "2026-10-25T00:30Z"),
        ("30 * * * *", VIENNA, "2026-10-25T01:30Z", "2026-10-25T01:30Z"),
    ],
)
def test_latest(schedule: str, zone: str, until: str, wanted: str) -> None:
    assert Slots(schedule, zone).latest(moment(until)) == moment(wanted)


@pytest.mark.parametrize("schedule", ["* * * * *", "*/7 1-4 * * *", "15 2 * * 0", "0 */3 1-7 * *"])
@pytest.mark.parametrize("zone", [VIENNA, SANTIAGO, HOWE])
@pytest.mark.parametrize("near", ["2026-03-29T00:00Z", "2026-10-25T00:00Z", "2026-04-04T14:00Z", "2026-09-06T03:00Z"])
def test_looking_back_finds_what_looking_ahead_passed(schedule: str, zone: str, near: str) -> None:
    slots = Slots(schedule, zone)
    start = moment(near) - timedelta(hours=3)
    ahead = list(itertools.takewhile(lambda s: s <= start + timedelta(hours=6), slots.following(start)))
    for minutes in range(0, 6 * 60, 7):
        until = start + timedelta(minutes=minutes)
        wanted = max((s for s in ahead if s <= until), default=None)
        found = slots.latest(until)
        assert found is not None
        assert found == wanted if wanted else found <= start


def test_counting_ends() -> None:
    slots = Slots("* * * * *", "UTC")
    start = moment("2020-01-01T00:00Z")
    assert slots.count(start, start + timedelta(minutes=7), 1000) == 7
    assert slots.count(start, start, 1000) == 0
    assert slots.count(start, moment("2026-01-01T00:00Z"), 1000) == 1000


@pytest.mark.parametrize(
    ("schedule", "reason", "words"),
    [
        ("99 * * * *", "InvalidSchedule", "has a bad minute"),
        ("0 24 * * *", "InvalidSchedule", "has a bad hour"),
        ("0 0 0 * *", "InvalidSchedule", "has a bad day of month"),
        ("0 0 * 13 *", "InvalidSchedule", "has a bad month"),
        ("0 0 * * 8", "InvalidSchedule", "has a bad day of week"),
        ("*/0 * * * *", "InvalidSchedule", "has a bad minute"),
        ("5-1 * * * *", "InvalidSchedule", "has a bad minute"),
        (", * * * *", "InvalidSchedule", "has a bad minute"),
        ("99 * * 2 *", "InvalidSchedule", "has a bad minute"),
        ("* * * * * *", "InvalidSchedule", "is not five fields"),
        ("* * * *", "InvalidSchedule", "is not five fields"),
        ("", "InvalidSchedule", "is not five fields"),
        ("@reboot", "InvalidSchedule", "nor one of @hourly, @daily"),
        ("@every 5m", "InvalidSchedule", "is not five fields"),
        ("0 0 30 2 *", "NeverMatches", "names no time"),
        ("0 0 31 2,4 *", "NeverMatches", "names no time"),
        ("0 0 */31 * MON#2", "NeverMatches", "names no time"),
    ],
)
def test_what_is_no_schedule(schedule: str, reason: str, words: str) -> None:
    with pytest.raises(ScheduleError, match=words) as raised:
        Slots(schedule, "UTC")
    assert raised.value.reason == reason
    assert repr(schedule) in str(raised.value)


def test_a_leap_day_and_a_fifth_monday_in_february_do_come() -> None:
    assert local("0 0 29 2 *", "UTC", "2026-01-01T00:00Z", 1) == ["02-29 00:00+0000"]
    assert Slots("0 0 * 2 MON#5", "UTC").after(moment("2026-01-01T00:00Z")) == moment("2044-02-29T00:00Z")


@pytest.mark.parametrize(
    ("nickname", "wanted"),
    [
        ("@hourly", "2026-06-15T13:00Z"),
        ("@daily", "2026-06-16T00:00Z"),
        ("@midnight", "2026-06-16T00:00Z"),
        ("@weekly", "2026-06-21T00:00Z"),  # Sunday
        ("@monthly", "2026-07-01T00:00Z"),
        ("@yearly", "2027-01-01T00:00Z"),
        (" @annually\n", "2027-01-01T00:00Z"),
    ],
)
def test_nicknames(nickname: str, wanted: str) -> None:
    assert Slots(nickname, "UTC").after(moment("2026-06-15T12:00Z")) == moment(wanted)
    assert nickname.strip() in NICKNAMES


@pytest.mark.parametrize(
    "name",
    ["", "Mars/Phobos", "Europe", "../../etc/passwd", "/etc/localtime", "localtime", "posixrules", "europe/vienna",
     "right/UTC", "zone.tab", "a\0b", "Europe/Vienna/"],
)  # fmt: skip
def test_what_is_no_zone(name: str) -> None:
    with pytest.raises(ScheduleError, match="is not known: give a name such as Europe/Vienna") as raised:
        zone_of(name)
    assert raised.value.reason == "InvalidTimeZone"


@pytest.mark.parametrize("name", ["UTC", "Europe/Vienna", "America/Argentina/Ushuaia", "Etc/GMT+5"])
def test_what_is_a_zone(name: str) -> None:
    assert zone_of(name).key == name


@given(st.lists(st.text("0123456789*/,-#LWMONFEB @?²", max_size=6), min_size=4, max_size=6).map(" ".join))
@settings(max_examples=300, deadline=None, database=None)
def test_no_text_does_more_than_be_refused(schedule: str) -> None:
    try:
        slots = Slots(schedule, VIENNA)
    except ScheduleError:
        return
    start = moment("2026-01-01T00:00Z")
    found = list(itertools.islice(slots.following(start), 3))
    assert found == sorted(set(found))
    assert all(slot > start and slot.second == 0 for slot in found)
