"""What Prometheus is told. Every series begins at 0, so that a rate has no hole after a restart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from agent.protocol import Kind, Operation, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from prometheus_client import Metric


class Metrics:
    """Counters of this process; gauges are read from the operations when asked."""

    def __init__(self, kinds: Iterable[Kind]) -> None:
        self.registry = CollectorRegistry()
        self._ended = Counter(
            "cassandra_agent_operations", "Operations that ended.", ["kind", "state"], registry=self.registry
        )
        self._bytes = Counter(
            "cassandra_agent_bytes", "Bytes of ended operations.", ["kind", "how"], registry=self.registry
        )
        for kind in kinds:
            for state in State:
                if state.final:
                    self._ended.labels(kind, state)
            for how in ("moved", "reused"):
                self._bytes.labels(kind, how)

    def ended(self, operation: Operation) -> None:
        progress = operation.progress
        self._ended.labels(operation.kind, operation.state).inc()
        self._bytes.labels(operation.kind, "reused").inc(max(0, progress.bytes_reused))
        self._bytes.labels(operation.kind, "moved").inc(max(0, progress.bytes_done - progress.bytes_reused))

    def watch(self, unfinished: Callable[[], list[Operation]]) -> None:
        self.registry.register(_Running(unfinished))


class _Running(Collector):
    def __init__(self, unfinished: Callable[[], list[Operation]]) -> None:
        self._unfinished = unfinished

    def collect(self) -> Iterator[Metric]:
        running = GaugeMetricFamily("cassandra_agent_operations_running", "Operations in work.", labels=["kind"])
        rate = GaugeMetricFamily("cassandra_agent_bytes_per_second", "Of the last seconds.", labels=["kind"])
        operations = self._unfinished()
        for kind in Kind:
            mine = [operation for operation in operations if operation.kind == kind]
            running.add_metric([kind], len(mine))
            rate.add_metric([kind], sum(operation.progress.rate for operation in mine))
        yield running
        yield rate
