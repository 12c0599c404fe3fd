"""`spec.cancel`: a backup ends within seconds, has left nothing, and is in nobody's way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dev.scenario.demo import CBACK
from dev.scenario.documents import RESTORED
from dev.scenario.kubectl import KubectlError
from tests.e2e.backups import SLOW

if TYPE_CHECKING:
    from tests.e2e.backups import Backup, Backups
    from tests.e2e.conftest import World

_SOON = 30.0  # seconds


@pytest.fixture
def sending(backups: Backups) -> Backup:
    """A backup in the middle of its upload, which would go on for a minute."""
    backup = backups.make("cancelled", RESTORED, bandwidth=SLOW, type="Full")
    backup.sends()
    return backup


def test_in_the_middle_of_an_upload(world: World, backups: Backups, sending: Backup) -> None:
    assert sending.cancel() < _SOON
    status = sending.status
    assert (status["phase"], status["reason"]) == ("Cancelled", "Cancelled")
    assert {node["phase"] for node in status["nodes"]} == {"Cancelled"}
    assert sending.left() == []
    assert sending.pending() == []
    assert sending.condition("Restorable")["status"] == "False"
    assert (sending.row["STATUS"], sending.row["REASON"]) == ("Cancelled", "Cancelled")
    sending.tells("Normal", "Cancelled")
    assert sending.told("Warning") == set(), "a wish is no failure"
    assert sending.condition("Failed")["status"] == "False"
    with pytest.raises(KubectlError, match="cancel"):
        world.kubectl.patch(CBACK, sending.name, {"spec": {"cancel": False}})

    backups.make("after-cancel", RESTORED).completes()


def test_in_the_queue(backups: Backups, sending: Backup) -> None:
    """Nothing had begun, so there is nothing to wait for; who is at work goes on."""
    queued = backups.make("cancelled-in-queue", RESTORED)
    queued.reaches("is queued", lambda status: status.get("queuePosition"))
    assert queued.cancel() < _SOON
    assert queued.status["phase"] == "Cancelled"
    assert "startTime" not in queued.status
    assert queued.left() == []
    assert sending.status["phase"] == "Uploading"
