"""An end is true: what it says is in the bucket, and nothing is under way any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.protocol import Kind, State
from controller import builtin
from controller.conditions import get_condition
from reconcilers.api.backup_status import BackupPhase
from reconcilers.backup import partial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from reconcilers.api.backup import CassandraBackup
    from tests.fakes.agents import Running
    from tests.unit.reconcilers.backup.model.invariants import Invariants
    from tests.unit.reconcilers.backup.model.rules.status import Change
    from tests.unit.reconcilers.backup.model.rules.work import Work

    End = Callable[[Invariants], Iterator[str]]

_WORK = frozenset({Kind.SNAPSHOT, Kind.BACKUP, Kind.VERIFY, Kind.COMMIT})
_KEPT = (BackupPhase.COMPLETED, BackupPhase.PARTIALLY_COMPLETED)  # with a record in the bucket


def completed_is_whole(of: Invariants, _old: CassandraBackup, new: CassandraBackup) -> str | None:
    """Each datacenter's record is in the bucket, and names each node's manifest as the status does, or as missing."""
    status, bucket = new.status, of.world.agents.bucket
    if status.phase not in _KEPT:
        return None
    lost = partial.failed(status.nodes)
    if bool(lost) != (status.phase == BackupPhase.PARTIALLY_COMPLETED) or not partial.enough(new.spec, status.nodes):
        return f"{status.phase} with {len(lost)} of {len(status.nodes)} nodes failed"
    for datacenter in status.datacenters:
        record = bucket.records.get((datacenter.cluster_name, datacenter.datacenter_name, status.snapshot_tag))
        if record is None or record.backup_id != new.metadata.uid:
            return f"{status.phase} without a record of {datacenter.name}"
        mine = [n for n in status.nodes if n.datacenter == datacenter.name]
        wanted = {n.pod: n.digest for n in partial.going(mine)}
        written = {pod: bucket.manifests.get((status.snapshot_tag, pod)) for pod in wanted}
        missing = {n.pod for n in partial.failed(mine)}
        if not wanted == written == {n.node: n.digest for n in record.nodes}:
            return f"{status.phase} without the manifests of {datacenter.name}: {wanted}, {written}"
        if missing != {n.node for n in record.missing}:
            return f"the record of {datacenter.name} does not name {sorted(missing)} as missing"
    return None


def a_wish_to_stop_is_heard(_: Invariants, _old: CassandraBackup, new: CassandraBackup) -> str | None:
    seen = new.status.observed_generation == new.metadata.generation
    if new.spec.cancel and seen and new.status.phase in _KEPT:
        return f"its cancel was seen, and it is {new.status.phase}"
    return None


def cancelled_is_wanted(_: Invariants, _old: CassandraBackup, new: CassandraBackup) -> str | None:
    if new.status.phase != BackupPhase.CANCELLED or new.spec.cancel or new.metadata.deletion_timestamp:
        return None
    return "Cancelled, though nobody wished it"


def an_ended_backup_is_at_rest(of: Invariants, _old: CassandraBackup, new: CassandraBackup) -> str | None:
    if not new.ended or new.status.phase == BackupPhase.DELETING:
        return None
    for agent, running in of.work(new.metadata.uid):
        operation = running.operation
        if operation.kind is Kind.COMMIT and new.status.phase in _KEPT:
            continue  # another agent's was seen first: it finds the record, and leaves it
        if operation.kind in _WORK and not operation.state.final and of.within_reach(new, agent.pod):
            return f"ended while {operation.id} runs at {agent.pod}"
    return None


def an_end_is_said(_: Invariants, _old: CassandraBackup, new: CassandraBackup) -> str | None:
    if not new.ended:
        return None
    if new.status.phase == BackupPhase.DELETING:
        return None
    complete = get_condition(new.status.conditions, "Complete")
    right = complete is not None and (complete.status == "True") == (new.status.phase == BackupPhase.COMPLETED)
    return None if right and new.status.completion_time and new.status.reason else "its end is not said as it should be"


def no_record_after_another_end(of: Invariants, backup: CassandraBackup, running: Running) -> str | None:
    operation = running.operation
    if operation.kind is not Kind.COMMIT or operation.state is not State.SUCCEEDED or not backup.ended:
        return None
    wrong = backup.status.phase not in _KEPT and of.within_reach(backup, running.agent.pod)
    return f"a record is written, and the backup has ended: {backup.status.phase}" if wrong else None


def nothing_is_left_on_an_agent(of: Invariants) -> Iterator[str]:
    """But for what a wedged operation holds, which may be that of a backup whose object is gone: ``nothing_runs``."""
    for agent in of.world.agents:
        held = {running.spec["tag"] for running in agent.journal.values() if _holds_its_snapshot(running)}
        for tag in sorted(agent.snapshots - held):
            owners = [b for b in of.world.backups() if b.status.snapshot_tag == tag and b.status.start_time]
            if owners and all(of.within_reach(b, agent.pod) for b in owners):
                yield f"the snapshot {tag} is left on {agent.pod}"


def _holds_its_snapshot(running: Running) -> bool:
    return running.operation.kind is Kind.BACKUP and not running.operation.state.final


def nothing_runs(of: Invariants) -> Iterator[str]:
    for backup in of.world.backups():
        if problem := an_ended_backup_is_at_rest(of, backup, backup):
            yield f"backup {backup.metadata.name}: {problem}"


def nothing_is_held(of: Invariants) -> Iterator[str]:
    """An old leader may have taken it once more for a backup that ended meanwhile: who comes next replaces that one."""
    for lease in of.world.found(builtin.LEASES):
        if of.world.overlapped and lease["spec"]["holderIdentity"] not in {
            b.metadata.uid for b in of.world.backups() if not b.ended
        }:
            continue
        yield f"a Lease is left: {lease['metadata']['name']} of {lease['spec']['holderIdentity']}"


def an_operators_troubles_fail_no_backup(of: Invariants) -> Iterator[str]:
    """Nor those of the API server: where nothing else happened, all end well, or too late."""
    for backup in of.world.backups():
        status, short = backup.status, backup.spec.node_progress_deadline_seconds < 60
        fair = status.phase == BackupPhase.COMPLETED or status.reason in ("DeadlineExceeded", "SnapshotTagExists")
        if not (fair or of.world.hurt or short or backup.metadata.deletion_timestamp):
            yield f"backup {backup.metadata.name} is {status.phase}, {status.reason}: {status.message}"


ON_STATUS: list[Change] = [
    completed_is_whole, a_wish_to_stop_is_heard, cancelled_is_wanted, an_ended_backup_is_at_rest, an_end_is_said,
]  # fmt: skip
ON_OVER: list[Work] = [no_record_after_another_end]
AT_THE_END: list[End] = [
    nothing_is_left_on_an_agent, nothing_runs, nothing_is_held, an_operators_troubles_fail_no_backup,
]  # fmt: skip
