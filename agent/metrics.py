"""What Prometheus is told. Every series begins at 0, so that a rate has no hole after a restart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from agent import clock
from agent.bandwidth import Direction, node_rate
from agent.protocol import Kind, Level, Operation, State, Verified
from backends.errors import Kind as ErrorKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from prometheus_client import Metric

    from agent.stores import Stores

_STALLS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)  # seconds
VERBS = (
    "put", "get", "head", "delete", "list", "copy", "create_upload", "upload_part", "list_parts", "complete_upload",
    "abort_upload", "list_uploads",
)  # fmt: skip


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
        self._stalls = Histogram(
            "cassandra_agent_event_loop_stall_seconds", "How late the event loop woke a task.", buckets=_STALLS,
            registry=self.registry,
        )  # fmt: skip
        self._verified = Counter(
            "cassandra_agent_verified_bytes", "Bytes of objects that verifications read.", registry=self.registry
        )
        self._healed = Counter(
            "cassandra_agent_healed_objects", "Objects that verifications put right.", registry=self.registry
        )
        for kind in kinds:
            for state in State:
                if state.final:
                    self._ended.labels(kind, state)
            for how in ("moved", "reused"):
                self._bytes.labels(kind, how)

    def ended(self, operation: Operation) -> None:
        progress = operation.progress
        if (verified := verification(operation)) is not None:
            self._verified.inc(verified.read_bytes)
            self._healed.inc(verified.healed)
        self._ended.labels(operation.kind, operation.state).inc()
        self._bytes.labels(operation.kind, "reused").inc(max(0, progress.bytes_reused))
        self._bytes.labels(operation.kind, "moved").inc(max(0, progress.bytes_done - progress.bytes_reused))

    def stalled(self, seconds: float) -> None:
        self._stalls.observe(seconds)

    def watch(self, unfinished: Callable[[], list[Operation]]) -> None:
        self.registry.register(_Running(unfinished))

    def watch_verifications(self, operations: Callable[[], list[Operation]]) -> None:
        """Of those that the journal keeps, so that a restart of the agent forgets no fault."""
        self.registry.register(_Verified(operations))

    def watch_stores(self, stores: Stores) -> None:
        self.registry.register(_Stores(stores))


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


class _Verified(Collector):
    """What the last verification of each level saw. One that failed saw nothing."""

    def __init__(self, operations: Callable[[], list[Operation]]) -> None:
        self._operations = operations

    def collect(self) -> Iterator[Metric]:
        prefix = "cassandra_agent_verify"
        at = GaugeMetricFamily(f"{prefix}_last_timestamp_seconds", "When it ended.", labels=["level"])
        missing = GaugeMetricFamily(f"{prefix}_missing_objects", "Not there, after the healing.", labels=["level"])
        damaged = GaugeMetricFamily(f"{prefix}_damaged_objects", "Not right, after the healing.", labels=["level"])
        lost = GaugeMetricFamily(f"{prefix}_lost_manifests", "Manifests and records of no use.", labels=["level"])
        last: dict[Level, tuple[float, Verified]] = {}
        for operation in self._operations():
            if (verified := verification(operation)) is not None:
                ended = clock.timestamp(operation.finished_at)
                last[verified.level] = max(last.get(verified.level, (0.0, verified)), (ended, verified), key=_when)
        for level in Level:
            when, verified = last.get(level, (0.0, Verified(level=level)))
            at.add_metric([level], when)
            missing.add_metric([level], verified.missing)
            damaged.add_metric([level], verified.damaged)
            lost.add_metric([level], verified.manifests)
        yield from (at, missing, damaged, lost)


def _when(one: tuple[float, Verified]) -> float:
    return one[0]


def verification(operation: Operation) -> Verified | None:
    """What it saw, of a verification that came to its end."""
    if operation.kind is not Kind.VERIFY or operation.state is not State.SUCCEEDED:
        return None
    try:
        return msgspec.convert(operation.result, Verified)
    except msgspec.ValidationError:  # another version's
        return None


class _Stores(Collector):
    """Of all stores that were opened; every try of a request is one."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    def collect(self) -> Iterator[Metric]:
        seen = self._stores.statistics
        prefix = "cassandra_agent_store"
        requests = CounterMetricFamily(f"{prefix}_requests", "Requests begun.", labels=["verb"])
        seconds = CounterMetricFamily(f"{prefix}_request_seconds", "Time spent in requests.", labels=["verb"])
        errors = CounterMetricFamily(f"{prefix}_errors", "Requests that failed.", labels=["verb", "kind"])
        for verb in VERBS:
            requests.add_metric([verb], seen.requests[verb])
            seconds.add_metric([verb], seen.seconds[verb])
            for kind in ErrorKind:
                errors.add_metric([verb, kind], seen.errors[verb, kind])
        yield from (requests, seconds, errors)
        yield CounterMetricFamily(f"{prefix}_retries", "Requests that were tried again.", self._stores.retries)
        yield CounterMetricFamily(f"{prefix}_sent_bytes", "Bytes of bodies that arrived.", seen.sent)
        yield CounterMetricFamily(f"{prefix}_received_bytes", "Bytes of objects that were read.", seen.received)
        yield GaugeMetricFamily(f"{prefix}_requests_in_flight", "Requests under way.", seen.in_flight)
        slots = GaugeMetricFamily("cassandra_agent_transfer_slots", "Requests that may run now.", labels=["direction"])
        for direction in Direction:
            slots.add_metric([direction], node_rate(direction).slots)
        yield slots
