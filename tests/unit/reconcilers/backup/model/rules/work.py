"""What an agent may be asked for, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.protocol import Kind
from reconcilers import labels
from reconcilers.api.backup import Verify
from reconcilers.api.backup_status import BackupPhase
from reconcilers.backup import partial

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconcilers.api.backup import CassandraBackup
    from tests.fakes.agents import Running
    from tests.unit.reconcilers.backup.model.invariants import Invariants

    Work = Callable[[Invariants, CassandraBackup, Running], str | None]
    Stop = Callable[[Invariants, CassandraBackup, str], str | None]  # at the pod

HARMLESS = (Kind.PROBE, Kind.CLEAR_SNAPSHOTS, Kind.FORGET)  # whenever it comes to an agent, and nobody takes it back
_AFTER = (Kind.CLEAR_SNAPSHOTS, Kind.FORGET)
_PHASES = {
    Kind.PROBE: BackupPhase.SNAPSHOTTING, Kind.SNAPSHOT: BackupPhase.SNAPSHOTTING, Kind.BACKUP: BackupPhase.UPLOADING,
    Kind.VERIFY: BackupPhase.FINALIZING, Kind.COMMIT: BackupPhase.FINALIZING, Kind.FORGET: BackupPhase.DELETING,
}  # fmt: skip
_WORK = frozenset({Kind.SNAPSHOT, Kind.BACKUP, Kind.VERIFY, Kind.COMMIT})


def only_while_it_runs(of: Invariants, backup: CassandraBackup, running: Running) -> str | None:
    if backup.ended and running.operation.kind not in _AFTER:
        return f"the backup has ended, {backup.status.phase}"
    return None


def its_phase_is_written_first(of: Invariants, backup: CassandraBackup, running: Running) -> str | None:
    """What is to be undone is found by it."""
    kind, order = running.operation.kind, [*BackupPhase]
    if kind is Kind.CLEAR_SNAPSHOTS:
        return only_what_is_given_up(of, backup, running.agent.pod)
    early = order.index(BackupPhase(backup.status.phase)) < order.index(_PHASES[kind])
    return f"the phase in the status is {backup.status.phase}" if early else None


def only_what_is_selected(_: Invariants, backup: CassandraBackup, running: Running) -> str | None:
    known = running.operation.kind is Kind.FORGET or running.agent.pod in {n.pod for n in backup.status.nodes}
    if known and labels.BACKUP_FINALIZER in backup.metadata.finalizers:
        return None
    return "the selection and the finalizer are not written yet"


def only_with_the_lock(of: Invariants, backup: CassandraBackup, running: Running) -> str | None:
    leases = of.world.leases()
    held = all(leases.get(d.name) == backup.metadata.uid for d in backup.status.datacenters)
    return None if held or running.operation.kind in _AFTER else f"the Lease is held by {leases}"


def a_try_follows_a_failed_one(_: Invariants, backup: CassandraBackup, running: Running) -> str | None:
    kind, uid = running.operation.kind, backup.metadata.uid
    if kind not in _WORK:
        return None
    earlier = [
        other.operation
        for other in running.agent.journal.values()
        if other is not running and other.operation.kind is kind and other.operation.id.startswith(f"{uid}.")
    ]
    for operation in earlier:
        if operation.error is None or not operation.error.retryable:
            return f"{operation.id} has not failed so that it may be tried again: {operation.state}"
    if len(earlier) > backup.spec.retries:
        return f"{len(earlier)} tries were made before, {backup.spec.retries} retries are allowed"
    return None


def snapshots_come_first(of: Invariants, backup: CassandraBackup, running: Running) -> str | None:
    """Every node's, before the first byte is sent. One that is left out may not be written as failed by then."""
    uid = backup.metadata.uid
    if running.operation.kind is not Kind.BACKUP or partial.allowed(backup.spec):
        return None
    missing = [n.pod for n in partial.going(backup.status.nodes) if (uid, n.pod, Kind.SNAPSHOT) not in of.done]
    return f"{missing} have no snapshot yet" if missing else None


def few_upload_at_once(of: Invariants, backup: CassandraBackup, running: Running) -> str | None:
    if running.operation.kind is not Kind.BACKUP or not backup.spec.parallelism or partial.allowed(backup.spec):
        return None  # one that is left out may still be on its way to an end
    uploading = {
        agent.pod for agent, other in of.work(backup.metadata.uid)
        if other.operation.kind is Kind.BACKUP and not other.operation.state.final
    }  # fmt: skip
    return f"{sorted(uploading)} upload at once" if len(uploading) > backup.spec.parallelism else None


def a_commit_names_all(of: Invariants, backup: CassandraBackup, running: Running) -> str | None:
    """What is sent, and read back where that is wished; and as missing who is failed in the status."""
    if running.operation.kind is not Kind.COMMIT:
        return None
    spec = running.spec
    datacenter = next(d for d in backup.status.datacenters if d.cluster_name == spec["cluster"])
    nodes = [n for n in backup.status.nodes if n.datacenter == datacenter.name]
    named, missing = ({n["node"] for n in spec.get(field, [])} for field in ("nodes", "missing"))
    wanted, lost = ({n.pod for n in some} for some in (partial.going(nodes), partial.failed(nodes)))
    sent = {pod for tag, pod in of.world.agents.bucket.manifests if tag == backup.status.snapshot_tag}
    if backup.spec.verify == Verify.HASH:
        sent = {pod for pod in sent if (backup.metadata.uid, pod, Kind.VERIFY) in of.done}
    if named == wanted <= sent and missing == lost:
        return None
    return f"it names {sorted(named)} of {sorted(wanted)}; sent are {sorted(sent)}; failed are {sorted(lost)}"


# --- with each operation that is stopped


def only_what_is_given_up(of: Invariants, backup: CassandraBackup, pod: str) -> str | None:
    """In the status: what is cancelled before would look as if it were the reason."""
    failed = pod in {n.pod for n in partial.failed(backup.status.nodes)}
    written = failed or backup.ended or of.aborting_since(backup) is not None
    return None if written else "nothing in the status says that it is given up"


ON_BEGIN: list[Work] = [
    only_while_it_runs, its_phase_is_written_first, only_what_is_selected, only_with_the_lock,
    a_try_follows_a_failed_one, snapshots_come_first, few_upload_at_once, a_commit_names_all,
]  # fmt: skip
ON_STOP: list[Stop] = [only_what_is_given_up]
