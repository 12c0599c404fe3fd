"""What of a schedule is to be done now. Pure."""

from __future__ import annotations

from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from datetime import datetime

    from reconcilers.schedule.slots import Slots

MOST_COUNTED = 1000  # of missed slots: a schedule that was away for years is not counted through


class Due(NamedTuple):
    """``slot`` is to be run, unless None; ``missed`` others are not. With that, all is dealt with up to ``until``."""

    slot: datetime | None
    missed: int
    until: datetime


def due(slots: Slots, *, since: datetime, now: datetime, jitter: timedelta, deadline: int) -> Due | None:
    """None where no slot came since ``since``. Of several only the newest runs, if ``deadline`` seconds allow it."""
    newest = slots.latest(now - jitter)
    if newest is None or newest <= since:
        return None
    passed = slots.count(since, newest, MOST_COUNTED)
    late = (now - jitter - newest).total_seconds()
    return Due(newest, passed - 1, newest) if late <= deadline else Due(None, passed, newest)


def jitter(uid: str, most: int) -> timedelta:
    """0 to ``most`` seconds, the same for a schedule as long as it lives, spread over many of them."""
    return timedelta(seconds=int.from_bytes(sha256(uid.encode()).digest()[:8]) % (most + 1))
