"""What becomes of a backup's data when its object is deleted with deletionPolicy Delete.

    no restore reads it ─> phase Deleting ─> forget, a datacenter after the other ─> noted as garbage ─> the object goes

Nothing blocks for ever: what cannot be done within the patience is given up, and said (``RemoteDataRetained``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import structlog

from agent.protocol import ForgetSpec, Forgotten, Kind
from controller.clock import parse_rfc3339
from controller.conditions import get_condition, is_true
from controller.reconcile import RequeueAfter
from reconcilers import locations
from reconcilers.api.backup import BACKUPS
from reconcilers.api.backup_status import BackupPhase
from reconcilers.api.restore import FINAL_PHASES as RESTORED
from reconcilers.api.restore import RESTORES, CassandraRestore
from reconcilers.backup.policy import overdue
from reconcilers.errands import QUEUED, WORKING, Errand, NotYet, Place
from reconcilers.garbage.notes import where
from reconcilers.helper import Owner
from reconcilers.mounts import NO_SECRETS, Secrets

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable

    from controller.client import Client
    from controller.reconcile import Outcome
    from controller.resource import Key
    from controller.store import Store
    from reconcilers.api.backup import CassandraBackup
    from reconcilers.api.backup_status import BackupDatacenter, BackupStatus
    from reconcilers.backup.run import Run
    from reconcilers.errands import Errands
    from reconcilers.garbage.notes import Notes

_LOOK_AGAIN = 5.0
_PATIENCE = 600  # seconds, from when it is begun
# Seconds for what passes by itself: an agent is at it, and would say if it failed; it waits an hour for the record of a
# backup that ended without one, as it might be on its way; there are many to be deleted.
_LONGER = {WORKING: 1800, "BackupRunning": 7200, QUEUED: 7200}
_FOREIGN = "SnapshotTagExists"  # what the bucket has under this name is another backup's: it is not ours to delete

_log = structlog.get_logger("backup")


class Deletion:
    def __init__(self, *, client: Client, restores: Store[CassandraRestore], errands: Errands, notes: Notes) -> None:
        self._client = client
        self._restores = restores
        self._errands = errands
        self._notes = notes
        self._begun: set[Key] = set()

    async def ended(self, run: Run) -> None:
        """Before the end is written: the collector knows what it leaves behind, and what it made a backup of."""
        if run.status.phase in _BEGUN and left_something(run.status):
            await self._notes.ended(run)

    async def advance(self, run: Run) -> Outcome | None:
        """None when it is over, one way or the other. Until then ``run.status`` says what it waits for."""
        since = _deleting_since(run)
        if run.key not in self._begun and (reader := await self._reader(run, live=since is not None)):
            reason, message = "RestoreInProgress", f"restore {reader} reads this backup: it is deleted when that ends"
            if run.status.reason != reason:
                run.event(reason, message)
            _say(run, reason, message, begun=False)
            return RequeueAfter(_LOOK_AGAIN, reason)
        if since is None:
            run.status.phase = BackupPhase.DELETING
            _say(run, "Deleting", f"{_what(run)} is being deleted", begun=True)
            return RequeueAfter(0, "Deleting")  # written first: from then on no restore begins with it
        self._begun.add(run.key)
        return await self._forget(run, since)

    def forget(self, key: Key) -> None:
        self._errands.forget(key)
        self._begun.discard(key)

    async def _forget(self, run: Run, since: dt.datetime) -> Outcome | None:
        owner = Owner(BACKUPS, run.backup.metadata)
        refused: NotYet | None = None
        collected = True
        for datacenter in run.status.datacenters:
            place = _place(run, datacenter)
            answer = await self._errands.run(owner, place, _errand(run, datacenter))
            if isinstance(answer, NotYet):
                patience = _LONGER.get(answer.reason, _PATIENCE)
                if not (answer.hopeless or answer.reason == _FOREIGN or overdue(since, patience, run.now)):
                    _say(run, answer.reason, f"{_what(run)} is being deleted: {answer.message}", begun=True)
                    return RequeueAfter(_LOOK_AGAIN, answer.reason)
                refused = refused or answer
                continue
            empty = msgspec.convert(answer, Forgotten).empty
            collected = await self._notes.forgotten(run, datacenter, empty) and collected
        for datacenter in run.status.datacenters:
            await self._errands.end(owner, _place(run, datacenter))
        if refused is not None:
            run.event("RemoteDataRetained", f"{_what(run)} stays: {refused.message}", "Warning")
        elif not collected:
            run.event("RemoteDataRetained", f"{_what(run)} is forgotten, but nobody frees its space", "Warning")
        else:
            run.event("RemoteDataDeleted", f"{_what(run)} is no backup any more: the collector frees its space")
        _log.info("remote data", backup=str(run.key), outcome=run.events[-1][1], message=run.events[-1][2])
        return None

    async def _reader(self, run: Run, *, live: bool) -> str:
        """The name of a restore that reads it. ``live``: ask the API server itself, a store may be a moment behind."""
        restores: Iterable[CassandraRestore] = self._restores.all()
        if live:
            found = await self._client.list(RESTORES, run.key.namespace)
            restores = [msgspec.convert(body, CassandraRestore) for body in found]
        return next((r.metadata.name for r in restores if reads(r, run.backup)), "")


def left_something(status: BackupStatus) -> bool:
    """Whether there may be anything of it in the bucket. Nodes are begun with only after the bucket was proved."""
    if status.storage is None:
        return False  # nobody knows where
    imported = bool(status.backup_id)
    return imported or is_true(status.conditions, "Complete") or any(n.start_time for n in status.nodes)


def namesake(run: Run, backups: Iterable[CassandraBackup]) -> str:
    """A backup of the same name in the same place that is being deleted: manifests are named by nothing but the tag."""
    place = run.status.location, run.status.snapshot_tag
    return next(
        (
            b.metadata.name
            for b in backups
            if b.status.phase == BackupPhase.DELETING and (b.status.location, b.status.snapshot_tag) == place
        ),
        "",
    )


def reads(restore: CassandraRestore, backup: CassandraBackup) -> bool:
    """Whether it is under way and takes its data from this backup, whichever way that was named."""
    meta, spec, status = restore.metadata, restore.spec, backup.status
    if meta.namespace != backup.metadata.namespace or restore.status.phase in RESTORED or meta.deletion_timestamp:
        return False
    if spec.backup is not None and spec.backup.name == backup.metadata.name:
        return True
    if status.location and (restore.status.location, restore.status.snapshot_tag) == (
        status.location, status.snapshot_tag,
    ):  # fmt: skip
        return True  # by another object of the same backup
    if spec.source is None or spec.source.snapshot_tag != status.snapshot_tag:
        return False
    return locations.uri(spec.source.backup_type, spec.source.target) == status.location


def _deleting_since(run: Run) -> dt.datetime | None:
    """In the status, so that another operator's patience is no longer than the first one's."""
    deleting = get_condition(run.status.conditions, "Deleting")
    if deleting is None or deleting.status != "True":
        return None
    return parse_rfc3339(deleting.last_transition_time)


def _say(run: Run, reason: str, message: str, *, begun: bool) -> None:
    run.status.reason, run.status.message = reason, message
    run.say("Deleting", "True" if begun else "False", reason, message)


def _what(run: Run) -> str:
    return f"backup {run.status.snapshot_tag} in {run.status.location}"


def _place(run: Run, datacenter: BackupDatacenter) -> Place:
    storage = run.status.storage
    secrets = Secrets.of(storage) if storage is not None else NO_SECRETS
    return Place(datacenter.name, datacenter.access, secrets)


def _errand(run: Run, datacenter: BackupDatacenter) -> Errand:
    spec = ForgetSpec(
        location=where(run), cluster=datacenter.cluster_name, datacenter=datacenter.datacenter_name,
        tag=run.status.snapshot_tag, backup_id=run.status.backup_id or run.uid,
    )  # fmt: skip
    return Errand(f"{run.uid}.{Kind.FORGET}.{datacenter.name}", Kind.FORGET, spec)


_BEGUN = frozenset({BackupPhase.COMPLETED, BackupPhase.FAILED, BackupPhase.CANCELLED, BackupPhase.PARTIALLY_COMPLETED})
