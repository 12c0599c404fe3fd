"""What wakes the reconciler of datacenters, and what it reads."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from controller.controller import Controller
from controller.resource import Key
from controller.triggers import only_when, to_mapped, to_self
from reconcilers import labels
from reconcilers.api.datacenter import DATACENTERS
from reconcilers.datacenter.reconciler import DataCenterReconciler
from reconcilers.datacenter.stores import Stores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from controller.client import Client
    from controller.clock import Clock
    from controller.informer import Informer
    from controller.objects import HasMetadata, RawObject
    from controller.recorder import Recorder
    from controller.triggers import Trigger
    from reconcilers.api.backup import CassandraBackup
    from reconcilers.api.datacenter import CassandraDataCenter
    from reconcilers.api.restore import CassandraRestore
    from reconcilers.datacenter.nodes import NodeInfo
    from reconcilers.datacenter.verdict import Verdict
    from reconcilers.identity import MasterKey

NAME = "datacenter"
# Enough for the informers of children: every one of them carries it. A restore's plan must, too.
CHILD_SELECTOR = f"{labels.OPERATOR}={labels.OPERATOR_VALUE}"
_PLAN_SUFFIX = labels.restore_plan("")


@dataclass(frozen=True, slots=True, kw_only=True)
class Informers:
    """``pods`` needs the index ``{INDEX: children_index}``, ``backups`` ``{INDEX: backups_index}`` (INDEX: stores)."""

    datacenters: Informer[CassandraDataCenter]
    statefulsets: Informer[RawObject]
    pods: Informer[RawObject]
    services: Informer[RawObject]
    configmaps: Informer[RawObject]
    service_accounts: Informer[RawObject]
    budgets: Informer[RawObject]
    restores: Informer[CassandraRestore]
    backups: Informer[CassandraBackup]

    def stores(self) -> Stores:
        return Stores(**{field.name: getattr(self, field.name).store for field in fields(self)})


def children_index(obj: HasMetadata) -> Iterable[str]:
    return map(str, _by_label(obj))


def backups_index(backup: CassandraBackup) -> Iterable[str]:
    return map(str, _by_backup(backup))


def datacenter_controller(
    *,
    client: Client,
    informers: Informers,
    recorder: Recorder,
    clock: Clock,
    master: MasterKey,
    agents: NodeInfo | None = None,
    findings: Callable[[CassandraDataCenter], Iterable[Verdict]] = lambda _: (),
    **options: Any,
) -> Controller:
    """``findings`` are conditions that others decide; ``options`` are Controller's own: workers, timeout, backoff."""
    reconciler = DataCenterReconciler(
        client=client, stores=informers.stores(), recorder=recorder, clock=clock, master=master, agents=agents,
        findings=findings,
    )  # fmt: skip
    controller = Controller(NAME, reconciler, clock=clock, **options)
    controller.watches(informers.datacenters, to_self())
    for children in (
        informers.statefulsets,
        informers.pods,
        informers.services,
        informers.configmaps,
        informers.service_accounts,
        informers.budgets,
    ):
        controller.watches(children, to_mapped(_by_child))
    controller.watches(informers.restores, to_mapped(_by_restore))
    # progress of a backup is its own affair
    ended: Callable[[Trigger[CassandraBackup]], Trigger[CassandraBackup]] = only_when(_phase_changed)
    return controller.watches(informers.backups, ended(to_mapped(_by_backup)))


def _by_child(obj: HasMetadata) -> Iterable[Key]:
    """By its label, or where somebody took that away, by its owner; a restore's plan by its name."""
    namespace = obj.metadata.namespace
    for owner in obj.metadata.owner_references:
        if owner.controller and owner.kind == DATACENTERS.kind:
            yield Key(namespace, owner.name)
    if obj.metadata.name.endswith(_PLAN_SUFFIX):
        yield Key(namespace, obj.metadata.name.removesuffix(_PLAN_SUFFIX))
    yield from _by_label(obj)


def _by_label(obj: HasMetadata) -> Iterable[Key]:
    name = obj.metadata.labels.get(labels.DATACENTER)
    return [Key(obj.metadata.namespace, name)] if name else []


def _by_restore(restore: CassandraRestore) -> Iterable[Key]:
    return [Key(restore.metadata.namespace, restore.spec.datacenter)]


def _by_backup(backup: CassandraBackup) -> Iterable[Key]:
    return [Key(backup.metadata.namespace, covered.name) for covered in backup.status.datacenters]


def _phase_changed(old: CassandraBackup | None, new: CassandraBackup | None) -> bool:
    return old is None or new is None or (old.status.phase, old.good) != (new.status.phase, new.good)
