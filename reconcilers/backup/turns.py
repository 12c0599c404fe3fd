"""Whose turn it is: one run a datacenter, first come, first served, and none while a restore fills it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from controller.resource import Key
from reconcilers.api.backup_status import FINAL_PHASES, BackupPhase
from reconcilers.api.restore import FINAL_PHASES as RESTORED
from reconcilers.backup import lock
from reconcilers.backup.delete import namesake

if TYPE_CHECKING:
    from controller.client import Client
    from controller.store import Store
    from reconcilers.api.backup import CassandraBackup
    from reconcilers.api.restore import CassandraRestore
    from reconcilers.backup.run import Run


class Turns:
    def __init__(self, *, client: Client, backups: Store[CassandraBackup], restores: Store[CassandraRestore]) -> None:
        self._client = client
        self._backups = backups
        self._restores = restores

    async def blocked(self, run: Run) -> str:
        """What the backup waits for; empty when it holds the Lease of each of its datacenters.

        Leases are taken in the order of the datacenters' names. Who holds one waits for those who run and not for
        those who are older, else two could wait for each other.
        """
        if going := namesake(run, self._backups.all()):
            return f"the deletion of backup {going}, which has the same name there, is at work"
        older = self._older(run)
        run.status.queue_position = 1 + len(older)
        datacenters = [Key(run.key.namespace, name) for name in sorted(d.name for d in run.status.datacenters)]
        if older and await lock.holder(self._client, datacenters[0]) != run.uid:
            return f"backup {min(older, key=_age).metadata.name} is before it"
        for datacenter in datacenters:
            blocking = self._restoring(datacenter)
            if not blocking:
                holder = await lock.acquire(self._client, datacenter, run.uid, alive=self._alive)
                blocking = "" if holder == run.uid else self._name_of(holder)
            if blocking:
                return f"{blocking} is at work on {datacenter.name}"
        return ""

    def _older(self, run: Run) -> list[CassandraBackup]:
        """Queued, and they want one of the same datacenters."""
        mine = {d.name for d in run.status.datacenters}
        return [
            other
            for other in self._backups.all()
            if other.status.phase == BackupPhase.QUEUED
            and other.metadata.namespace == run.key.namespace
            and _age(other) < _age(run.backup)
            and mine & {d.name for d in other.status.datacenters}
        ]

    def _alive(self, uid: str) -> bool:
        return any(b.metadata.uid == uid and b.status.phase not in FINAL_PHASES for b in self._backups.all())

    def _name_of(self, uid: str) -> str:
        name = next((b.metadata.name for b in self._backups.all() if b.metadata.uid == uid), "another backup")
        return f"backup {name}"

    def _restoring(self, datacenter: Key) -> str:
        for restore in self._restores.all():
            meta = restore.metadata
            if (
                meta.namespace == datacenter.namespace
                and restore.spec.datacenter == datacenter.name
                and restore.status.phase not in RESTORED
            ):
                return f"restore {meta.name}"
        return ""


def _age(backup: CassandraBackup) -> tuple[str, str]:
    """The API server counts whole seconds: of one second, by name."""
    return backup.metadata.creation_timestamp, backup.metadata.name
