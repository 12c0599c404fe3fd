"""Which good backups are kept: the newest, the young, and the last of each day, week and month. Pure.

A backup belongs to the time it was made for, read in the schedule's zone. Days, weeks (from Monday) and months are
counted where there is a backup: a time without any costs none of the older ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from reconcilers.api.schedule import Retention

T = TypeVar("T")

_HOUR = 3600
_DAY = 24 * _HOUR
# never less than the calendar's
_UNITS = {"h": _HOUR, "d": _DAY, "w": 7 * _DAY, "m": 31 * _DAY, "y": 366 * _DAY}


def seconds(within: str) -> int:
    """Of ``30d`` and the like; ValueError for anything else."""
    number, unit = within[:-1], within[-1:]
    if unit not in _UNITS or not (number.isascii() and number.isdigit()) or number.startswith("0"):
        raise ValueError(f"keepWithin {within!r} is not a number and one of h, d, w, m, y, such as 30d")
    return int(number) * _UNITS[unit]


def dropped(
    backups: Iterable[T], policy: Retention, *, time: Callable[[T], datetime], zone: ZoneInfo, now: datetime
) -> list[T]:
    """Of good backups in any order, those that no rule keeps, oldest first. None where no rule is given."""
    newest_first = sorted(backups, key=time, reverse=True)
    if not _any_rule(policy):
        return []
    kept = {id(one) for one in _kept(newest_first, policy, time, zone, now)}
    return [one for one in reversed(newest_first) if id(one) not in kept]


def _any_rule(policy: Retention) -> bool:
    """A rule of 0 keeps nothing of its own; were it the only one, all but the last backup would go by a slip."""
    counts = (policy.keep_last, policy.keep_daily, policy.keep_weekly, policy.keep_monthly)
    return bool(policy.keep_within) or any(counts)


def _kept(
    newest_first: Sequence[T], policy: Retention, time: Callable[[T], datetime], zone: ZoneInfo, now: datetime
) -> Iterator[T]:
    yield from newest_first[: max(policy.min_keep, policy.keep_last or 0, 1)]
    if policy.keep_within:
        within = seconds(policy.keep_within)
        yield from (one for one in newest_first if (now - time(one)).total_seconds() <= within)

    def local(one: T) -> datetime:
        return time(one).astimezone(zone)

    yield from _last_of_each(newest_first, policy.keep_daily, lambda one: local(one).date())
    yield from _last_of_each(newest_first, policy.keep_weekly, lambda one: local(one).isocalendar()[:2])
    yield from _last_of_each(newest_first, policy.keep_monthly, lambda one: (local(one).year, local(one).month))


def _last_of_each(newest_first: Sequence[T], count: int | None, period: Callable[[T], Hashable]) -> Iterator[T]:
    """The last one of each of the ``count`` newest periods."""
    seen: set[Hashable] = set()
    for one in newest_first:
        if len(seen) >= (count or 0):
            return
        if period(one) not in seen:
            seen.add(period(one))
            yield one
