"""What wakes the reconciler of backups, and what it reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from controller.controller import Controller
from controller.resource import Key
from controller.triggers import only_when, to_mapped, to_owner, to_self
from reconcilers import labels, pods
from reconcilers.api.backup import BACKUPS
from reconcilers.api.backup_status import FINAL_PHASES
from reconcilers.backup.delete import Deletion
from reconcilers.backup.importing import Importer
from reconcilers.backup.nodes import Nodes
from reconcilers.backup.reconciler import BackupReconciler
from reconcilers.backup.select import Selector
from reconcilers.backup.sightings import Sightings
from reconcilers.errands import Errands
from reconcilers.garbage.notes import Notes
from reconcilers.inspector import Inspectors
from reconcilers.readers import Readers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from controller.client import Client
    from controller.clock import Clock
    from controller.informer import Informer
    from controller.objects import HasMetadata, RawObject
    from controller.recorder import Recorder
    from controller.triggers import Trigger
    from reconcilers.agents import Agents
    from reconcilers.api.backup import CassandraBackup
    from reconcilers.api.datacenter import CassandraDataCenter
    from reconcilers.api.restore import CassandraRestore
    from reconcilers.identity import MasterKey
    from reconcilers.operations import Operations

NAME = "backup"


def backup_controller(
    *,
    client: Client,
    backups: Informer[CassandraBackup],
    datacenters: Informer[CassandraDataCenter],
    restores: Informer[CassandraRestore],
    pod_informer: Informer[RawObject],
    inspectors: Informer[RawObject],
    agents: Agents,
    operations: Operations,
    master: MasterKey,
    recorder: Recorder,
    clock: Clock,
    session: str,
    garbage_grace: int,
    sightings: Sightings | None = None,
    **options: Any,
) -> Controller:
    """``garbage_grace`` in seconds; ``sightings`` are what catalogs fill; ``options`` are Controller's own:
    workers, timeout, backoff.
    """
    errands = Errands(
        client=client, owners=BACKUPS, operations=operations, pod_store=pod_informer.store, helpers=inspectors.store,
        datacenters=datacenters.store, master=master, clock=clock,
        wake=lambda key: controller.queue.add(key, reason="agent"),
    )  # fmt: skip
    sightings = sightings or Sightings()
    sightings.wake = lambda key: controller.queue.add(key, reason="catalog")
    reconciler = BackupReconciler(
        client=client,
        backups=backups.store,
        restores=restores.store,
        selector=Selector(client=client, datacenters=datacenters.store, pod_store=pod_informer.store),
        nodes=Nodes(
            operations=operations,
            pod_store=pod_informer.store,
            wake=lambda key: controller.queue.add(key, reason="agent"),
            clock=clock,
        ),
        deletion=Deletion(client=client, restores=restores.store, errands=errands, notes=Notes(client, garbage_grace)),
        importer=Importer(
            client=client,
            datacenters=datacenters.store,
            agents=agents,
            readers=Readers(pod_store=pod_informer.store, inspectors=Inspectors(client=client, store=inspectors.store)),
        ),
        sightings=sightings,
        recorder=recorder,
        clock=clock,
        session=session,
    )
    controller = Controller(NAME, reconciler, clock=clock, **options)

    def running(obj: HasMetadata) -> Iterable[Key]:
        """Backups under way that cover the pod, or wait for it."""
        for backup in backups.store.all():
            meta, phase = backup.metadata, backup.status.phase
            if meta.namespace != obj.metadata.namespace or phase in FINAL_PHASES:
                continue
            covered = {d.name for d in backup.status.datacenters}
            if not covered or obj.metadata.labels.get(labels.DATACENTER) in covered:
                yield Key(meta.namespace, meta.name)

    controller.watches(backups, to_self())
    relevant: Callable[[Trigger[RawObject]], Trigger[RawObject]] = only_when(_matters)
    controller.watches(pod_informer, relevant(to_mapped(running)))
    controller.watches(inspectors, to_owner(BACKUPS))
    controller.reads(datacenters)
    return controller.reads(restores)


def _matters(old: RawObject | None, new: RawObject | None) -> bool:
    """A pod came, went, moved or became ready: nothing else of it concerns a backup."""
    if old is None or new is None:
        return True
    return pods.address(old) != pods.address(new) or pods.ready(old) != pods.ready(new)
