"""The backup that a new datacenter starts from. Pure: says whether nodes may be made yet, and what to tell the user.

The restore reconciler does the work. A node must not start before its plan is there, since a node without a plan starts
empty; so the gate opens with the plan, and shuts again where the plan goes away before the restore has completed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from reconcilers import labels
from reconcilers.api.datacenter_status import RestoreSummary
from reconcilers.api.restore import FINAL_PHASES, RESTORES, Mode, RestorePhase
from reconcilers.datacenter import meta
from reconcilers.datacenter.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from reconcilers.api.datacenter import CassandraDataCenter
    from reconcilers.api.restore import CassandraRestore

RESTORED = "Restored"
_UNPLANNED = frozenset({"", RestorePhase.PENDING, RestorePhase.VALIDATING})
_FAILED = frozenset({RestorePhase.FAILED, RestorePhase.CANCELLED})


@dataclass(frozen=True, slots=True)
class Gate:
    """``create``: the CassandraRestore is to be made. ``discard``: the plan that is there belongs to no restore.
    ``failed``: waiting will not open this gate.
    """

    open: bool
    create: bool = False
    discard: bool = False
    failed: bool = False
    verdict: Verdict | None = None
    summary: RestoreSummary | None = None
    source_datacenter: str = ""

    @property
    def filling(self) -> bool:
        """The nodes start with a plan, and the restore has not completed."""
        return self.open and self.summary is not None and self.summary.phase != RestorePhase.COMPLETED


def choose(cdc: CassandraDataCenter, restores: Iterable[CassandraRestore]) -> CassandraRestore | None:
    """The restore that fills this datacenter: the recorded one, else the spec's, else one that a user wrote by hand
    before there was any node.
    """
    mine = {
        restore.metadata.name: restore
        for restore in restores
        if restore.metadata.namespace == cdc.metadata.namespace
        and (restore.spec.datacenter == cdc.metadata.name or restore.metadata.name == _bootstrap(cdc))
    }
    if cdc.status.restore is not None:
        return mine.get(cdc.status.restore.name)
    if _bootstrap(cdc) in mine or wanted(cdc):
        return mine.get(_bootstrap(cdc))
    by_hand = [
        restore
        for restore in mine.values()
        if restore.spec.mode == Mode.NEW_CLUSTER and restore.status.phase not in FINAL_PHASES
    ]
    return min(by_hand, key=lambda r: (r.metadata.creation_timestamp, r.metadata.name), default=None)


def gate(cdc: CassandraDataCenter, restore: CassandraRestore | None, *, planned: bool, nodes_exist: bool) -> Gate:
    """``planned``: the plan's ConfigMap is there. ``nodes_exist``: a StatefulSet is there or was."""
    recorded = cdc.status.restore
    if recorded is not None and recorded.phase == RestorePhase.COMPLETED:
        return Gate(open=True, verdict=_completed(recorded.name), summary=recorded)
    if nodes_exist and recorded is None:
        if not wanted(cdc):
            return Gate(open=True)
        message = "restore fills a new datacenter, and this one has nodes: nothing is restored; take restore away"
        return Gate(open=True, verdict=_verdict("NotEmpty", message))
    if restore is not None:
        return _follow(cdc, restore, planned=planned)
    if nodes_exist and recorded is not None:
        message = (
            f"CassandraRestore {recorded.name} was deleted before it completed, and some nodes hold a part of the "
            "data: delete this datacenter and its volumes, and create it again"
        )
        return Gate(open=False, failed=True, verdict=_verdict("RestoreLost", message), summary=recorded)
    if wanted(cdc):
        pending = _verdict("Pending", f"CassandraRestore {_bootstrap(cdc)} is to be made")
        return Gate(open=False, create=True, verdict=pending, summary=RestoreSummary(name=_bootstrap(cdc)))
    return Gate(open=not planned, discard=planned)


def wanted(cdc: CassandraDataCenter) -> bool:
    spec = cdc.spec.restore
    return bool(cdc.spec.restore_from_backup or (spec and (spec.backup or spec.source)))


def restore_object(cdc: CassandraDataCenter) -> dict[str, Any]:
    """The CassandraRestore that the spec asks for."""
    given = cdc.spec.restore
    options: dict[str, Any] = msgspec.to_builtins(given) if given else {}
    for spelling in ("backupName", "backupRef"):
        options.pop(spelling, None)
    name = cdc.spec.restore_from_backup or (given.backup if given else "")
    if name:
        options["backup"] = {"name": name}
    marks = {labels.OPERATOR: labels.OPERATOR_VALUE, labels.DATACENTER: cdc.metadata.name}
    return {
        "apiVersion": RESTORES.api_version,
        "kind": RESTORES.kind,
        "metadata": meta.metadata(cdc, labels.bootstrap_restore(cdc.metadata.name), marks),
        "spec": {"datacenter": cdc.metadata.name, **options},
    }


def _bootstrap(cdc: CassandraDataCenter) -> str:
    return labels.bootstrap_restore(cdc.metadata.name)


def _follow(cdc: CassandraDataCenter, restore: CassandraRestore, *, planned: bool) -> Gate:
    name, status = restore.metadata.name, restore.status
    owners = [owner.uid for owner in restore.metadata.owner_references if owner.controller]
    if restore.spec.datacenter != cdc.metadata.name or (owners and cdc.metadata.uid not in owners):
        message = f"CassandraRestore {name} belongs to another datacenter, or to one deleted before: delete it"
        return Gate(open=False, failed=True, verdict=_verdict("NameTaken", message))
    summary = RestoreSummary(name=name, phase=status.phase or RestorePhase.PENDING, progress=status.progress)
    source = status.source_datacenter_name
    if status.phase == RestorePhase.COMPLETED:
        return Gate(open=True, verdict=_completed(name), summary=summary, source_datacenter=source)
    if status.phase in _FAILED:
        why = f"CassandraRestore {name}: {status.message or status.phase}"
        return Gate(open=False, failed=True, verdict=_verdict(status.reason or status.phase, why), summary=summary)
    if status.phase in _UNPLANNED or not planned:
        why = f"CassandraRestore {name} is not ready for nodes: {status.message or status.phase or 'it is new'}"
        return Gate(open=False, verdict=_verdict(summary.phase, why), summary=summary, source_datacenter=source)
    why = f"CassandraRestore {name} fills the nodes"
    return Gate(open=True, verdict=_verdict("Restoring", why), summary=summary, source_datacenter=source)


def _verdict(reason: str, message: str) -> Verdict:
    return Verdict(RESTORED, "False", reason, message)


def _completed(name: str) -> Verdict:
    return Verdict(RESTORED, "True", "Completed", f"CassandraRestore {name} completed")
