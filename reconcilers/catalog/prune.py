"""Deletes the objects that a catalog made and whose backup is not in the bucket any more, where it is asked to.

Only what two looks one after the other have found gone, and never data: what comes back into the bucket gets its object
again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from controller.errors import Conflict
from controller.objects import key_of
from reconcilers.api.backup import BACKUPS
from reconcilers.backup.delete import reads
from reconcilers.catalog.doubts import prunable

if TYPE_CHECKING:
    from controller.client import Client
    from controller.store import Store
    from reconcilers.api.backup import CassandraBackup
    from reconcilers.api.datacenter import CassandraDataCenter
    from reconcilers.api.restore import CassandraRestore
    from reconcilers.catalog.round import Round


class Pruner:
    def __init__(self, *, client: Client, backups: Store[CassandraBackup], restores: Store[CassandraRestore]) -> None:
        self._client = client
        self._backups = backups
        self._restores = restores

    async def prune(self, datacenter: CassandraDataCenter, current: Round, most: int) -> bool:
        """Whether that is all of them: ``most`` at a time."""
        leaving = self._leaving(datacenter, current)
        for backup in leaving[:most]:
            meta = backup.metadata
            try:
                await self._client.delete(BACKUPS, key_of(backup), uid=meta.uid, resource_version=meta.resource_version)
            except Conflict:  # somebody has touched it: the next look sees what it is now
                current.gone.pop(meta.uid)
                continue
            current.pruned.append(meta.name)
        return len(leaving) <= most

    def _leaving(self, datacenter: CassandraDataCenter, current: Round) -> list[CassandraBackup]:
        if not current.catalog.prune:
            return []
        there = [self._backups.get(key) for uid, key in current.gone.items() if uid in current.before]
        return [
            one
            for one in there
            if one is not None
            and one.metadata.uid in current.gone
            and one.metadata.name not in current.pruned
            and prunable(one, datacenter, current.catalog)
            and not any(reads(restore, one) for restore in self._restores.all())
        ]
