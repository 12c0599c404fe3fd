"""The step that starts what is due, and counts what was missed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from controller.clock import rfc3339
from reconcilers.schedule import live
from reconcilers.schedule.create import Made, Refused, Skipped, create
from reconcilers.schedule.due import MOST_COUNTED, Due, due

if TYPE_CHECKING:
    from datetime import timedelta

    from controller.client import Client
    from reconcilers.schedule.slots import Slots
    from reconcilers.schedule.turn import Turn


class Passed:
    """All that was due is too old to be started."""


async def start(client: Client, turn: Turn, slots: Slots, shift: timedelta) -> Made | Skipped | Refused | Passed | None:
    """None where nothing is due. ``shift`` is the schedule's jitter.

    Should this process die after the backup is made, what was missed before it goes uncounted; the backup is found.
    """
    if _due(turn, slots, shift) is not None:
        await live.look(client, turn)
    plan = _due(turn, slots, shift)
    if plan is None:
        turn.handled(turn.since)  # by a backup that is there, should its maker have died before it said so
        return None
    result = await create(client, turn, plan.slot) if plan.slot else Passed()
    if isinstance(result, Skipped) and plan.slot == turn.created:
        return Refused(result.reason, result.message)  # there is no other slot that the first backup could have
    if isinstance(result, Refused):
        return result
    if isinstance(result, Made):
        turn.see([*turn.backups, result.backup])
    turn.handled(plan.until)
    if not turn.resuming:
        _missed(turn, plan)
    if isinstance(result, Skipped):
        turn.status.missed_runs += 1
        turn.event(result.reason, result.message, "Warning")
    return result


def _due(turn: Turn, slots: Slots, shift: timedelta) -> Due | None:
    """The first of all backups is due as long as there was none, unless a slot brings one anyway."""
    since = turn.since
    found = due(slots, since=since, now=turn.now, jitter=shift, deadline=turn.spec.starting_deadline_seconds)
    first = turn.spec.immediate and not turn.status.last_schedule_time and not turn.backups
    if first and (found is None or found.slot is None):
        return Due(turn.created, found.missed if found else 0, found.until if found else since)
    return found


def _missed(turn: Turn, plan: Due) -> None:
    if not plan.missed:
        return
    turn.status.missed_runs += plan.missed
    count = "a time" if plan.missed == 1 else f"{plan.missed} times"
    deadline = turn.spec.starting_deadline_seconds
    turn.event(
        "ScheduleMissed",
        f"{'at least ' if plan.missed == MOST_COUNTED else ''}{count} up to {rfc3339(plan.until)} passed without a "
        f"backup: only the newest is made up for, within {deadline} s (startingDeadlineSeconds)",
        "Warning",
    )
