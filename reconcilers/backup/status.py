"""What is said of a backup: pure functions from nodes and operations to the status."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from controller.clock import parse_rfc3339
from controller.conditions import Condition, set_condition
from reconcilers.api.backup_status import BackupNode, BackupPhase, BackupStatus, BackupTotals

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable

    from controller.conditions import Truth
    from reconcilers.operations import View

ABORTING = "Aborting"  # reason of the condition Running: what is half done is being undone, then the backup ends

# The node phases; a node goes down this list, and at any place to Failed or Cancelled. Uploaded and Verifying are of
# backups that are read back.
PENDING, SNAPSHOTTING, SNAPSHOTTED, UPLOADING, UPLOADED, VERIFYING, COMPLETED = (
    "Pending", "Snapshotting", "Snapshotted", "Uploading", "Uploaded", "Verifying", "Completed",
)  # fmt: skip
FAILED, CANCELLED = "Failed", "Cancelled"


def condition(
    status: BackupStatus, type_: str, truth: Truth, reason: str, message: str, *, now: dt.datetime, generation: int
) -> None:
    new = Condition(type=type_, status=truth, reason=reason, message=message, observed_generation=generation)
    status.conditions = set_condition(status.conditions, new, now)


def observe(node: BackupNode, view: View) -> None:
    """Take over what the agent says of its operation."""
    operation = view.operation
    if operation is None:
        return
    node.operation_id = operation.id
    node.agent_session = operation.session
    node.last_progress_time = max(node.last_progress_time, view.moved_at)
    progress = operation.progress
    node.bytes_per_second = int(progress.rate)
    if node.phase == VERIFYING:  # what was sent stays what it is
        node.progress = f"{percent(progress.bytes_done, progress.bytes)}%"
    elif progress.bytes:  # a phase that moves no bytes says nothing of them
        node.files, node.bytes_total = progress.files, progress.bytes
        node.bytes_done, node.bytes_reused = progress.bytes_done, progress.bytes_reused
        node.progress = f"{percent(node.bytes_done, node.bytes_total)}%"


def summarize(status: BackupStatus) -> None:
    """Totals, progress and the columns, from the nodes alone."""
    nodes = status.nodes
    done = [n for n in nodes if n.phase == COMPLETED]
    held = done if status.phase == BackupPhase.PARTIALLY_COMPLETED else nodes
    total, sent = sum(n.bytes_total for n in held), sum(n.bytes_done for n in held)
    reused = sum(n.bytes_reused for n in held)
    status.totals = BackupTotals(
        nodes=len(nodes),
        completed=len(done),
        failed=sum(1 for n in nodes if n.phase == FAILED),
        files=sum(n.files for n in held),
        bytes=total,
        bytes_uploaded=max(0, sent - reused),
        bytes_reused=reused,
    )
    status.nodes_completed = f"{len(done)}/{len(nodes)}" if nodes else ""
    status.size = human(total) if total else ""
    if status.phase in (BackupPhase.COMPLETED, BackupPhase.PARTIALLY_COMPLETED):
        status.progress_percent = 100
    elif nodes:
        known = all(n.bytes_total or n.phase in (COMPLETED, FAILED) for n in nodes)
        status.progress_percent = min(99, percent(sent, total)) if known and total else 0
    status.progress = f"{status.progress_percent}%" if nodes else ""
    _hurry(status)
    for datacenter in status.datacenters:
        datacenter.phase = status.phase


def _hurry(status: BackupStatus) -> None:
    """Rate and time left, while bytes flow. Nobody knows the time while a node does not know its bytes."""
    for node in status.nodes:
        if node.phase not in (UPLOADING, VERIFYING) or node.reason:
            node.bytes_per_second = 0
    rate = sum(n.bytes_per_second for n in status.nodes)
    status.rate = f"{human(rate)}/s" if rate else ""
    waiting = [n for n in status.nodes if n.phase in (SNAPSHOTTED, UPLOADING)]
    left = sum(n.bytes_total - n.bytes_done for n in waiting)
    known = bool(waiting) and all(n.bytes_total for n in waiting)
    status.time_left = span(left // rate) if rate and known and status.phase == BackupPhase.UPLOADING else ""


def percent(done: int, total: int) -> int:
    return min(100, done * 100 // total) if total > 0 else 0


def human(size: int) -> str:
    """1536 → 1.5KiB."""
    value, unit = float(size), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB", "PiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.0f}{unit}" if unit == "B" or value >= 100 else f"{value:.1f}{unit}"


def duration(start: str, end: dt.datetime) -> str:
    """3m20s, as Go prints it and kubectl users read it."""
    if not start:
        return ""
    return span(max(0, int((end - parse_rfc3339(start)).total_seconds())))


def span(seconds: int) -> str:
    hours, rest = divmod(seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    return "".join([f"{hours}h" if hours else "", f"{minutes}m" if hours or minutes else "", f"{seconds}s"])


def moment(text: str) -> dt.datetime | None:
    return parse_rfc3339(text) if text else None


def urgent(old: BackupStatus, new: BackupStatus) -> bool:
    """Whether the change is worth a write at once: the run's own state, or that of a tenth of the nodes.

    Counters never are. A thousand nodes that end one by one would else write a large object a thousand times.
    """
    if _head(old) != _head(new) or len(old.nodes) != len(new.nodes):
        return True
    changed = sum(_state(a) != _state(b) for a, b in zip(old.nodes, new.nodes, strict=True))
    return changed * 10 >= len(new.nodes) > 0 and changed > 0


def _head(status: BackupStatus) -> object:
    return msgspec.structs.replace(
        status,
        nodes=[],
        totals=None,
        progress="",
        progress_percent=0,
        rate="",
        time_left="",
        size="",
        nodes_completed="",
        operator_session="",
    )


def _state(node: BackupNode) -> object:
    return msgspec.structs.replace(
        node,
        progress="",
        files=0,
        bytes_total=0,
        bytes_done=0,
        bytes_reused=0,
        bytes_per_second=0,
        last_progress_time="",
    )


def outcome(status: BackupStatus) -> str:
    """What there is in the end."""
    lost, count = sum(n.phase == FAILED for n in status.nodes), len(status.nodes)
    have = f"{count - lost} of {count}" if lost else f"{count}"
    without = f"; without {failed_nodes(status.nodes)}" if lost else ""
    return f"{have} nodes, {status.size}, in {status.location}{without}"


def failed_nodes(nodes: Iterable[BackupNode]) -> str:
    """``pod: message`` of each failed node, the first few of many."""
    failed = [f"{n.pod}: {n.message}" for n in nodes if n.phase == FAILED]
    shown = "; ".join(failed[:3])
    return f"{shown}; and {len(failed) - 3} more" if len(failed) > 3 else shown
