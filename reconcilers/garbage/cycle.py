"""One cycle of the collector over all nodes of a place, and what it means for the next one. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
from msgspec import structs

from agent.protocol import Collected, CollectSpec, Kind
from reconcilers.backup.status import human
from reconcilers.errands import Errand

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconcilers.errands import NotYet
    from reconcilers.garbage.entry import Entry

_BLOCKED = "CollectBlocked"  # a backup has just begun, or another one collects: the next cycle sees to it


@dataclass(slots=True)
class Cycle:
    """What the nodes' collectors said: a result, or why there is none and will be none in this cycle."""

    done: dict[str, Collected] = field(default_factory=dict)
    problems: dict[str, NotYet] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        """Nothing is left that nobody needs, and nothing of which that is not known yet."""
        return not self.problems and all(_clean(one) for one in self.done.values())

    @property
    def trouble(self) -> str:
        """The first problem that will not pass by itself."""
        found = sorted((node, p) for node, p in self.problems.items() if p.reason != _BLOCKED)
        if not found:
            return ""
        node, problem = found[0]
        more = f"; and {len(found) - 1} nodes more" if len(found) > 1 else ""
        return f"{node}: {problem.message}{more}"

    @property
    def summary(self) -> str:
        found = self.done.values()
        deleted, size = sum(c.deleted for c in found), sum(c.deleted_bytes for c in found)
        waiting = sum(_waiting(c) for c in found)
        return f"{deleted} objects ({human(size)}) deleted, {waiting} more are to be looked at again"

    @property
    def news(self) -> bool:
        return any(c.deleted or c.candidates for c in self.done.values())


def errands(entry: Entry, uid: str, grace: int) -> Iterator[tuple[str, Errand]]:
    """By node, whose own agent is asked first. ``uid`` is the ConfigMap's; an id names this cycle of this knowledge."""
    for node, left in entry.nodes.items():
        ended = [run.epoch for run in entry.ended if node not in run.kept]
        spec = CollectSpec(
            location=structs.replace(entry.location), cluster=entry.cluster, datacenter=entry.datacenter, node=node,
            grace=grace, expected=left.expected, allow_empty=left.empty, ended=ended,
            allow_ended=len(ended) == len(entry.ended),
        )  # fmt: skip
        digest = hashlib.sha256(msgspec.json.encode([spec, entry.since])).hexdigest()
        yield node, Errand(f"{uid}.{Kind.COLLECT}.{entry.cycle}.{digest[:12]}", Kind.COLLECT, spec, by=node)


def _clean(result: Collected) -> bool:
    return not _waiting(result)


def _waiting(result: Collected) -> int:
    return result.candidates - result.deleted + result.young + result.owned
