"""What wakes the reconciler of garbage: its ConfigMaps, its helper pods, and the time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from controller.builtin import CONFIGMAPS
from controller.controller import Controller
from controller.triggers import to_owner, to_self
from reconcilers.errands import Errands
from reconcilers.garbage.reconciler import GarbageReconciler

if TYPE_CHECKING:
    from controller.client import Client
    from controller.clock import Clock
    from controller.informer import Informer
    from controller.objects import RawObject
    from controller.recorder import Recorder
    from reconcilers.api.datacenter import CassandraDataCenter
    from reconcilers.identity import MasterKey
    from reconcilers.operations import Operations

NAME = "garbage"


def garbage_controller(
    *,
    client: Client,
    config_maps: Informer[RawObject],
    datacenters: Informer[CassandraDataCenter],
    pod_informer: Informer[RawObject],
    helpers: Informer[RawObject],
    operations: Operations,
    master: MasterKey,
    recorder: Recorder,
    clock: Clock,
    grace: int,
    **options: Any,
) -> Controller:
    """``config_maps`` are those with the label ``labels.GARBAGE``; ``options`` are Controller's own."""
    errands = Errands(
        client=client, owners=CONFIGMAPS, operations=operations, pod_store=pod_informer.store, helpers=helpers.store,
        datacenters=datacenters.store, master=master, clock=clock,
        wake=lambda key: controller.queue.add(key, reason="agent"),
    )  # fmt: skip
    reconciler = GarbageReconciler(
        client=client, config_maps=config_maps.store, datacenters=datacenters.store, errands=errands,
        recorder=recorder, clock=clock, grace=grace,
    )  # fmt: skip
    controller = Controller(NAME, reconciler, clock=clock, **options)
    controller.watches(config_maps, to_self())
    controller.watches(helpers, to_owner(CONFIGMAPS))
    controller.reads(datacenters)
    return controller.reads(pod_informer)
