"""Which source node's data each pod of the new datacenter gets: pure, by rack and ordinal.

Same topology only: a node's data belongs to its tokens, and tokens belong to a rack. So racks must have the same names
and the same number of nodes; what differs is named, with the remedy.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from agent.protocol import RecordedNode


class TopologyMismatch(Exception):  # noqa: N818  says what is wrong, as the tree in controller/errors.py
    """The backup does not fit; the text says why and what to change."""


@dataclass(frozen=True, slots=True)
class Pair:
    """``pod`` gets what ``source`` had."""

    pod: str
    rack: str
    source: RecordedNode


def ordinal(pod: str) -> int:
    """``cassandra-foo-2`` is 2: a StatefulSet's pods end in their ordinal."""
    number = pod.rpartition("-")[2]
    return int(number) if number.isdecimal() else 0


def assign(sources: Iterable[RecordedNode], targets: Mapping[str, Sequence[str]]) -> list[Pair]:
    """Pair the n-th source of each rack with the n-th pod of the rack of that name. TopologyMismatch where it cannot.

    ``targets`` is rack -> its pods in ordinal order.
    """
    by_rack: dict[str, list[RecordedNode]] = defaultdict(list)
    for source in sources:
        by_rack[source.rack].append(source)
    _check(by_rack, targets)
    return [
        Pair(pod, rack, source)
        for rack, pods in targets.items()
        for pod, source in zip(pods, sorted(by_rack[rack], key=lambda n: (ordinal(n.node), n.node)), strict=True)
    ]


def _check(sources: Mapping[str, Sequence[RecordedNode]], targets: Mapping[str, Sequence[str]]) -> None:
    have, want = sum(map(len, sources.values())), sum(map(len, targets.values()))
    if have != want:
        raise TopologyMismatch(
            f"the backup holds {_nodes(have)} and the datacenter has replicas: {want}; set replicas to {have}"
        )
    wrong = sorted(rack for rack in {*sources, *targets} if len(sources.get(rack, ())) != len(targets.get(rack, ())))
    if wrong:
        said = "; ".join(
            f"rack {rack} has {_nodes(len(sources.get(rack, ())))} in the backup and {len(targets.get(rack, ()))} here"
            for rack in wrong
        )
        raise TopologyMismatch(f"{said}: give the datacenter the racks that the backup has")


def _nodes(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes"
