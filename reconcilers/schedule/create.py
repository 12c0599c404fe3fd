"""Creates the backup of one slot, whatever became of earlier attempts at the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from controller.clock import rfc3339
from controller.errors import AlreadyExists, Forbidden, Invalid
from controller.objects import key_of
from controller.resource import Key
from reconcilers.api.backup import BACKUPS, CassandraBackup
from reconcilers.api.schedule import ConcurrencyPolicy
from reconcilers.schedule import children

if TYPE_CHECKING:
    from datetime import datetime

    from controller.client import Client
    from reconcilers.schedule.turn import Turn


@dataclass(frozen=True, slots=True)
class Made:
    """It is there, made now or before."""

    backup: CassandraBackup


@dataclass(frozen=True, slots=True)
class Skipped:
    """The slot gets none; the next one may."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Not made, but it may be when it is tried again."""

    reason: str
    message: str


async def create(client: Client, turn: Turn, slot: datetime) -> Made | Skipped | Refused:
    """``turn.backups`` are as the API server has them. Conflict where one of them is not any more."""
    name = children.name(turn.key.name, slot)
    policy = turn.spec.concurrency_policy
    if policy is ConcurrencyPolicy.FORBID and (running := children.blocking(turn.backups, turn.now)):
        message = f"no backup for {rfc3339(slot)}: {children.names(running)} still runs (concurrencyPolicy Forbid)"
        return Skipped("ScheduleMissed", message)
    if policy is ConcurrencyPolicy.REPLACE:
        for backup in (b for b in children.active(turn.backups) if not b.spec.cancel):
            await _cancel(client, backup)
            turn.event("Replaced", f"{backup.metadata.name} is cancelled in favour of {name}")
    try:
        made = await client.create(BACKUPS, children.body(turn.schedule, slot))
    except AlreadyExists:
        return await _found(client, turn, Key(turn.key.namespace, name))
    except (Invalid, Forbidden) as e:
        return Refused("CreateRefused", f"backup {name} was refused: {e.message}")
    turn.event("BackupCreated", f"backup {name} for {rfc3339(slot)}")
    return Made(msgspec.convert(made, CassandraBackup))


async def _found(client: Client, turn: Turn, key: Key) -> Made | Skipped:
    """Another operator made it, or this one before it died; or it is somebody else's."""
    backup = msgspec.convert(await client.get(BACKUPS, key), CassandraBackup)
    if children.is_own(turn.schedule, backup.metadata):
        return Made(backup)
    return Skipped("NameTaken", f"backup {key.name} is there and not of this schedule: rename or delete it")


async def _cancel(client: Client, backup: CassandraBackup) -> None:
    test = {"op": "test", "path": "/metadata/uid", "value": backup.metadata.uid}
    await client.patch(BACKUPS, key_of(backup), [test, {"op": "add", "path": "/spec/cancel", "value": True}])
