"""Looks into a datacenter's catalog every so often: makes an object for each backup that has none, and has each object
say whether its backup is still there.

One that a user deleted without its data is made again. What it remembers may be lost at any time: then it looks once
more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from controller.errors import AlreadyExists, Invalid
from controller.reconcile import Done, RequeueAfter
from reconcilers import labels, locations, mounts
from reconcilers.agents import AgentRefused
from reconcilers.api.backup import BACKUPS
from reconcilers.api.datacenter import DATACENTERS
from reconcilers.api.unsupported import unsupported
from reconcilers.catalog import objects
from reconcilers.catalog.check import Checker
from reconcilers.catalog.doubts import doubtful
from reconcilers.catalog.prune import Pruner
from reconcilers.catalog.round import Round
from reconcilers.catalog.said import CONDITION
from reconcilers.datacenter.verdict import Verdict
from reconcilers.readers import NotYet
from reconcilers.words import some

if TYPE_CHECKING:
    from agent.protocol import BackupName, BackupNames
    from controller.client import Client
    from controller.clock import Clock
    from controller.conditions import Truth
    from controller.reconcile import Outcome
    from controller.recorder import Recorder
    from controller.resource import Key
    from controller.store import Store
    from reconcilers.agents import Address, Agents
    from reconcilers.api.backup import CassandraBackup
    from reconcilers.api.datacenter import BackupCatalog, CassandraDataCenter
    from reconcilers.api.restore import CassandraRestore
    from reconcilers.backup.sightings import Sightings
    from reconcilers.catalog.said import Said
    from reconcilers.readers import Readers

MOST = 1000  # backups of one target that get an object: the newest
_AT_ONCE = 50  # objects that one pass makes or deletes
_SOON, _LOOK_AGAIN = 1.0, 5.0

_log = structlog.get_logger("catalog")


class CatalogReconciler:
    def __init__(
        self,
        *,
        client: Client,
        datacenters: Store[CassandraDataCenter],
        backups: Store[CassandraBackup],
        restores: Store[CassandraRestore],
        agents: Agents,
        readers: Readers,
        said: Said,
        sightings: Sightings,
        recorder: Recorder,
        clock: Clock,
    ) -> None:
        self._client = client
        self._datacenters = datacenters
        self._backups = backups
        self._agents = agents
        self._readers = readers
        self._said = said
        self._recorder = recorder
        self._clock = clock
        self._checker = Checker(agents=agents, readers=readers, sightings=sightings)
        self._pruner = Pruner(client=client, backups=backups, restores=restores)
        self._rounds: dict[Key, Round] = {}

    async def reconcile(self, key: Key) -> Outcome:
        datacenter = self._datacenters.get(key)
        backup = datacenter.spec.backup if datacenter is not None else None
        if datacenter is None or backup is None or backup.catalog is None or datacenter.metadata.deletion_timestamp:
            if self._rounds.pop(key, None) is not None and datacenter is not None:
                await self._readers.end(datacenter)
            self._said.forget(key)
            return Done()
        if unsupported(datacenter):
            return Done()  # the datacenter says it
        current = self._rounds.get(key)
        if current is None or current.catalog != backup.catalog:
            current = self._rounds[key] = Round(backup.catalog)
        if current.due:
            if (wait := current.due - self._clock.monotonic()) > 0:
                return RequeueAfter(wait, "the next look")
            current = self._rounds[key] = current.next()
        return await self._look(key, datacenter, current)

    async def _look(self, key: Key, datacenter: CassandraDataCenter, current: Round) -> Outcome:
        catalog = current.catalog
        try:
            if current.left is None:
                if (lacks := mounts.lacking(datacenter, catalog)) is not None:
                    return await self._failed(key, datacenter, current, lacks.reason, lacks.message)
                found = await self._ask(datacenter, catalog)
                known = self._of_namespace(key.namespace)
                current.total, current.left = found.total, objects.missing(found.names, known, catalog)
                current.doubts = doubtful(found, known, datacenter, catalog)
            if not await self._checker.check(datacenter, current):
                return RequeueAfter(0, "more records to read")
        except NotYet as e:
            self._say(key, "Unknown", e.reason, f"{_where(catalog)} cannot be asked: {e.message}")
            return RequeueAfter(_LOOK_AGAIN, e.reason)
        except AgentRefused as e:
            return await self._failed(key, datacenter, current, e.reason, e.message)
        now, current.left = current.left[:_AT_ONCE], current.left[_AT_ONCE:]
        for name in now:
            await self._make(datacenter, current, name)
        if now:
            return RequeueAfter(_SOON, "more to make")  # or to be seen: the store is a moment behind
        if not await self._pruner.prune(datacenter, current, _AT_ONCE):
            return RequeueAfter(_SOON, "more to delete")
        if self._unfinished(datacenter):
            return RequeueAfter(_LOOK_AGAIN, "they are being imported")  # they may ask the inspector, which stays
        return await self._ended(key, datacenter, current)

    async def _ask(self, datacenter: CassandraDataCenter, catalog: BackupCatalog) -> BackupNames:
        where = locations.to_agents_of(datacenter, catalog)

        async def question(address: Address) -> BackupNames:
            return await self._agents.backup_names(address, where, limit=MOST)

        return await self._readers.ask(datacenter, datacenter, question)

    async def _make(self, datacenter: CassandraDataCenter, current: Round, name: BackupName) -> None:
        try:
            await self._client.create(BACKUPS, objects.built(datacenter, current.catalog, name))
        except AlreadyExists:
            return  # ours, and the store does not show it yet
        except Invalid as e:
            _log.warning("a backup in the catalog can have no object", tag=name.tag, error=e.message)
            current.odd.append(name.tag)
        else:
            current.made += 1

    async def _ended(self, key: Key, datacenter: CassandraDataCenter, current: Round) -> Outcome:
        where, total = _where(current.catalog), current.total
        if current.made:
            message = f"{current.made} objects were made for backups that {where} holds"
            self._recorder.event(DATACENTERS, datacenter, "Normal", CONDITION, message)
        if current.pruned:
            message = f"deleted, as their backups are not in {where} any more: {some(current.pruned)}"
            self._recorder.event(DATACENTERS, datacenter, "Normal", "CatalogPruned", message)
        if current.odd:
            odd = f"{where} holds {len(current.odd)} backups whose names no object can have, such as {current.odd[0]}"
            self._say(key, "False", "OddNames", odd)
        elif total > MOST:
            message = f"{where} holds {total} backups: the newest {MOST} have an object"
            self._say(key, "False", "TooMany", f"{message}; import an older one by hand")
        else:
            self._say(key, "True", "Synced", f"{where} holds {total} backups, and each has an object")
        return await self._rest(datacenter, current)

    async def _failed(
        self, key: Key, datacenter: CassandraDataCenter, current: Round, reason: str, message: str
    ) -> Outcome:
        self._say(key, "False", reason, message)
        self._recorder.event(DATACENTERS, datacenter, "Warning", "CatalogFailed", message)
        return await self._rest(datacenter, current)

    async def _rest(self, datacenter: CassandraDataCenter, current: Round) -> Outcome:
        await self._readers.end(datacenter)
        current.due = self._clock.monotonic() + current.catalog.interval_seconds
        return RequeueAfter(current.catalog.interval_seconds, "the next look")

    def _say(self, key: Key, truth: Truth, reason: str, message: str) -> None:
        self._said.say(key, Verdict(CONDITION, truth, reason, message))

    def _of_namespace(self, namespace: str) -> list[CassandraBackup]:
        return [one for one in self._backups.all() if one.metadata.namespace == namespace]

    def _unfinished(self, datacenter: CassandraDataCenter) -> bool:
        return any(
            one.metadata.labels.get(labels.SEED_DATACENTER) == datacenter.metadata.name and not one.ended
            for one in self._of_namespace(datacenter.metadata.namespace)
            if labels.SYNCED in one.metadata.labels
        )


def _where(catalog: BackupCatalog) -> str:
    return locations.uri(catalog.backup_type, catalog.target)
