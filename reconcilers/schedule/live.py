"""The backups of a schedule as the API server has them: what is made or removed is never decided on a cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from reconcilers.api.backup import BACKUPS, CassandraBackup
from reconcilers.schedule import children

if TYPE_CHECKING:
    from controller.client import Client
    from reconcilers.schedule.turn import Turn


async def look(client: Client, turn: Turn) -> None:
    """Puts them in place of those that the watch has brought."""
    selector = children.selector(turn.key.name)
    found = await client.list(BACKUPS, turn.key.namespace, label_selector=selector)
    turn.see(msgspec.convert(body, CassandraBackup) for body in found)
