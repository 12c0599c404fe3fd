"""One node of a backup and one kind of its work: begun, tried again, done or given up, by what its agent says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from agent.protocol import Kind, NodeDigest, Verified
from controller.clock import rfc3339
from reconcilers.backup import policy, verify
from reconcilers.backup import status as said

if TYPE_CHECKING:
    from agent.protocol import Operation
    from reconcilers.api.backup_status import BackupNode
    from reconcilers.backup.run import Run
    from reconcilers.operations import View


def start(run: Run, node: BackupNode, phase: str) -> None:
    node.phase = phase
    node.attempts = 1
    node.start_time = node.start_time or rfc3339(run.now)
    node.last_progress_time = rfc3339(run.now)


def retry_due(run: Run, node: BackupNode) -> bool:
    """A node that failed and may try again carries its reason until it does."""
    last = said.moment(node.last_progress_time)
    if last is not None and (run.now - last).total_seconds() < policy.retry_delay(node.attempts):
        return False
    node.attempts += 1
    node.reason = node.message = ""
    node.last_progress_time = rfc3339(run.now)
    return True


def take(run: Run, node: BackupNode, view: View | None, finished: str) -> None:
    if view is not None:
        said.observe(node, view)
    tries = node.attempts + (policy.restarts(view) if view else 0)
    verdict = policy.judge(view, attempts=tries, retries=run.spec.retries) if view else policy.Running()
    match verdict:
        case policy.Succeeded():
            node.phase = finished
            if view is not None and view.operation is not None:
                _record(run, node, view.operation)
        case policy.TryAgain(reason, message):
            node.reason, node.message = reason, message
            node.last_progress_time = rfc3339(run.now)
            run.event("NodeRetry", f"{node.pod}: {message}", "Warning")
        case policy.GiveUp(reason, message):
            run.fail(node, reason, message)
        case policy.Running():
            limit = run.spec.node_progress_deadline_seconds
            if tries > run.spec.retries + 1:
                message = f"its agent was restarted {tries - node.attempts} times: see its log"
                run.fail(node, "AgentRestarted", message)
            elif policy.overdue(said.moment(node.last_progress_time), limit, run.now):
                silence = f": {view.silence}" if view is not None and view.silence else ""
                run.fail(node, "NoProgress", f"no progress for {limit} s{silence}")


def _record(run: Run, node: BackupNode, operation: Operation) -> None:
    if operation.kind is Kind.BACKUP:
        digest = msgspec.convert(operation.result, NodeDigest)
        node.host_id, node.digest, node.tokens = digest.host_id, digest.digest, digest.tokens
        node.files, node.bytes_total = digest.files, digest.bytes
        node.bytes_done, node.progress = digest.bytes, "100%"
        node.completion_time = rfc3339(run.now)
    elif operation.kind is Kind.VERIFY:
        node.completion_time, node.progress = rfc3339(run.now), "100%"
        verify.judge(run, node, msgspec.convert(operation.result, Verified))
