"""One pass over one datacenter: what was found, decided and refused on the way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from controller.resource import Key
from reconcilers import labels
from reconcilers.datacenter import bootstrap, layout
from reconcilers.datacenter.observed import by_ordinal, pod_state, rack_state
from reconcilers.datacenter.status import View
from reconcilers.datacenter.stores import INDEX

if TYPE_CHECKING:
    from datetime import datetime

    from controller.errors import ApiError
    from controller.objects import RawObject
    from reconcilers.api.datacenter import CassandraDataCenter
    from reconcilers.datacenter.stores import Stores


class Taken(Exception):  # noqa: N818  a finding, as the tree in controller/errors.py
    """An object under a child's name belongs to something else."""


@dataclass(slots=True)
class Run:
    """``refused`` holds what the API server will not accept however often it is asked."""

    key: Key
    view: View
    pods: list[RawObject]
    refused: list[ApiError] = field(default_factory=list)

    @property
    def cdc(self) -> CassandraDataCenter:
        return self.view.cdc


def look(key: Key, cdc: CassandraDataCenter, stores: Stores, now: datetime) -> Run:
    """Everything that is known before anything is done."""
    recorded = {rack.name: rack.replicas for rack in cdc.status.racks}
    racks = [
        (
            rack,
            rack_state(
                own(stores.statefulsets.get(Key(key.namespace, rack.statefulset)), cdc),
                recorded=recorded.get(rack.name, 0),
            ),
        )
        for rack in layout.racks_of(cdc)
    ]
    gate = bootstrap.gate(
        cdc,
        bootstrap.choose(cdc, stores.restores.all()),
        planned=stores.configmaps.get(Key(key.namespace, labels.restore_plan(key.name))) is not None,
        nodes_exist=any(state.exists or state.replicas for _, state in racks),
    )
    spec, status = cdc.spec, cdc.status
    found = layout.layout_of(
        cdc,
        cluster_name=status.cluster_name or spec.cluster_name or key.name,
        datacenter_name=status.datacenter_name or spec.datacenter_name or gate.source_datacenter or key.name,
    )
    pods = [pod for pod in stores.pods.by_index(INDEX, str(key)) if labels.RACK in pod.metadata.labels]
    order = {rack.name: place for place, (rack, _) in enumerate(racks)}
    return Run(
        key=key,
        view=View(
            cdc=cdc,
            layout=found,
            racks=racks,
            pods=by_ordinal((pod_state(pod, now) for pod in pods), order),
            gate=gate,
            nodes={node.pod: node for node in status.nodes},
        ),
        pods=pods,
    )


def own(child: RawObject | None, cdc: CassandraDataCenter) -> RawObject | None:
    """``child``, unless it belongs to something else: then there is none of ours."""
    return None if child is not None and taken(child, cdc) else child


def taken(child: RawObject, cdc: CassandraDataCenter) -> bool:
    """An object without any owner is ours by its label: it was orphaned on purpose, and is taken over."""
    owners = [owner.uid for owner in child.metadata.owner_references if owner.controller]
    if owners:
        return cdc.metadata.uid not in owners
    return child.metadata.labels.get(labels.DATACENTER) != cdc.metadata.name
