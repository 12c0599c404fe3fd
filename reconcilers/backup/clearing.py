"""On the way out: what still runs on the nodes is cancelled, and their snapshots are cleared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.protocol import ClearSpec, Kind
from reconcilers.api.backup_status import BackupPhase
from reconcilers.backup import status as said
from reconcilers.backup.specs import operation_id, reads_back

if TYPE_CHECKING:
    from collections.abc import Iterable

    from reconcilers.api.backup_status import BackupNode
    from reconcilers.backup.asking import Asking
    from reconcilers.backup.run import Run


def uncleared(run: Run, asking: Asking, nodes: Iterable[BackupNode]) -> list[str]:
    """Pods on which something of this backup may still run, or its snapshot stand. A silent node is not waited for:
    its agent sweeps what no operation of its own claims.
    """
    return [node.pod for node in nodes if not _cleared(run, asking, node)]


def _cleared(run: Run, asking: Asking, node: BackupNode) -> bool:
    address = asking.address(run, node)
    if address is None or (node.phase == said.FAILED and not node.attempts):  # it was down before anything began
        return True
    started = [asking.cancel(run, address, operation_id, kind) for operation_id, kind in _perhaps_started(run, node)]
    if not all(view.done for view in started):
        return any(asking.silent(view) for view in started)
    if node.phase not in (said.COMPLETED, said.FAILED):
        node.phase, node.reason, node.message = said.CANCELLED, "", ""
    spec = ClearSpec(tag=run.status.snapshot_tag)
    view = asking.want(run, node, f"{run.uid}.clear", Kind.CLEAR_SNAPSHOTS, lambda: spec)
    return view is None or view.done or asking.silent(view)


def _perhaps_started(run: Run, node: BackupNode) -> list[tuple[str, Kind]]:
    """What may run at the node's agent. The deed comes before the status: it may be one step ahead of it."""
    tries = [node.attempts, node.attempts + 1] if node.reason else [node.attempts]
    snapshots = [(operation_id(run, Kind.SNAPSHOT, n), Kind.SNAPSHOT) for n in tries]
    backups = [(operation_id(run, Kind.BACKUP, n), Kind.BACKUP) for n in tries]
    first_backup = [(operation_id(run, Kind.BACKUP, 1), Kind.BACKUP)]
    verifies = [(operation_id(run, Kind.VERIFY, n), Kind.VERIFY) for n in tries] if reads_back(run) else []
    first_verify = [(operation_id(run, Kind.VERIFY, 1), Kind.VERIFY)] if reads_back(run) else []
    match node.phase:
        case said.PENDING:
            return [(operation_id(run, Kind.SNAPSHOT, 1), Kind.SNAPSHOT)]
        case said.SNAPSHOTTING:
            return snapshots + first_backup
        case said.SNAPSHOTTED:
            return first_backup
        case said.UPLOADING:
            return backups + first_verify
        case said.UPLOADED:
            return first_verify
        case said.VERIFYING:
            return verifies
        case said.FAILED:
            return snapshots + backups + verifies
        case said.COMPLETED if run.status.phase == BackupPhase.FINALIZING:
            return [(operation_id(run, Kind.COMMIT, n), Kind.COMMIT) for n in range(1, run.spec.retries + 2)]
        case _:
            return []
