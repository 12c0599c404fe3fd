"""What wakes the reconciler of restores, and what it reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from controller.controller import Controller
from controller.resource import Key
from controller.triggers import to_mapped, to_owner, to_self
from reconcilers import labels
from reconcilers.api.restore import FINAL_PHASES, RESTORES
from reconcilers.inspector import Inspectors
from reconcilers.restore.nodes import Nodes
from reconcilers.restore.reconciler import RestoreReconciler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from controller.client import Client
    from controller.clock import Clock
    from controller.informer import Informer
    from controller.objects import HasMetadata, RawObject
    from controller.recorder import Recorder
    from reconcilers.agents import Agents
    from reconcilers.api.backup import CassandraBackup
    from reconcilers.api.datacenter import CassandraDataCenter
    from reconcilers.api.restore import CassandraRestore
    from reconcilers.operations import Operations

NAME = "restore"


def restore_controller(
    *,
    client: Client,
    restores: Informer[CassandraRestore],
    backups: Informer[CassandraBackup],
    datacenters: Informer[CassandraDataCenter],
    statefulsets: Informer[RawObject],
    config_maps: Informer[RawObject],
    pod_informer: Informer[RawObject],
    inspectors: Informer[RawObject],
    agents: Agents,
    operations: Operations,
    recorder: Recorder,
    clock: Clock,
    **options: Any,
) -> Controller:
    """``options`` are Controller's own: workers, timeout, backoff."""
    reconciler = RestoreReconciler(
        client=client,
        restores=restores.store,
        backups=backups.store,
        datacenters=datacenters.store,
        statefulsets=statefulsets.store,
        config_maps=config_maps.store,
        inspectors=Inspectors(client=client, store=inspectors.store),
        agents=agents,
        nodes=Nodes(
            operations=operations,
            agents=agents,
            pod_store=pod_informer.store,
            wake=lambda key: controller.queue.add(key, reason="agent"),
        ),
        recorder=recorder,
        clock=clock,
    )
    controller = Controller(NAME, reconciler, clock=clock, **options)

    def concerned(wanted: Callable[[CassandraRestore], bool]) -> Iterable[Key]:
        for restore in restores.store.all():
            if restore.status.phase not in FINAL_PHASES and wanted(restore):
                yield Key(restore.metadata.namespace, restore.metadata.name)

    def by_backup(backup: CassandraBackup) -> Iterable[Key]:
        name, namespace = backup.metadata.name, backup.metadata.namespace
        return concerned(
            lambda r: r.metadata.namespace == namespace and r.spec.backup is not None and r.spec.backup.name == name
        )

    def by_datacenter(name: str, namespace: str) -> Iterable[Key]:
        return concerned(lambda r: r.metadata.namespace == namespace and r.spec.datacenter == name)

    def by_pod(pod: HasMetadata) -> Iterable[Key]:
        return by_datacenter(pod.metadata.labels.get(labels.DATACENTER, ""), pod.metadata.namespace)

    controller.watches(restores, to_self())
    controller.watches(backups, to_mapped(by_backup))
    controller.watches(datacenters, to_mapped(lambda d: by_datacenter(d.metadata.name, d.metadata.namespace)))
    controller.watches(pod_informer, to_mapped(by_pod))
    controller.watches(inspectors, to_owner(RESTORES))
    controller.reads(statefulsets)
    return controller.reads(config_maps)
