"""The times a schedule names, as moments in UTC. Pure.

An expression is read on the wall clock of its zone. Where that clock is set forward, a time that it skips is the first
minute after the gap; where it is set back, a time that comes twice is the first of the two. So each time that names its
hours is there exactly once. With every hour named (``30 * * * *``) it is each hour that passes, not each that is read.
"""

from __future__ import annotations

import itertools
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

if TYPE_CHECKING:
    from collections.abc import Iterator

NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_HOUR, _MONTH = 1, 3  # of the five fields
_MINUTE = timedelta(minutes=1)
_ANY_TIME = datetime(2026, 1, 1, tzinfo=UTC)
# Names that mean whatever this machine is set to, or nothing. Those below "right/" count leap seconds.
_NO_ZONES = frozenset({"localtime", "posixrules", "Factory"})
_ZONE = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*")


class ScheduleError(ValueError):
    """``reason`` is a condition's; the text says in one sentence what is wrong and what to do."""

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)


def zone_of(name: str) -> ZoneInfo:
    """ScheduleError where there is no such zone."""
    try:
        if name not in _NO_ZONES and not name.startswith("right/") and _ZONE.fullmatch(name):
            return ZoneInfo(name)
    except (OSError, ValueError, KeyError):  # a directory of zones, a name that is no path, an unknown one
        pass
    raise ScheduleError("InvalidTimeZone", f"timeZone {name!r} is not known: give a name such as Europe/Vienna or UTC")


class Slots:
    """ScheduleError for an expression or a zone that cannot be used. A slot is a whole minute, in UTC."""

    def __init__(self, schedule: str, zone: str) -> None:
        self.zone = zone_of(zone)
        self._fields = _fields(schedule)
        self._passing = _simulated(schedule, self._fields).hours == set(range(24))
        if self._passing:
            self._fields[_HOUR] = "*"  # spelled so that CronSim, too, reads hours as they pass
        if self.after(_ANY_TIME) is None:
            raise _never(schedule)

    def following(self, moment: datetime) -> Iterator[datetime]:
        """The slots after ``moment``, in order; ends where there is none within 50 years."""
        last = moment
        for local in self._simulation(moment):
            slot = self._moment(local)
            if slot > last:
                yield slot
                last = slot

    def after(self, moment: datetime) -> datetime | None:
        return next(self.following(moment), None)

    def latest(self, until: datetime) -> datetime | None:
        """The newest slot that is not after ``until``, however long ago it was."""
        backwards = self._simulation(until.replace(microsecond=0) + timedelta(seconds=1), reverse=True)
        found = next((slot for slot in map(self._moment, backwards) if slot <= until), None)
        if found is None:
            return None
        # going back over an hour that comes twice skips what only its second pass has
        for slot in itertools.takewhile(lambda slot: slot <= until, self.following(found)):
            found = slot
        return found

    def count(self, after: datetime, until: datetime, most: int) -> int:
        """How many slots are after ``after`` and not after ``until``; ``most`` where there are as many or more."""
        passed = itertools.takewhile(lambda slot: slot <= until, self.following(after))
        return sum(1 for _ in itertools.islice(passed, most))

    def _simulation(self, moment: datetime, *, reverse: bool = False) -> CronSim:
        local = moment.astimezone(self.zone)
        start = local if self._passing else local.replace(tzinfo=None)
        return CronSim(" ".join(self._fields), start, reverse)

    def _moment(self, local: datetime) -> datetime:
        if local.tzinfo is not None:
            return local.astimezone(UTC)
        while True:
            moment = local.replace(tzinfo=self.zone).astimezone(UTC)
            if moment.astimezone(self.zone).replace(tzinfo=None) == local:
                return moment
            local += _MINUTE  # the clock never showed this minute


def _fields(schedule: str) -> list[str]:
    fields = NICKNAMES.get(schedule.strip(), schedule).split()
    if len(fields) != len(NICKNAMES["@daily"].split()):
        raise ScheduleError(
            "InvalidSchedule",
            f"schedule {schedule!r} is not five fields (minute, hour, day of month, month, day of week), nor one of "
            f"{', '.join(NICKNAMES)}",
        )
    return fields


def _simulated(schedule: str, fields: list[str]) -> CronSim:
    try:
        return CronSim(" ".join(fields), _ANY_TIME)
    except CronSimError as e:
        if "day-of-month" in str(e) and fields[_MONTH] != "*":  # it may be right, but not in these months
            _simulated(schedule, [*fields[:_MONTH], "*", *fields[_MONTH + 1 :]])
            raise _never(schedule) from e
        what = str(e).removeprefix("Bad ").replace("-", " ")
        raise ScheduleError("InvalidSchedule", f"schedule {schedule!r} has a bad {what}: correct that field") from e


def _never(schedule: str) -> ScheduleError:
    return ScheduleError("NeverMatches", f"schedule {schedule!r} names no time in the next 50 years: correct it")
