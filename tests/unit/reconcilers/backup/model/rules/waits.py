"""In peace every wait has its end, to the second: each rule is given since when the backup's reconciles go well."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.protocol import Kind
from controller import builtin
from reconcilers.api.backup_status import BackupPhase
from reconcilers.backup import partial
from reconcilers.backup import status as said
from tests.unit.reconcilers.backup.model.cluster import key_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconcilers.api.backup import CassandraBackup
    from reconcilers.api.backup_status import BackupNode
    from tests.unit.reconcilers.backup.model.invariants import Invariants

    Wait = Callable[[Invariants, CassandraBackup, float], str | None]

_SILENT = 30.0  # seconds after which nobody waits for an agent that does not answer
_LATE = 20.0  # seconds: what is looked at each 5 s and written each 5 s, with as much again
_PAUSE = 10.0  # seconds before the last try that the model allows
_SHARED: dict[str, Kind] = {BackupPhase.SNAPSHOTTING: Kind.PROBE, BackupPhase.FINALIZING: Kind.COMMIT}
_WORKING = (said.SNAPSHOTTING, said.UPLOADING, said.VERIFYING)


def it_starts_in_time(of: Invariants, backup: CassandraBackup, since: float) -> str | None:
    limit = of.world.since(backup.metadata.creation_timestamp) + backup.spec.starting_deadline_seconds
    if backup.status.start_time or backup.metadata.deletion_timestamp:
        return None
    return f"it may wait for its start no longer: {backup.status.message}" if _over(of, limit, since) else None


def it_runs_in_time(of: Invariants, backup: CassandraBackup, since: float) -> str | None:
    if not backup.status.start_time or of.aborting_since(backup) is not None:
        return None
    limit = of.world.since(backup.status.start_time) + backup.spec.active_deadline_seconds
    return "it may run no longer" if _over(of, limit, since) else None


def a_node_comes_forward(of: Invariants, backup: CassandraBackup, since: float) -> str | None:
    """Or is tried again, or given up. One that was only just asked has the time to answer."""
    if of.aborting_since(backup) is not None:
        return None
    limit = max(backup.spec.node_progress_deadline_seconds, _SILENT)
    for node in backup.status.nodes:
        if node.phase not in _WORKING or node.reason:
            continue
        if _over(of, of.world.since(node.last_progress_time) + limit, since + _SILENT):
            return f"{node.pod} stands still since {node.last_progress_time}"
    return None


def a_restart_is_a_try(of: Invariants, backup: CassandraBackup, since: float) -> str | None:
    """Else an agent that always dies would be tried for ever."""
    if of.aborting_since(backup) is not None or not _over(of, since):
        return None
    for node in backup.status.nodes:
        running = of.world.agents[node.pod].journal.get(node.operation_id)
        if node.phase not in _WORKING or node.reason or running is None or running.operation.state.final:
            continue
        tries = node.attempts + running.operation.attempts - 1
        if tries > backup.spec.retries + 1 and not _away(of, node):
            return f"{node.pod} is at its try {tries}, and may be tried {backup.spec.retries} times again"
    return None


def what_one_does_for_all_comes_forward(of: Invariants, backup: CassandraBackup, since: float) -> str | None:
    """The probe and the record; after those who failed had the time to be cleared, and a try its pause."""
    status, nodes = backup.status, backup.status.nodes
    kind = _SHARED.get(status.phase)
    idle = said.PENDING if kind is Kind.PROBE else said.COMPLETED
    if kind is None or of.aborting_since(backup) is not None or any(n.phase not in (idle, said.FAILED) for n in nodes):
        return None
    limit = max(backup.spec.node_progress_deadline_seconds, _SILENT)
    mine = [o.operation for _, o in of.work(backup.metadata.uid) if o.operation.kind is kind]
    moved = [*(n.completion_time for n in nodes), *(o.finished_at or o.last_progress_at for o in mine)]
    at = of.world.since(max([status.start_time, *moved]))
    pause = limit if partial.failed(nodes) else 0.0
    return f"nobody comes forward with the {kind}" if _over(of, at + limit + pause + _PAUSE, since + _SILENT) else None


def an_end_comes_in_time(of: Invariants, backup: CassandraBackup, since: float) -> str | None:
    """What is cancelled has the time of a node without progress, and so has the clear after it."""
    aborting = of.aborting_since(backup)
    if aborting is None:
        return None
    limit = aborting + max(2 * backup.spec.node_progress_deadline_seconds, _SILENT)
    return f"its end takes too long: {backup.status.message}" if _over(of, limit, since + _SILENT) else None


def silence_holds_up_no_end(of: Invariants, backup: CassandraBackup, since: float) -> str | None:
    aborting = of.aborting_since(backup)
    if aborting is None:
        return None
    cleared = _cleared(of, backup, backup.status.nodes)
    if cleared is None or not _over(of, max(aborting, cleared) + _SILENT, since + _SILENT):
        return None
    return "nothing but silent nodes holds up its end"


def silence_holds_up_no_record(of: Invariants, backup: CassandraBackup, since: float) -> str | None:
    """Of a backup without the nodes that are silent."""
    nodes = backup.status.nodes
    kept = partial.going(nodes)
    if of.aborting_since(backup) is not None or backup.status.phase != BackupPhase.FINALIZING:
        return None
    if any(n.phase != said.COMPLETED or _away(of, n) for n in kept):
        return None
    cleared = _cleared(of, backup, partial.failed(nodes))
    if cleared is None or any(o.operation.kind is Kind.COMMIT for _, o in of.work(backup.metadata.uid)):
        return None
    ready = max(cleared, *(of.world.since(n.completion_time) for n in nodes))
    return "nothing but silent nodes holds up its record" if _over(of, ready + _SILENT, since + _SILENT) else None


def _over(of: Invariants, *limits: float) -> bool:
    return of.world.clock.monotonic() > max(limits) + _LATE


def _away(of: Invariants, node: BackupNode) -> bool:
    return of.world.agents[node.pod].silent or (builtin.PODS, key_of(node.pod)) not in of.world.server.objects


def _cleared(of: Invariants, backup: CassandraBackup, nodes: list[BackupNode]) -> float | None:
    """When the last of those that answer had ended all of its work; None while one has not."""
    last = 0.0
    for node in nodes:
        if _away(of, node):
            continue
        mine = [o.operation for agent, o in of.work(backup.metadata.uid) if agent.pod == node.pod]
        if not all(o.state.final for o in mine) or not any(o.kind is Kind.CLEAR_SNAPSHOTS for o in mine):
            return None
        last = max(last, *(of.world.since(o.finished_at) for o in mine))
    return last


IN_PEACE: list[Wait] = [
    it_starts_in_time, it_runs_in_time, a_node_comes_forward, a_restart_is_a_try, what_one_does_for_all_comes_forward,
    an_end_comes_in_time, silence_holds_up_no_end, silence_holds_up_no_record,
]  # fmt: skip
