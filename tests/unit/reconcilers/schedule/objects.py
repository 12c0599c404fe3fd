"""Schedules and their backups, as an API server would have them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from controller.clock import rfc3339
from reconcilers import labels
from reconcilers.api.backup import CassandraBackup
from reconcilers.api.schedule import CassandraBackupSchedule
from reconcilers.schedule import children

START = datetime(2026, 1, 1, tzinfo=UTC)
NAME, UID = "nightly", "uid-nightly"
OWN = {"cassandra-datacenter": "foo"}


def schedule(
    cron: str = "0 * * * *",
    *,
    own: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    template: dict[str, Any] | None = None,
    status: dict[str, Any] | None = None,
    name: str = NAME,
    **spec: Any,
) -> CassandraBackupSchedule:
    metadata = {"labels": OWN if own is None else own, "annotations": annotations or {}}
    store = {"backupType": "AWS_S3", "target": "bucket", **(template or {})}
    body = {
        "kind": "CassandraBackupSchedule",
        "metadata": {
            "name": name,
            "namespace": "ns",
            "uid": UID,
            "generation": 1,
            "resourceVersion": "1",
            "creationTimestamp": rfc3339(START),
        },
        "spec": {"schedule": cron, "backupTemplate": {"metadata": metadata, "spec": store}, **spec},
        "status": status or {},
    }
    return msgspec.convert(body, CassandraBackupSchedule)


def backup(
    of: CassandraBackupSchedule,
    slot: datetime,
    phase: str = "Completed",
    *,
    seconds: float = 30,
    deleted: datetime | None = None,
    spec: dict[str, Any] | None = None,
    **status: Any,
) -> CassandraBackup:
    """Of ``slot``, started at once; it ended after ``seconds`` where its phase is an end."""
    body = children.body(of, slot)
    ended = phase in {"Completed", "PartiallyCompleted", "Failed", "FailedValidation", "Cancelled"}
    times = {"completionTime": rfc3339(slot + timedelta(seconds=seconds))} if ended else {}
    body["kind"] = "CassandraBackup"
    body["metadata"] |= {"uid": f"uid-{body['metadata']['name']}", "creationTimestamp": rfc3339(slot)}
    body["metadata"] |= {"deletionTimestamp": rfc3339(deleted)} if deleted else {}
    body["spec"] |= spec or {}
    body["status"] = {"phase": phase, **times, **status}
    return msgspec.convert(body, CassandraBackup)


def hours(count: float) -> datetime:
    return START + timedelta(hours=count)


def without(found: CassandraBackup, *names: str) -> CassandraBackup:
    """With labels and annotations of these names taken off."""
    meta = found.metadata
    left = msgspec.structs.replace(
        meta,
        labels={k: v for k, v in meta.labels.items() if k not in names},
        annotations={k: v for k, v in meta.annotations.items() if k not in names},
    )
    return msgspec.structs.replace(found, metadata=left)


MARKS = (labels.SCHEDULE, labels.SCHEDULE_UID)
