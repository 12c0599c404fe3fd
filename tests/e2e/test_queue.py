"""One backup runs in a datacenter at a time: the others say who is before them, and each gets its turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dev.scenario.documents import RESTORED
from tests.e2e.backups import SLOW

if TYPE_CHECKING:
    from tests.e2e.backups import Backups


def test_three_backups(backups: Backups) -> None:
    first = backups.make("queue-first", RESTORED, bandwidth=SLOW, type="Full")
    first.sends()
    second = backups.make("queue-second", RESTORED)
    told = second.reaches("is next", lambda status: status.get("queuePosition") == 1)
    assert first.name in told["message"]
    third = backups.make("queue-third", RESTORED)
    told = third.reaches("is the one after", lambda status: status.get("queuePosition") == 2)
    assert told["phase"] == "Queued"
    assert second.name in told["message"]
    assert (third.row["STATUS"], third.row["REASON"]) == ("Queued", "Queued")
    third.tells("Normal", "Queued")
    assert third.condition("Running")["reason"] == "Queued"

    ended = [backup.completes(500) for backup in (first, second, third)]
    times = [moment for status in ended for moment in (status["startTime"], status["completionTime"])]
    assert times == sorted(times), "two were at work at the same time, or one overtook another"
    assert all("queuePosition" not in status for status in ended)
