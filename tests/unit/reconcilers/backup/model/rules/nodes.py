"""A node is given up only for what is true of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.protocol import Kind, State
from reconcilers.backup import status as said
from tests.fakes.agents import THROTTLED

if TYPE_CHECKING:
    from reconcilers.api.backup import CassandraBackup
    from reconcilers.api.backup_status import BackupNode
    from tests.unit.reconcilers.backup.model.invariants import Invariants
    from tests.unit.reconcilers.backup.model.rules.status import Change

_SILENCE = ("NoProgress", "AgentUnreachable")
_HEARD = 30.0  # seconds: an operator that was refused asks again before


def _work_of(was: BackupNode, backup: CassandraBackup) -> str:
    """How the ids begin of what the node was at."""
    kind = Kind.SNAPSHOT
    if backup.status.snapshot_time:
        kind = Kind.VERIFY if was.phase in (said.UPLOADED, said.VERIFYING) else Kind.BACKUP
    return f"{backup.metadata.uid}.{kind}."


def a_failed_node_had_its_time(of: Invariants, old: CassandraBackup, new: CassandraBackup) -> str | None:
    """No progress is said of an agent only where it made none: its operator may have been away."""
    for was, node in zip(old.status.nodes, new.status.nodes, strict=False):
        if node.reason != "NoProgress" or was.phase == said.FAILED or of.world.answers_since(node.pod) < _HEARD:
            continue
        running = of.world.agents[node.pod].journal.get(f"{_work_of(was, old)}{node.attempts}")
        if running is None:
            continue
        operation = running.operation
        ago = of.world.clock.monotonic() - of.world.since(operation.last_progress_at)
        if ago < new.spec.node_progress_deadline_seconds - 1 or operation.state is State.SUCCEEDED:
            return f"{node.message} at {node.pod}, where {operation.id} is {operation.state}"
    return None


def a_silent_node_was_silent(of: Invariants, old: CassandraBackup, new: CassandraBackup) -> str | None:
    """Who answers is asked where it is, and is not given up without being asked."""
    both = zip(old.status.nodes, new.status.nodes, strict=False)
    lost = {now.pod for was, now in both if was.phase != now.phase == said.FAILED and now.reason in _SILENCE}
    decided = of.aborting_since(old) is None and of.aborting_since(new) is not None
    if decided and new.status.reason == "AgentUnreachable":
        lost.add(new.status.message.partition(":")[0])
    for pod in sorted(lost):
        mine = [o.operation for agent, o in of.work(new.metadata.uid) if agent.pod == pod]
        if of.world.answers_since(pod) > _HEARD and all(o.state.final for o in mine):
            return f"{pod} is given up as silent, and it answers"
    return None


def a_failed_node_had_its_tries(of: Invariants, old: CassandraBackup, new: CassandraBackup) -> str | None:
    """Of what may be tried again; a restart of the agent counts as a try."""
    for was, node in zip(old.status.nodes, new.status.nodes, strict=False):
        if node.phase != said.FAILED or was.phase == said.FAILED or node.reason != THROTTLED.reason:
            continue
        agent, mine = of.world.agents[node.pod], _work_of(was, old)
        tries = sum(n for one, n in agent.executed.items() if one.startswith(mine))
        tries += sum(other.operation.attempts - 1 for one, other in agent.journal.items() if one.startswith(mine))
        if tries <= new.spec.retries:
            return f"{node.pod} is given up after {tries} tries, with {new.spec.retries} retries"
    return None


ON_STATUS: list[Change] = [a_failed_node_had_its_time, a_silent_node_was_silent, a_failed_node_had_its_tries]
