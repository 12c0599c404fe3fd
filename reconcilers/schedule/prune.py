"""Removes the backups that retention and the history limits let go."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from controller.clock import parse_rfc3339
from controller.errors import ApiError, Conflict, NotFound, NotLeading
from controller.objects import key_of
from reconcilers.api.backup import BACKUPS, CassandraBackup, DeletionPolicy

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from controller.client import Client
    from reconcilers.schedule.history import Leaving
    from reconcilers.schedule.turn import Turn

MOST_AT_ONCE = 10  # in one reconcile, which is short
HANGS_AFTER = 3 * 3600.0  # seconds: longer than a deletion has patience with agents that are busy


@dataclass(slots=True)
class Pruned:
    removed: set[str] = field(default_factory=set)  # names
    problems: list[str] = field(default_factory=list)  # a sentence for each that could not be removed


async def prune(client: Client, turn: Turn, leaving: Leaving) -> Pruned:
    """``leaving`` was told from what the API server has now; Conflict where that has changed."""
    pruned = Pruned()
    which = [*((b, True) for b in leaving.with_data), *((b, False) for b in leaving.objects)]
    for backup, with_data in which[:MOST_AT_ONCE]:
        name = backup.metadata.name
        try:
            await _remove(client, backup, with_data=with_data)
        except (Conflict, NotLeading):  # it is another one by now, or we are nobody: look again
            raise
        except NotFound:
            pruned.removed.add(name)
        except ApiError as e:
            pruned.problems.append(f"backup {name} could not be deleted: {e.message}")
        else:
            pruned.removed.add(name)
            if with_data:
                turn.event("RetentionDeleted", f"backup {name} is deleted with its data")
    return pruned


def hanging(backups: Sequence[CassandraBackup], now: datetime) -> list[CassandraBackup]:
    """Those that were asked to go long ago and are still there."""
    return [
        b
        for b in backups
        if b.metadata.deletion_timestamp
        and (now - parse_rfc3339(b.metadata.deletion_timestamp)).total_seconds() > HANGS_AFTER
    ]


async def _remove(client: Client, backup: CassandraBackup, *, with_data: bool) -> None:
    """Only as it was when it was judged: whoever took a label off, or made it anew, has the last word."""
    meta = backup.metadata
    version = meta.resource_version
    if with_data and backup.spec.deletion_policy is not DeletionPolicy.DELETE:
        patched = await client.patch(
            BACKUPS,
            key_of(backup),
            [
                {"op": "test", "path": "/metadata/resourceVersion", "value": version},
                {"op": "add", "path": "/spec/deletionPolicy", "value": DeletionPolicy.DELETE.value},
            ],
        )
        version = msgspec.convert(patched, CassandraBackup).metadata.resource_version
    await client.delete(BACKUPS, key_of(backup), uid=meta.uid, resource_version=version)
