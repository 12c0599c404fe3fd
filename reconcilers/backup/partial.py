"""How much of a backup may be missing: ``nodeFailurePolicy`` and ``minNodes``. Pure."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from controller.clock import rfc3339
from reconcilers.api.backup import NodeFailurePolicy
from reconcilers.backup import policy
from reconcilers.backup import status as said

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconcilers.api.backup import BackupSpec
    from reconcilers.api.backup_status import BackupNode
    from reconcilers.backup.run import Run

NODE_DOWN, WAS_DOWN = "NodeDown", "it was down when the backup began"
_GRACE = 60.0  # seconds after its creation that a backup waits for nodes that are down


def allowed(spec: BackupSpec) -> bool:
    return spec.node_failure_policy == NodeFailurePolicy.ALLOW_PARTIAL


def patient(run: Run) -> bool:
    """Whether to wait for all nodes: for ever where none may be missing, else for a moment."""
    grace = min(_GRACE, run.spec.starting_deadline_seconds / 2)
    return not allowed(run.spec) or (run.now - run.created).total_seconds() < grace


def least(spec: BackupSpec, total: int) -> int:
    """Fewest nodes that the backup may have, of ``total``: more than half where nothing is said.

    A share is rounded up, and no backup is of no node.
    """
    if not allowed(spec):
        return total
    match spec.min_nodes:
        case None:
            return total // 2 + 1
        case int(number):
            return max(1, number)
        case share:
            return max(1, -(-total * int(share.removesuffix("%")) // 100))


def enough(spec: BackupSpec, nodes: Sequence[BackupNode]) -> bool:
    """Whether those that have not failed are enough, with one of each datacenter among them."""
    kept = going(nodes)
    return len(kept) >= least(spec, len(nodes)) and {n.datacenter for n in kept} == {n.datacenter for n in nodes}


def going(nodes: Sequence[BackupNode]) -> list[BackupNode]:
    """All but the failed."""
    return [n for n in nodes if n.phase != said.FAILED]


def failed(nodes: Sequence[BackupNode]) -> list[BackupNode]:
    return [n for n in nodes if n.phase == said.FAILED]


def let_go(run: Run, node: BackupNode) -> bool:
    """Whether a node that was left out has had the time to be cleared: it holds up the others no longer."""
    return policy.overdue(said.moment(node.completion_time), run.spec.node_progress_deadline_seconds, run.now)


def ready_since(run: Run) -> str:
    """When the last node was done, or the last one that is left out had to be let go (RFC 3339)."""
    limit = dt.timedelta(seconds=run.spec.node_progress_deadline_seconds)
    done = [n.completion_time for n in going(run.status.nodes)]
    lost = [rfc3339(at + limit) for n in failed(run.status.nodes) if (at := said.moment(n.completion_time)) is not None]
    return max(done + lost)


def too_few(spec: BackupSpec, nodes: Sequence[BackupNode]) -> str:
    """Why the backup ends: what the nodes said, after the number that is missed where some might have been missing."""
    told = said.failed_nodes(nodes)
    if not allowed(spec):
        return told
    kept, wanted = len(going(nodes)), least(spec, len(nodes))
    if kept >= wanted:
        return f"a datacenter has no node left: {told}"
    return f"{kept} of {len(nodes)} nodes are left, and it takes {wanted}: {told}"
