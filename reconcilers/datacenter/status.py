"""A datacenter's status, from what is wanted, what is there and what was said before. Pure.

The same view gives the same status, with nothing in it that ticks: a datacenter at rest is never written.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from controller.conditions import Condition, set_condition
from reconcilers.api.backup_status import FINAL_PHASES, RECORD_GONE, BackupPhase
from reconcilers.api.datacenter_status import (
    BackupSummary,
    DataCenterPhase,
    DataCenterStatus,
    NodeStatus,
    RackStatus,
)
from reconcilers.datacenter import meta
from reconcilers.datacenter.verdict import Verdict
from reconcilers.words import some

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from controller.conditions import Truth
    from reconcilers.api.backup import CassandraBackup
    from reconcilers.api.datacenter import CassandraDataCenter
    from reconcilers.datacenter.bootstrap import Gate
    from reconcilers.datacenter.layout import Layout, Rack
    from reconcilers.datacenter.observed import PodState, RackState

_MAX_NODES = 1000
_NAMED = 5  # pods that a message names
_TELLING = frozenset(FINAL_PHASES - {BackupPhase.CANCELLED})  # phases of backups that tell whether backups work
# Phases of a datacenter whose nodes have never all been there.
_YOUNG = frozenset({"", DataCenterPhase.CREATING, DataCenterPhase.RESTORING})
_UNDER_WAY = frozenset({DataCenterPhase.CREATING, DataCenterPhase.SCALING, DataCenterPhase.RESTORING})


@dataclass(slots=True, kw_only=True)
class View:
    """What one reconcile has found out. ``findings`` are conditions that its steps decided."""

    cdc: CassandraDataCenter
    layout: Layout
    racks: Sequence[tuple[Rack, RackState]]
    pods: Sequence[PodState]
    gate: Gate
    nodes: Mapping[str, NodeStatus] = field(default_factory=dict)
    findings: list[Verdict] = field(default_factory=list)

    @property
    def replicas(self) -> int:
        return sum(state.replicas for _, state in self.racks)

    @property
    def ready(self) -> int:
        return sum(state.ready for _, state in self.racks)

    @property
    def settled(self) -> bool:
        """Every node is up. A StatefulSet counts a pod that is being deleted as ready, so the pods are asked, too."""
        return all(state.settled for _, state in self.racks) and all(pod.ready for pod in self.pods)

    def finding(self, type_: str) -> Verdict | None:
        return next((found for found in self.findings if found.type == type_), None)


def compute(view: View, backups: Iterable[CassandraBackup], now: datetime) -> DataCenterStatus:
    before = view.cdc.status
    phase = phase_of(view)
    last = _last_backups(view.cdc.metadata.uid, backups)
    verdicts = [*_verdicts(view, phase), *_backup_verdict(last)]
    return DataCenterStatus(
        observed_generation=view.cdc.metadata.generation,
        phase=phase,
        replicas=view.replicas,
        ready_replicas=view.ready,
        updated_replicas=sum(state.updated for _, state in view.racks),
        selector=",".join(f"{key}={value}" for key, value in meta.selector(view.layout).items()),
        cluster_name=before.cluster_name,
        datacenter_name=before.datacenter_name,
        racks=[
            RackStatus(name=rack.name, replicas=state.replicas, ready=state.ready, updated=state.updated)
            for rack, state in view.racks
        ],
        nodes=_nodes(view),
        operation=before.operation,
        last_backup=last.get("BackupCompleted"),
        last_failed_backup=last.get("BackupFailed"),
        restore=view.gate.summary,
        conditions=_conditions(view, verdicts, now),
    )


def phase_of(view: View) -> DataCenterPhase:
    cdc, gate, before = view.cdc, view.gate, view.cdc.status
    if cdc.metadata.deletion_timestamp is not None:
        return DataCenterPhase.DELETING
    if gate.failed:
        return DataCenterPhase.DEGRADED
    if not gate.open or gate.filling:
        return DataCenterPhase.RESTORING
    if view.finding("SpecValid") and view.replicas == 0:
        return DataCenterPhase.DEGRADED
    if view.replicas >= cdc.spec.replicas and view.ready == view.replicas:
        return DataCenterPhase.READY if view.replicas else DataCenterPhase.STOPPED
    if before.phase in _YOUNG or (before.phase == DataCenterPhase.DEGRADED and before.replicas == 0):
        return DataCenterPhase.CREATING
    grows = view.replicas < cdc.spec.replicas or view.replicas > before.replicas
    if grows or before.phase == DataCenterPhase.SCALING:
        return DataCenterPhase.SCALING
    return DataCenterPhase.DEGRADED


def _verdicts(view: View, phase: DataCenterPhase) -> list[Verdict]:
    """In the order in which a person should read them. A finding of a step stands in place of the ordinary."""
    gate = view.gate
    ordinary = [
        _ready(view, phase),
        _available(view),
        _progressing(view, phase),
        _degraded(view, phase),
        Verdict("SpecValid", "True", "Valid", "every field is supported"),
        _requires_update(view),
        *([gate.verdict] if gate.verdict else []),
    ]
    if not view.cdc.spec.data_volume_claim:
        message = "there is no dataVolumeClaim: a node's data is lost with its pod, which is for tests only"
        ordinary.append(Verdict("Ephemeral", "True", "NoVolume", message))
    found = {finding.type: finding for finding in view.findings}
    return [found.pop(verdict.type, verdict) for verdict in ordinary] + list(found.values())


def _ready(view: View, phase: DataCenterPhase) -> Verdict:
    if phase == DataCenterPhase.READY:
        return Verdict("Ready", "True", "NodesReady", _count(view))
    return Verdict("Ready", "False", phase, _why(view))


def _available(view: View) -> Verdict:
    """Whether quorums can be reached: more than half of the nodes of every rack that has any."""
    lacking = [
        f"rack {rack.name} has {state.ready} of {state.replicas}"
        for rack, state in view.racks
        if state.replicas and state.ready * 2 <= state.replicas
    ]
    if view.replicas and not lacking:
        return Verdict("Available", "True", "QuorumReady", "more than half of the nodes of every rack are ready")
    why = "; ".join(lacking) if lacking else "there are no nodes"
    return Verdict("Available", "False", "NoQuorum", f"too few nodes are ready: {why}")


def _progressing(view: View, phase: DataCenterPhase) -> Verdict:
    if phase in _UNDER_WAY:
        return Verdict("Progressing", "True", phase, _why(view))
    if phase == DataCenterPhase.DEGRADED:
        return Verdict("Progressing", "False", "Blocked", _why(view))
    return Verdict("Progressing", "False", "Settled", "nothing is under way")


def _degraded(view: View, phase: DataCenterPhase) -> Verdict:
    trouble = _trouble(view)
    if trouble:
        return Verdict("Degraded", "True", "PodFailing", trouble)
    if phase == DataCenterPhase.DEGRADED:
        return Verdict("Degraded", "True", "NodesNotReady" if view.replicas else "Blocked", _why(view))
    return Verdict("Degraded", "False", "AsExpected", "no node fails")


def _requires_update(view: View) -> Verdict:
    wanted = {rack.name: state.update_revision for rack, state in view.racks if state.update_revision}
    behind = [pod.name for pod in view.pods if pod.revision and pod.revision != wanted.get(pod.rack, pod.revision)]
    if not behind:
        return Verdict("RequiresUpdate", "False", "UpToDate", "every pod runs the current template")
    message = (
        f"{some(behind, _NAMED)} run an older template: restart them by hand, each after the one before is ready "
        f"again, beginning with: kubectl -n {view.cdc.metadata.namespace} delete pod {behind[0]}"
    )
    return Verdict("RequiresUpdate", "True", "TemplateChanged", message)


def _why(view: View) -> str:
    """The one thing that most needs saying: a step's finding, a restore, a pod, else the count."""
    for finding in view.findings:
        if finding.type in ("SpecValid", "Degraded"):
            return finding.message
    if view.gate.verdict and (view.gate.failed or not view.gate.open):
        return view.gate.verdict.message
    trouble = _trouble(view)
    return f"{_count(view)}; {trouble}" if trouble else _count(view)


