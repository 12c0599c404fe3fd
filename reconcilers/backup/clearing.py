"""On the way out: what still runs on the nodes is cancelled, and their snapshots are cleared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.protocol import ClearSpec, Kind
from reconcilers.api.backup_status import BackupPhase
from reconcilers.backup import status as said
from reconcilers.backup.policy import overdue
from reconcilers.backup.specs import operation_id, reads_back

if TYPE_CHECKING:
    from collections.abc import Iterable

    from reconcilers.api.backup_status import BackupNode
    from reconcilers.backup.asking import Asking
    from reconcilers.backup.run import Run
    from reconcilers.operations import View


def uncleared(run: Run, asking: Asking, nodes: Iterable[BackupNode]) -> dict[str, bool]:
    """Pods on which something of this backup may still run, or its snapshot stand; and whether each is given up. A
    silent node is not waited for: its agent sweeps what no operation of its own claims.
    """
    views = {node.pod: _clear(run, asking, node) for node in nodes}
    left = {pod: view for pod, view in views.items() if view and not view.done and not asking.silent(view)}
    return {pod: _too_late(run, asking, view) for pod, view in left.items()}


def _too_late(run: Run, asking: Asking, view: View) -> bool:
    """The operator may have been away since the end was decided: a clear has its own time, from when it began."""
    clears = view.operation is not None and view.operation.kind is Kind.CLEAR_SNAPSHOTS
    since = [run.aborting_since, said.moment(view.moved_at) if clears else None]
    limit = run.spec.node_progress_deadline_seconds
    return asking.heard(view) and all(overdue(one, limit, run.now) for one in since if one is not None)


def _clear(run: Run, asking: Asking, node: BackupNode) -> View | None:
    """How far that is; None where no pod is."""
    address = asking.address(run, node)
    if address is None or (node.phase == said.FAILED and not node.attempts):  # it was down before anything began
        return None
    started = [asking.cancel(run, address, operation_id, kind) for operation_id, kind in _perhaps_started(run, node)]
    under_way = [view for view in started if not view.done]
    if under_way:
        return next((view for view in under_way if asking.silent(view)), under_way[0])
    if node.phase not in (said.COMPLETED, said.FAILED):
        node.phase, node.reason, node.message = said.CANCELLED, "", ""
    spec = ClearSpec(tag=run.status.snapshot_tag)
    return asking.want(run, node, f"{run.uid}.clear", Kind.CLEAR_SNAPSHOTS, lambda: spec)


def _perhaps_started(run: Run, node: BackupNode) -> list[tuple[str, Kind]]:
    """What may run at the node's agent. The deed comes before the status: it may be one step ahead of it."""
    tries = [node.attempts, node.attempts + 1] if node.reason else [node.attempts]
    snapshots = [(operation_id(run, Kind.SNAPSHOT, n), Kind.SNAPSHOT) for n in tries]
    backups = [(operation_id(run, Kind.BACKUP, n), Kind.BACKUP) for n in tries]
    first_backup = [(operation_id(run, Kind.BACKUP, 1), Kind.BACKUP)]
    verifies = [(operation_id(run, Kind.VERIFY, n), Kind.VERIFY) for n in tries] if reads_back(run) else []
    commits = [(operation_id(run, Kind.COMMIT, n), Kind.COMMIT) for n in range(1, run.spec.retries + 2)]
    commits = commits if run.status.phase == BackupPhase.FINALIZING else []
    first_verify = [(operation_id(run, Kind.VERIFY, 1), Kind.VERIFY)] if reads_back(run) else []
    match node.phase:
        case said.PENDING:
            return [(operation_id(run, Kind.SNAPSHOT, 1), Kind.SNAPSHOT)]
        case said.SNAPSHOTTING:
            return snapshots + first_backup
        case said.SNAPSHOTTED:
            return first_backup
        case said.UPLOADING:
            return backups + first_verify + commits
        case said.UPLOADED:
            return first_verify + commits
        case said.VERIFYING:
            return verifies + commits
        case said.FAILED:
            return snapshots + backups + verifies
        case said.COMPLETED:
            return commits
        case _:
            return []
