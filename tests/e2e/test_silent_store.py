"""A store that accepts connections and does not answer: the deadline ends the backup, and lets go of the nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from controller.clock import parse_rfc3339
from dev.scenario.documents import RESTORED
from dev.scenario.relay import Relay, relay
from tests.e2e.backups import SLOW, Backup
from tests.e2e.conftest import storage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.backups import Backups
    from tests.e2e.conftest import World

_DEADLINE = 45  # seconds
_GRACE = 60.0  # seconds: an agent tries for 30 to take back what it had half sent, then it leaves that

pytestmark = pytest.mark.skipif(storage() == "file", reason="a directory has no server that could fall silent")


@pytest.fixture
def store(world: World) -> Iterator[Relay]:
    """The bed's own, by a way that can be made silent."""
    with relay(world.kubectl, world.documents.url) as found:
        yield found


def test_in_the_middle_of_an_upload(backups: Backups, store: Relay) -> None:
    backup = _backup(backups, store, "silent-in-the-middle", bandwidth=SLOW, type="Full")
    backup.sends()
    store.silence()
    _exceeds_its_deadline(backup)
    store.speak()
    assert backup.left() == []
    _backup(backups, store, "after-the-silence").completes()


def test_from_the_beginning(backups: Backups, store: Relay) -> None:
    """No node is touched before the store has answered."""
    store.silence()
    backup = _backup(backups, store, "silent-from-the-beginning")
    _exceeds_its_deadline(backup)
    assert "snapshotTime" not in backup.status
    store.speak()
    assert backup.left() == []


def _backup(backups: Backups, store: Relay, name: str, **spec: object) -> Backup:
    return backups.make(name, RESTORED, endpoint={"url": store.url}, activeDeadlineSeconds=_DEADLINE, **spec)


def _exceeds_its_deadline(backup: Backup) -> None:
    status = backup.ends()
    began, ended = (parse_rfc3339(status[which]) for which in ("startTime", "completionTime"))
    assert _DEADLINE <= (ended - began).total_seconds() <= _DEADLINE + _GRACE
    assert (status["phase"], status["reason"]) == ("Failed", "DeadlineExceeded")
    assert f"{_DEADLINE} s" in status["message"]
    assert (backup.row["STATUS"], backup.row["REASON"]) == ("Failed", "DeadlineExceeded")
    backup.tells("Warning", "DeadlineExceeded")
