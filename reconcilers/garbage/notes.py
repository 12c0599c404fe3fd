"""Writes down that a place has garbage: kept by whoever made it, before it forgets where that was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from msgspec import structs

from controller.builtin import CONFIGMAPS
from controller.clock import rfc3339
from controller.errors import AlreadyExists, Conflict, Forbidden, Invalid, NotFound
from controller.resource import Key
from reconcilers import locations
from reconcilers.backup import policy
from reconcilers.backup import status as said
from reconcilers.garbage import entry as entries
from reconcilers.garbage.entry import Ended, Entry, Left
from reconcilers.mounts import Secrets

if TYPE_CHECKING:
    from collections.abc import Collection

    from agent.protocol import Location
    from controller.client import Client
    from reconcilers.api.backup_status import BackupDatacenter
    from reconcilers.backup.run import Run

_TRIES = 5

_log = structlog.get_logger("garbage")


class Notes:
    """``grace``: seconds between two cycles of the collector."""

    def __init__(self, client: Client, grace: int) -> None:
        self._client = client
        self.grace = grace

    async def forgotten(self, run: Run, datacenter: BackupDatacenter, empty: Collection[str]) -> bool:
        """``empty``: nodes that have no backup left. False where nobody will collect: nothing can be written here."""
        nodes = {
            n.pod: Left(n.files, empty=n.pod in empty) for n in run.status.nodes if n.datacenter == datacenter.name
        }
        return await self._note(run, datacenter, "forgotten", nodes, due=rfc3339(run.now))

    async def ended(self, run: Run) -> None:
        """What it sent of some nodes no manifest names, and is young yet. Of the others there is a backup now."""
        for datacenter in run.status.datacenters:
            mine = [n for n in run.status.nodes if n.datacenter == datacenter.name]
            nodes = {n.pod: Left(n.files) for n in mine if n.phase != said.COMPLETED}
            ended = Ended(policy.epoch(run.created, run.uid), [n.pod for n in mine if n.pod not in nodes])
            due = entries.past_grace(run.now, self.grace)
            await self._note(run, datacenter, "unfinished", nodes, due=due, ended=[ended])

    async def _note(
        self,
        run: Run,
        datacenter: BackupDatacenter,
        why: str,
        nodes: dict[str, Left],
        *,
        due: str,
        ended: list[Ended] | None = None,
    ) -> bool:
        storage = run.status.storage
        assert storage is not None, "the selection freezes the storage"
        secrets = Secrets.of(storage)
        fresh = Entry(
            location=where(run), cluster=datacenter.cluster_name, datacenter=datacenter.datacenter_name,
            name=datacenter.name, nodes=nodes, since=rfc3339(run.now), due=due, notes=[f"{run.uid}/{why}"],
            credentials=secrets.credentials, ca_bundle=secrets.ca_bundle, access=datacenter.access, ended=ended or [],
        )  # fmt: skip
        try:
            await self._keep(run.key.namespace, fresh)
        except (Forbidden, Invalid) as e:  # the namespace is being deleted, a quota is used up, it grew too large
            _log.warning("garbage is not written down", location=run.status.location, error=e.message)
            return False
        return True

    async def _keep(self, namespace: str, fresh: Entry) -> None:
        key = Key(namespace, entries.name_of(fresh))
        for _ in range(_TRIES):
            try:
                body = await self._client.get(CONFIGMAPS, key)
            except NotFound:
                if not fresh.nodes:
                    return
                try:
                    await self._client.create(CONFIGMAPS, entries.config_map(fresh, namespace))
                except AlreadyExists:
                    continue
                return
            known = entries.decode(body)
            wanted = entries.merged(known, fresh) if known is not None else fresh
            if wanted == known or not wanted.nodes:
                return
            version = {"metadata": {"resourceVersion": body["metadata"]["resourceVersion"]}}
            try:
                await self._client.patch(CONFIGMAPS, key, {**version, "data": entries.data(wanted)})
            except (Conflict, NotFound):
                continue
            return
        raise Conflict(f"the ConfigMap {key} changes all the time")


def where(run: Run) -> Location:
    """For work in the bucket that writes no backup: encrypted as that is, and else as the bucket is set."""
    storage = run.status.storage
    assert storage is not None, "the selection freezes the storage"
    location = locations.to_agent(storage.backup_type, storage.target, storage.endpoint, run.spec)
    if location.options is not None:
        location.options = structs.replace(location.options, storage_class="", tags={}, lock_mode="", lock_days=0)
    return location
