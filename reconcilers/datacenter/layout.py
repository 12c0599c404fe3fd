"""Where a datacenter's nodes live: racks, StatefulSets, pod names and addresses. Pure.

Names are a function of the spec alone, so a StatefulSet that somebody deleted comes back under the name that its
volumes carry. The API server holds the other half of that: no rack is ever renamed or removed, and a datacenter made
without ``racks`` gets none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconcilers import labels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconcilers.api.datacenter import CassandraDataCenter
    from reconcilers.api.datacenter import Rack as RackSpec

_PEER_ORDINALS = 3


@dataclass(frozen=True, slots=True)
class Rack:
    """One rack and the StatefulSet that runs it."""

    name: str
    statefulset: str
    spec: RackSpec | None = None

    def pod(self, ordinal: int) -> str:
        return f"{self.statefulset}-{ordinal}"


@dataclass(frozen=True, slots=True)
class Layout:
    """The racks of one datacenter, in the order of its spec, and the two names that CQL knows it by."""

    namespace: str
    datacenter: str  # the object's name
    uid: str
    racks: tuple[Rack, ...]
    cluster_name: str
    datacenter_name: str

    def address(self, pod: str) -> str:
        """The pod's name in DNS. It resolves before the pod is ready (publishNotReadyAddresses)."""
        return f"{pod}.{labels.seeds_service(self.datacenter)}.{self.namespace}.svc"

    @property
    def first_pod(self) -> str:
        """The one pod that may start a cluster of its own when no other node answers."""
        return self.racks[0].pod(0)

    @property
    def seeds(self) -> list[str]:
        return [self.address(rack.pod(0)) for rack in self.racks]

    @property
    def peers(self) -> list[str]:
        """Nodes to ask whether a cluster lives. The lowest ordinals, whether they exist or not: the list must not
        change when the datacenter is scaled, and a name that does not resolve is a node that does not answer.
        """
        return [self.address(rack.pod(ordinal)) for rack in self.racks for ordinal in range(_PEER_ORDINALS)]


def racks_of(cdc: CassandraDataCenter) -> tuple[Rack, ...]:
    name = cdc.metadata.name
    if not cdc.spec.racks:
        return (Rack(labels.DEFAULT_RACK, labels.statefulset(name, labels.DEFAULT_RACK, default=True)),)
    return tuple(Rack(rack.name, labels.statefulset(name, rack.name, default=False), rack) for rack in cdc.spec.racks)


def first_pods(cdc: CassandraDataCenter) -> dict[str, list[str]]:
    """The pods that a new datacenter will have, by rack, in the order of their ordinals: what a restore fills."""
    racks = racks_of(cdc)
    counts = fill([0] * len(racks), cdc.spec.replicas)
    return {rack.name: [rack.pod(n) for n in range(count)] for rack, count in zip(racks, counts, strict=True)}


def layout_of(cdc: CassandraDataCenter, *, cluster_name: str, datacenter_name: str) -> Layout:
    return Layout(
        namespace=cdc.metadata.namespace,
        datacenter=cdc.metadata.name,
        uid=cdc.metadata.uid,
        racks=racks_of(cdc),
        cluster_name=cluster_name,
        datacenter_name=datacenter_name,
    )


def fill(current: Sequence[int], replicas: int) -> list[int]:
    """Spreads ``replicas`` nodes over racks that hold ``current``: the emptiest first, and none ever loses one.

    >>> fill([0, 0, 0], 7)
    [3, 2, 2]
    >>> fill([3, 3, 0], 6)
    [3, 3, 0]
    """
    counts = list(current)
    for _ in range(replicas - sum(counts)):
        counts[counts.index(min(counts))] += 1
    return counts


def next_counts(current: Sequence[int], replicas: int, *, settled: bool) -> list[int]:
    """The replicas to ask of each rack's StatefulSet now.

    Cassandra lets one node join at a time. Within a rack OrderedReady sees to it, so a single rack gets its final
    number at once; over several racks the next node is asked for when all the others are ready (``settled``).
    """
    if len(current) == 1:
        return fill(current, replicas)
    if not settled:
        return list(current)
    return fill(current, min(replicas, sum(current) + 1))
