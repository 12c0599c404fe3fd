"""What is known of nodes that a backup goes without: their tokens, as the nodes that are there know the ring. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.protocol import MissingNode

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable


@dataclass(frozen=True, slots=True)
class Member:
    """A node of the ring, up or down."""

    host_id: str
    datacenter: str
    rack: str
    tokens: list[str]


def with_tokens(
    missing: Iterable[MissingNode], ring: Iterable[Member], datacenter: str, present: Collection[str]
) -> list[MissingNode]:
    """``missing`` with host ids and tokens; ``present`` are the host ids that are in the backup.

    A node whose host id nobody told is the only one of its rack that is neither in the backup nor told of; where that
    leaves a choice it stays without tokens, and those that may be it follow without a name.
    """
    left = {one.host_id: one for one in ring if one.datacenter == datacenter and one.host_id not in present}
    found, unknown = [], []
    for node in missing:
        if (member := left.pop(node.host_id, None)) is not None:
            found.append(_of(member, node.node))
        else:
            unknown.append(node)
    for node in unknown:
        rack = [one for one in left.values() if one.rack == node.rack]
        alone = sum(other.rack == node.rack for other in unknown) == 1
        if len(rack) == 1 and alone:
            found.append(_of(left.pop(rack[0].host_id), node.node))
        else:
            found.append(node)
    return sorted([*found, *(_of(one, "") for one in left.values())], key=lambda one: (not one.node, one.node))


def _of(member: Member, name: str) -> MissingNode:
    return MissingNode(node=name, rack=member.rack, host_id=member.host_id, tokens=member.tokens)
