"""The engine's series, each present from the start at 0 so that rates and alerts work from the first scrape.

Other folders add theirs to ``REGISTRY``.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

REGISTRY = CollectorRegistry()

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

RECONCILES = Counter(
    "operator_reconciles", "Reconciles that ended, by outcome.", ["controller", "outcome"], registry=REGISTRY
)
RECONCILE_SECONDS = Histogram(
    "operator_reconcile_seconds", "Time of one reconcile.", ["controller"], buckets=_SECONDS, registry=REGISTRY
)
QUEUE_DEPTH = Gauge("operator_queue_depth", "Keys that wait, delayed ones too.", ["controller"], registry=REGISTRY)
QUEUE_RETRIES = Counter("operator_queue_retries", "Keys put back after a failure.", ["controller"], registry=REGISTRY)
QUEUE_WAIT_SECONDS = Histogram(
    "operator_queue_wait_seconds",
    "From the time a key was due until a worker took it.",
    ["controller"],
    buckets=_SECONDS,
    registry=REGISTRY,
)
WORKERS_BUSY = Gauge("operator_workers_busy", "Reconciles under way.", ["controller"], registry=REGISTRY)

API_REQUESTS = Counter(
    "operator_api_requests", "Requests to the API server; code 0 is no answer.", ["verb", "code"], registry=REGISTRY
)
API_SECONDS = Histogram(
    "operator_api_request_seconds", "Time of one request.", ["verb"], buckets=_SECONDS, registry=REGISTRY
)

STORE_OBJECTS = Gauge("operator_store_objects", "Objects held.", ["store"], registry=REGISTRY)
WATCH_LISTS = Counter("operator_watch_lists", "Full lists.", ["resource"], registry=REGISTRY)
WATCH_FAILURES = Counter("operator_watch_failures", "Lists and watches that failed.", ["resource"], registry=REGISTRY)
WATCH_BROKEN = Counter("operator_watch_broken_objects", "Objects not decoded.", ["resource"], registry=REGISTRY)

LEADING = Gauge("operator_leading", "1 while this process leads.", registry=REGISTRY)
EVENTS = Counter("operator_events", "Events by what became of them.", ["result"], registry=REGISTRY)

OUTCOMES = ("done", "requeue", "conflict", "error", "timeout", "terminal", "cancelled")
VERBS = ("get", "list", "watch", "create", "apply", "patch", "delete", "raw")

for _verb in VERBS:
    API_SECONDS.labels(_verb)
    API_REQUESTS.labels(_verb, "200")
    API_REQUESTS.labels(_verb, "0")
for _result in ("written", "dropped", "failed"):
    EVENTS.labels(_result)


def init_controller(name: str) -> None:
    for outcome in OUTCOMES:
        RECONCILES.labels(name, outcome)
    for metric in (RECONCILE_SECONDS, QUEUE_DEPTH, QUEUE_RETRIES, QUEUE_WAIT_SECONDS, WORKERS_BUSY):
        metric.labels(name)


def init_resource(resource: str) -> None:
    for metric in (WATCH_LISTS, WATCH_FAILURES, WATCH_BROKEN):
        metric.labels(resource)


def render() -> bytes:
    """The text format, for ``/metrics``."""
    return generate_latest(REGISTRY)
