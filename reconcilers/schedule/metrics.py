"""When backups are to come: what an alert compares the last good one with."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from prometheus_client import Gauge

from controller.metrics import REGISTRY

if TYPE_CHECKING:
    from datetime import datetime

    from controller.resource import Key

_LABELS = ("namespace", "schedule")
NEXT = Gauge(
    "cassandra_backup_schedule_next_timestamp_seconds",
    "When the next backup is due; none while the schedule is suspended or not valid.",
    _LABELS,
    registry=REGISTRY,
)
INTERVAL = Gauge(
    "cassandra_backup_schedule_expected_interval_seconds",
    "From the next backup to the one after it.",
    _LABELS,
    registry=REGISTRY,
)


def expect(key: Key, following: list[datetime]) -> None:
    """The next two times, or as many as there are."""
    forget(key)
    if following:
        NEXT.labels(key.namespace, key.name).set(following[0].timestamp())
    if len(following) > 1:
        INTERVAL.labels(key.namespace, key.name).set((following[1] - following[0]).total_seconds())


def forget(key: Key) -> None:
    for gauge in (NEXT, INTERVAL):
        with contextlib.suppress(KeyError):
            gauge.remove(key.namespace, key.name)
