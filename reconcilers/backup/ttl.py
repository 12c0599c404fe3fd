"""``ttlSecondsAfterFinished``: an ended backup's object goes by itself, as if somebody had deleted it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from controller.reconcile import Done, RequeueAfter
from reconcilers.api.backup import BACKUPS
from reconcilers.backup import status as said

if TYPE_CHECKING:
    from controller.client import Client
    from controller.reconcile import Outcome
    from controller.recorder import Recorder
    from reconcilers.backup.run import Run


async def expire(run: Run, client: Client, recorder: Recorder) -> Outcome:
    """Deletes the object when its time is over, else says when to look again.

    Conflict where it was changed since: the time may be another one now. What becomes of the data is deletionPolicy's.
    """
    meta, ttl, ended = run.backup.metadata, run.spec.ttl_seconds_after_finished, said.moment(run.status.completion_time)
    if ttl is None or ended is None or meta.deletion_timestamp:
        return Done()
    left = ttl - (run.now - ended).total_seconds()
    if left > 0:
        return RequeueAfter(left, "ttlSecondsAfterFinished")
    if await client.delete(BACKUPS, run.key, uid=meta.uid, resource_version=meta.resource_version):
        recorder.event(BACKUPS, run.backup, "Normal", "Expired", f"{ttl} s after its end the object is deleted")
    return Done()
