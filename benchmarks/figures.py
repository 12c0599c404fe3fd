"""Figures of a run: medians over its rounds, and the ratios that goals are about. Pure."""

from __future__ import annotations

from collections import defaultdict
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.session import OURS, S5CMD, TUNED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from benchmarks.session import Record

Group = tuple[str, str, str]  # kind, case, step
MIB, GB = 2**20, 1e9


class Medians:
    """Records by store, case, step and tool."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._found: defaultdict[tuple[Group, str], list[Record]] = defaultdict(list)
        for record in records:
            self._found[(record.kind, record.case, record.step), record.tool].append(record)

    def groups(self) -> list[Group]:
        return list(dict.fromkeys(group for group, _ in self._found))

    def tools(self, group: Group) -> list[str]:
        order = [OURS, S5CMD, TUNED]
        found = {tool for other, tool in self._found if other == group}
        return sorted(found, key=lambda tool: order.index(tool) if tool in order else len(order))

    def values(self, group: Group, tool: str, value: Callable[[Record], float | None]) -> list[float]:
        return [number for record in self._found.get((group, tool), []) if (number := value(record)) is not None]

    def of(self, group: Group, tool: str, value: Callable[[Record], float | None]) -> float | None:
        found = self.values(group, tool, value)
        return median(found) if found else None

    def faster(
        self, group: Group, than: str, time: Callable[[Record], float | None] = lambda record: record.wall
    ) -> float | None:
        """How many times faster the agent is, by ``time``."""
        return ratio(self.of(group, than, time), self.of(group, OURS, time))

    def most(self, kind: str, value: Callable[[Record], float | None]) -> float | None:
        """The worst of the agent's, over all steps and rounds of a store."""
        found = [
            number
            for group, tool in self._found
            if group[0] == kind and tool == OURS
            for number in self.values(group, tool, value)
        ]
        return max(found, default=None)


def wall(record: Record) -> float:
    return record.wall


def durable(record: Record) -> float | None:
    return record.extra.get("durable")


def stall(record: Record) -> float | None:
    return record.extra.get("stall_p99")


def cpu_per_gb(record: Record) -> float:
    return record.cpu / (record.size / GB)


def server_per_gb(record: Record) -> float:
    return record.server_cpu / (record.size / GB)


def ratio(one: float | None, other: float | None) -> float | None:
    return one / other if one is not None and other else None
