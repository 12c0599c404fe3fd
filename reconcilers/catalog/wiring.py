"""What wakes the reconciler of catalogs: the datacenter's spec, its inspector, and the time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from controller.controller import Controller
from controller.triggers import generation_or_metadata_changed, to_owner, to_self
from reconcilers.api.datacenter import DATACENTERS
from reconcilers.catalog.reconciler import CatalogReconciler
from reconcilers.inspector import Inspectors
from reconcilers.readers import Readers

if TYPE_CHECKING:
    from controller.client import Client
    from controller.clock import Clock
    from controller.informer import Informer
    from controller.objects import RawObject
    from controller.recorder import Recorder
    from reconcilers.agents import Agents
    from reconcilers.api.backup import CassandraBackup
    from reconcilers.api.datacenter import CassandraDataCenter
    from reconcilers.api.restore import CassandraRestore
    from reconcilers.backup.sightings import Sightings
    from reconcilers.catalog.said import Said

NAME = "catalog"


def catalog_controller(
    *,
    client: Client,
    datacenters: Informer[CassandraDataCenter],
    backups: Informer[CassandraBackup],
    restores: Informer[CassandraRestore],
    pod_informer: Informer[RawObject],
    inspectors: Informer[RawObject],
    agents: Agents,
    said: Said,
    sightings: Sightings,
    recorder: Recorder,
    clock: Clock,
    **options: Any,
) -> Controller:
    """``options`` are Controller's own: workers, timeout, backoff."""
    reconciler = CatalogReconciler(
        client=client,
        datacenters=datacenters.store,
        backups=backups.store,
        restores=restores.store,
        agents=agents,
        readers=Readers(pod_store=pod_informer.store, inspectors=Inspectors(client=client, store=inspectors.store)),
        said=said,
        sightings=sightings,
        recorder=recorder,
        clock=clock,
    )
    controller = Controller(NAME, reconciler, clock=clock, **options)
    controller.watches(datacenters, generation_or_metadata_changed(to_self()))
    controller.watches(inspectors, to_owner(DATACENTERS))
    controller.reads(backups)
    controller.reads(restores)
    return controller.reads(pod_informer)
