"""What the catalogs see of backups' records, for the backups' own reconciler to write: a status has one writer.

Nothing of it has to last: what is written is in the condition, and what is not is seen again at the next look.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from controller.conditions import get_condition, is_true
from controller.objects import key_of
from reconcilers.api.backup_status import RECORD_GONE, RESTORABLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from controller.resource import Key
    from reconcilers.api.backup import CassandraBackup
    from reconcilers.api.backup_status import BackupStatus
    from reconcilers.backup.run import Run

_FOUND = "RecordFound"
_ADVICE = "restore another one, and delete this object unless what was deleted there can be brought back"


class Sighting(NamedTuple):
    """``lost``: one sentence of what the bucket lacks; empty where it has all of it."""

    uid: str
    lost: str


class Sightings:
    """``wake`` is told of a backup that has to say something else now."""

    def __init__(self) -> None:
        self._seen: dict[Key, Sighting] = {}
        self.wake: Callable[[Key], None] = lambda _: None

    def saw(self, backup: CassandraBackup, lost: str) -> None:
        key, status = key_of(backup), backup.status
        changes = is_true(status.conditions, RESTORABLE) if lost else is_gone(status)
        if changes:
            self._seen[key] = Sighting(backup.metadata.uid, lost)
            self.wake(key)
        else:
            self.forget(key)

    def tell(self, run: Run) -> bool:
        """Whether ``run`` says something else by it, which is kept until that is written and ``forget`` called."""
        seen = self._seen.get(run.key)
        if seen is None or seen.uid != run.uid:
            return False
        if seen.lost and is_true(run.status.conditions, RESTORABLE):
            message = f"{seen.lost}: {_ADVICE}"
            run.say(RESTORABLE, "False", RECORD_GONE, message)
            run.event(RECORD_GONE, message, "Warning")
            return True
        if not seen.lost and is_gone(run.status):
            message = f"{run.status.location} holds backup {run.status.snapshot_tag} again"
            run.say(RESTORABLE, "True", _FOUND, message)
            run.event(_FOUND, message)
            return True
        self.forget(run.key)
        return False

    def forget(self, key: Key) -> None:
        self._seen.pop(key, None)


def is_gone(status: BackupStatus) -> bool:
    """As was said last. What could never be restored, such as a partial backup, is not."""
    found = get_condition(status.conditions, RESTORABLE)
    return found is not None and (found.status, found.reason) == ("False", RECORD_GONE)
