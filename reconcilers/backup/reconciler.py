"""Drives a CassandraBackup: Pending → Queued → Snapshotting → Uploading → Finalizing → an end that is never left.

The truth is in the status, in the agents' journals and in the bucket. Each step looks at those and either says what to
wait for, or lets the next step run; so it does not matter how often it runs, or which operator runs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from controller import finalizer
from controller.clock import rfc3339
from controller.reconcile import Done, RequeueAfter
from controller.resource import Key
from reconcilers import labels
from reconcilers.api.backup import BACKUPS, CassandraBackup, DeletionPolicy
from reconcilers.api.backup_status import BackupPhase
from reconcilers.api.unsupported import unsupported
from reconcilers.backup import lock, partial, ttl, verify
from reconcilers.backup import status as said
from reconcilers.backup.delete import left_something
from reconcilers.backup.policy import overdue
from reconcilers.backup.run import Run
from reconcilers.backup.turns import Turns
from reconcilers.status_writer import SLOT, StatusWriter
from reconcilers.words import some

if TYPE_CHECKING:
    from controller.client import Client
    from controller.clock import Clock
    from controller.reconcile import Outcome
    from controller.recorder import Recorder
    from controller.store import Store
    from reconcilers.api.restore import CassandraRestore
    from reconcilers.backup.delete import Deletion
    from reconcilers.backup.importing import Importer
    from reconcilers.backup.nodes import Nodes
    from reconcilers.backup.select import Selector
    from reconcilers.backup.sightings import Sightings

# Nothing of a phase begins before the phase is in the status: what is to be undone is found by it.
_WRITE_FIRST = RequeueAfter(0, "the phase is written first")
_RELEASED_AFTER = 3600  # seconds after its end: older ones are not looked at again when an operator starts
_LOOK_AGAIN = 5.0  # counters and deadlines are looked at this often; nothing is written unless something changed


class BackupReconciler:
    """The only writer of a CassandraBackup's status."""

    def __init__(
        self,
        *,
        client: Client,
        backups: Store[CassandraBackup],
        restores: Store[CassandraRestore],
        selector: Selector,
        nodes: Nodes,
        deletion: Deletion,
        importer: Importer,
        sightings: Sightings,
        recorder: Recorder,
        clock: Clock,
        session: str,
    ) -> None:
        self._client = client
        self._backups = backups
        self._turns = Turns(client=client, backups=backups, restores=restores)
        self._selector = selector
        self._nodes = nodes
        self._deletion = deletion
        self._importer = importer
        self._sightings = sightings
        self._released: dict[Key, str] = {}  # the UID of a backup that holds no lease
        self._let_go: dict[Key, str] = {}  # likewise of one that was deleted: the store may show it a moment longer
        self._recorder = recorder
        self._clock = clock
        self._session = session
        self._status = StatusWriter(
            BACKUPS, CassandraBackup, client=client, store=backups, recorder=recorder, clock=clock
        )

    async def reconcile(self, key: Key) -> Outcome:
        backup = self._status.current(key)
        if backup is None:
            self._forget(key)
            self._sightings.forget(key)
            self._released.pop(key, None)
            self._let_go.pop(key, None)
            return Done()
        if self._let_go.get(key) == backup.metadata.uid:
            return Done()
        run = Run(backup, self._clock.now())
        if run.ended or (backup.metadata.deletion_timestamp and not run.status.nodes):
            return await self._settle(run)
        if backup.metadata.deletion_timestamp and not run.aborting:
            run.abort("Deleted", "the object was deleted while the backup ran")
        outcome = await (self._importer.advance(run) if run.spec.import_existing else self._advance(run))
        return await self._save(run, outcome)

    async def _advance(self, run: Run) -> Outcome:
        steps = (
            self._accept, self._stop, self._select, self._enqueue,
            self._probe, self._snapshot, self._upload, self._verify, self._commit,
        )  # fmt: skip
        for step in steps:
            if (outcome := await step(run)) is not None:
                return outcome
        return Done()

    async def _accept(self, run: Run) -> Outcome | None:
        refusals = unsupported(run.spec)
        if refusals and not run.status.nodes:
            message = "; ".join(refusals)
            run.refuse("FieldNotSupported", message)
            return Done()
        return None

    async def _stop(self, run: Run) -> Outcome | None:
        """Cancelled, too late, or already on the way out."""
        status, spec = run.status, run.spec
        started = bool(status.start_time)
        if not run.aborting:
            if spec.cancel:
                run.abort("Cancelled", "cancelled by spec.cancel")
            elif started and overdue(said.moment(status.start_time), spec.active_deadline_seconds, run.now):
                run.abort(
                    "DeadlineExceeded", f"the backup did not end within {spec.active_deadline_seconds} s: {_where(run)}"
                )
            elif not started and overdue(run.created, spec.starting_deadline_seconds, run.now):
                why = status.message or "it was queued"
                run.abort(
                    "DeadlineExceeded", f"the backup did not start within {spec.starting_deadline_seconds} s: {why}"
                )
        if not run.aborting:
            return None
        if started and not run.decided:
            return _WRITE_FIRST  # what is cancelled before would look as if it were the reason
        left = self._nodes.uncleared(run) if started else {}
        if not all(left.values()):
            return RequeueAfter(_LOOK_AGAIN, "clearing snapshots")
        if left:
            status.message += f"; the snapshot may still stand on {some([*left])}: their agents clear it within a day"
        ended_on_purpose = status.reason in ("Cancelled", "Deleted")
        run.end(BackupPhase.CANCELLED if ended_on_purpose else BackupPhase.FAILED, status.reason, status.message)
        return Done()

    async def _select(self, run: Run) -> Outcome | None:
        if run.status.nodes:
            return None
        if labels.BACKUP_FINALIZER not in run.backup.metadata.finalizers:
            run.outdated = await finalizer.add(self._client, BACKUPS, run.backup, labels.BACKUP_FINALIZER)
            return Done()  # the change of the object wakes this key
        if not await self._selector.select(run):
            return Done() if run.ended else RequeueAfter(_LOOK_AGAIN, run.status.reason)
        run.status.phase = BackupPhase.QUEUED
        return _WRITE_FIRST

    async def _enqueue(self, run: Run) -> Outcome | None:
        """One run a datacenter: wait for restores and for backups that are ahead."""
        if run.status.phase != BackupPhase.QUEUED:
            return None
        if blocked := await self._turns.blocked(run):
            run.hold("Queued", blocked)
            return RequeueAfter(SLOT, "queued")
        run.status.phase = BackupPhase.SNAPSHOTTING
        run.status.start_time = rfc3339(run.now)
        run.status.queue_position = 0
        run.status.reason = run.status.message = ""
        run.say("Running", "True", "Started", "the backup has left the queue")
        return _WRITE_FIRST

    async def _probe(self, run: Run) -> Outcome | None:
        return await self._going(run, finished=self._nodes.probed(run, self._backups))

    async def _snapshot(self, run: Run) -> Outcome | None:
        if run.status.phase != BackupPhase.SNAPSHOTTING:
            return None
        if (outcome := await self._going(run, finished=self._nodes.snapshotted(run))) is not None:
            return outcome
        run.status.phase = BackupPhase.UPLOADING
        run.status.snapshot_time = rfc3339(run.now)
        kept, nodes = len(partial.going(run.status.nodes)), len(run.status.nodes)
        run.event("SnapshotTaken", f"snapshots stand on {'all ' if kept == nodes else f'{kept} of '}{nodes} nodes")
        return _WRITE_FIRST

    async def _upload(self, run: Run) -> Outcome | None:
        if run.status.phase != BackupPhase.UPLOADING:
            return None
        if (outcome := await self._going(run, finished=self._nodes.uploaded(run))) is not None:
            return outcome
        run.status.phase = BackupPhase.FINALIZING
        return _WRITE_FIRST

    async def _verify(self, run: Run) -> Outcome | None:
        return await self._going(run, finished=self._nodes.verified(run))

    async def _commit(self, run: Run) -> Outcome | None:
        """Completed means: every node's manifest is in the bucket, and the cluster record that names them."""
        if (outcome := await self._going(run, finished=self._nodes.committed(run))) is not None:
            return outcome
        lost = partial.failed(run.status.nodes)
        phase = BackupPhase.PARTIALLY_COMPLETED if lost else BackupPhase.COMPLETED
        run.status.phase = phase
        said.summarize(run.status)
        verify.conclude(run)
        run.end(phase, "Partial" if lost else "Completed", said.outcome(run.status))
        return Done()

    async def _going(self, run: Run, *, finished: bool) -> Outcome | None:
        """After a step of the nodes: the next one, or an end, or a wait."""
        if run.ended:
            return Done()
        if run.aborting:
            return await self._stop(run)
        return None if finished else RequeueAfter(_LOOK_AGAIN, run.status.phase)

    async def _settle(self, run: Run) -> Outcome:
        """Ended, or never begun: hold nothing any more, but the finalizer while there is data to be deleted with it."""
        meta, held = run.backup.metadata, labels.BACKUP_FINALIZER in run.backup.metadata.finalizers
        await self._release(run)
        keep = left_something(run.status)
        if meta.deletion_timestamp and held and keep and run.spec.deletion_policy == DeletionPolicy.DELETE:
            if (outcome := await self._deletion.advance(run)) is not None:
                return await self._status.save(
                    run.backup, run.backup.status, run.status, outcome, urgent=True, events=run.events
                )
            for type_, reason, message in run.events:
                self._recorder.event(BACKUPS, run.backup, type_, reason, message)
        self._forget(run.key)
        if keep and not meta.deletion_timestamp:
            if self._sightings.tell(run):
                return await self._tell(run)
            await finalizer.add(self._client, BACKUPS, run.backup, labels.BACKUP_FINALIZER)
        elif held:
            await finalizer.remove(self._client, BACKUPS, run.backup, labels.BACKUP_FINALIZER)
            if meta.deletion_timestamp:
                self._let_go[run.key] = run.uid
            return Done()  # the change of the object wakes this key
        return await ttl.expire(run, self._client, self._recorder)

    async def _tell(self, run: Run) -> Outcome:
        """Of the end itself nothing changes, but whether it can be restored."""
        old, new = run.backup.status, run.status
        saved = await self._status.save(run.backup, old, new, Done(), urgent=True, events=run.events)
        self._sightings.forget(run.key)
        return saved  # the change of the object wakes this key

    async def _release(self, run: Run) -> None:
        """Once in a process is enough: whoever wants the lease takes it over from a backup that ended."""
        if self._released.get(run.key) == run.uid:
            return
        if not overdue(said.moment(run.status.completion_time), _RELEASED_AFTER, run.now):
            for datacenter in run.status.datacenters:
                await lock.release(self._client, Key(run.key.namespace, datacenter.name), run.uid)
        self._nodes.forget(run.key)
        self._released[run.key] = run.uid

    async def _save(self, run: Run, outcome: Outcome) -> Outcome:
        if run.outdated:
            return outcome
        if not run.spec.import_existing:
            said.summarize(run.status)
            if run.ended:
                await self._deletion.ended(run)
        old, new = run.backup.status, run.status
        outcome = await self._status.save(
            run.backup,
            old,
            new,
            outcome,
            urgent=said.urgent(old, new),
            events=run.events,
            stamp={"operator_session": self._session},
        )
        if run.ended:
            self._nodes.forget(run.key)  # now: the watch may take its time to say so
        return outcome

    def _forget(self, key: Key) -> None:
        self._nodes.forget(key)
        self._deletion.forget(key)
        self._status.forget(key)


def _where(run: Run) -> str:
    waiting = [n.pod for n in partial.going(run.status.nodes) if n.phase != said.COMPLETED]
    return f"{run.status.phase}, waiting for {some(waiting)}"