def _count(view: View) -> str:
    return f"{view.ready} of {max(view.replicas, view.cdc.spec.replicas)} nodes are ready"


def _trouble(view: View) -> str:
    return next((f"pod {pod.name}: {pod.trouble}" for pod in view.pods if pod.trouble), "")


def _nodes(view: View) -> list[NodeStatus]:
    """Every node that should be there, its pod gone for the moment or not."""
    names = [(rack.pod(n), rack.name) for rack, state in view.racks for n in range(state.replicas)]
    return [view.nodes.get(pod) or NodeStatus(pod=pod, rack=rack) for pod, rack in names[:_MAX_NODES]]


def _last_backups(uid: str, backups: Iterable[CassandraBackup]) -> dict[str, BackupSummary]:
    """The newest of each kind (``_VERDICTS``), of those that cover this very datacenter."""
    newest: dict[str, BackupSummary] = {}
    for backup in backups:
        phase = backup.status.phase
        if phase not in _TELLING or not backup.status.completion_time:
            continue
        if all(covered.uid != uid for covered in backup.status.datacenters):
            continue
        summary = BackupSummary(name=backup.metadata.name, completion_time=backup.status.completion_time)
        lost = RECORD_GONE if phase == BackupPhase.COMPLETED else "BackupFailed"
        kind = "BackupCompleted" if backup.good else lost
        if kind not in newest or _age(summary) > _age(newest[kind]):
            newest[kind] = summary
    return newest


def _age(summary: BackupSummary) -> tuple[str, str]:
    return summary.completion_time, summary.name  # RFC 3339 in UTC sorts as text


_VERDICTS: dict[str, tuple[Truth, str]] = {
    "BackupCompleted": ("True", "completed"),
    "BackupFailed": ("False", "did not complete"),
    RECORD_GONE: ("False", "completed, and the bucket does not hold it any more"),
}


def _backup_verdict(last: Mapping[str, BackupSummary]) -> list[Verdict]:
    if not last:
        return []
    kind = max(last, key=lambda one: _age(last[one]))
    truth, said = _VERDICTS[kind]
    return [Verdict("LastBackupSucceeded", truth, kind, f"backup {last[kind].name} {said}")]


def _conditions(view: View, verdicts: list[Verdict], now: datetime) -> list[Condition]:
    """In the verdicts' order; a condition that no longer applies goes."""
    before = view.cdc.status.conditions
    result = []
    for verdict in verdicts:
        condition = Condition(
            type=verdict.type,
            status=verdict.status,
            reason=verdict.reason,
            message=verdict.message,
            observed_generation=view.cdc.metadata.generation,
        )
        same = [old for old in before if old.type == verdict.type]
        result += set_condition(same, condition, now)
    return result
