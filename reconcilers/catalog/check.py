"""Reads the records of backups that a look has put in doubt, and lets those know that have to say something else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from controller.objects import key_of
from reconcilers import locations
from reconcilers.agents import AgentRefused
from reconcilers.catalog import places

if TYPE_CHECKING:
    from agent.protocol import ClusterRecord
    from reconcilers.agents import Address, Agents
    from reconcilers.api.backup import CassandraBackup
    from reconcilers.api.datacenter import CassandraDataCenter
    from reconcilers.backup.sightings import Sightings
    from reconcilers.catalog.places import Record
    from reconcilers.catalog.round import Round
    from reconcilers.readers import Readers

_AT_ONCE = 20  # backups that one pass reads, one after the other
_NOT_FOUND = "BackupNotFound"

_log = structlog.get_logger("catalog")


class Checker:
    def __init__(self, *, agents: Agents, readers: Readers, sightings: Sightings) -> None:
        self._agents = agents
        self._readers = readers
        self._sightings = sightings

    async def check(self, datacenter: CassandraDataCenter, current: Round) -> bool:
        """Whether that is all of them. NotYet while nobody can read: what was read is not read again."""
        for _ in range(min(_AT_ONCE, len(current.doubts))):
            backup = current.doubts[-1]
            try:
                lost = await self._lost(datacenter, backup)
            except AgentRefused as e:  # it is there and cannot be read, or may not be: nothing is known of it
                _log.warning("the record of a backup cannot be read", backup=backup.metadata.name, error=e.message)
            else:
                self._sightings.saw(backup, lost)
                if lost:
                    current.gone[backup.metadata.uid] = key_of(backup)
            current.doubts.pop()
        return not current.doubts

    async def _lost(self, datacenter: CassandraDataCenter, backup: CassandraBackup) -> str:
        """What the bucket lacks of it, in one sentence; empty where it has all."""
        where = places.place(backup.spec.backup_type, backup.spec.target)
        for wanted in places.records(backup):
            of = f"backup {wanted.tag} of {wanted.cluster}/{wanted.datacenter}"
            try:
                record = await self._read(datacenter, backup, wanted)
            except AgentRefused as e:
                if e.reason != _NOT_FOUND:
                    raise
                return f"{where} does not hold {of} any more"
            if record.backup_id != places.maker(backup) and backup.status.datacenters:
                return f"what {where} holds as {of} is another backup by now"
        return ""

    async def _read(self, datacenter: CassandraDataCenter, backup: CassandraBackup, record: Record) -> ClusterRecord:
        where = locations.to_agents_of(datacenter, backup.spec)

        async def question(address: Address) -> ClusterRecord:
            return await self._agents.cluster_record(address, where, **record._asdict())

        return await self._readers.ask(datacenter, datacenter, question)
