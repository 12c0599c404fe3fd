"""A backup that the bucket holds already becomes an object: one question, and no run, no snapshot, no lock.

Pending until somebody answers who can reach the bucket, then Completed, or FailedValidation where it is not there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from controller import finalizer
from controller.clock import parse_rfc3339
from controller.conditions import get_condition
from controller.reconcile import Done, RequeueAfter
from reconcilers import labels, locations, mounts
from reconcilers.agents import AgentRefused
from reconcilers.api.backup import BACKUPS
from reconcilers.api.backup_status import BackupPhase
from reconcilers.api.unsupported import unsupported
from reconcilers.backup import imported, matching, selection
from reconcilers.backup.policy import overdue
from reconcilers.readers import NotYet

if TYPE_CHECKING:
    import datetime as dt

    from agent.protocol import ClusterRecord
    from controller.client import Client
    from controller.reconcile import Outcome
    from controller.store import Store
    from reconcilers.agents import Address, Agents
    from reconcilers.api.datacenter import CassandraDataCenter
    from reconcilers.backup.run import Run
    from reconcilers.readers import Readers

_LOOK_AGAIN = 2.0
_PATIENCE = 300  # seconds, from when somebody was asked first
_AMBIGUOUS = "BackupAmbiguous"


class Importer:
    def __init__(
        self, *, client: Client, datacenters: Store[CassandraDataCenter], agents: Agents, readers: Readers
    ) -> None:
        self._client = client
        self._datacenters = datacenters
        self._agents = agents
        self._readers = readers

    async def advance(self, run: Run) -> Outcome:
        """As a reconcile of a backup that runs: ``run.status`` says how it went, and nothing is written."""
        if refusals := unsupported(run.spec):
            run.refuse("FieldNotSupported", "; ".join(refusals))
        elif run.spec.cancel:
            run.end(BackupPhase.CANCELLED, "Cancelled", "cancelled by spec.cancel")
        elif (datacenter := self._datacenter(run)) is not None:
            if labels.BACKUP_FINALIZER not in run.backup.metadata.finalizers:  # deleted with its data from then on
                run.outdated = await finalizer.add(self._client, BACKUPS, run.backup, labels.BACKUP_FINALIZER)
                return Done()  # the change of the object wakes this key
            await self._ask(run, datacenter)
        if not run.ended:
            return RequeueAfter(_LOOK_AGAIN, run.status.reason)
        await self._readers.end(run.backup)
        return Done()

    def _datacenter(self, run: Run) -> CassandraDataCenter | None:
        """Whose agents are asked. None where the run was ended, or holds."""
        query = run.status.effective_selector = selection.effective_selector(run.backup)
        if not query:
            run.refuse(
                "EmptySelector",
                "nothing says whose credentials reach the store: give this object the label cassandra-datacenter: NAME "
                "of a CassandraDataCenter, or spec.selector",
            )
            return None
        found = [
            one
            for one in self._datacenters.all()
            if one.metadata.namespace == run.key.namespace
            and one.metadata.deletion_timestamp is None
            and matching.means(run.backup, one)
        ]
        if found:
            return self._first(run, sorted(found, key=lambda one: one.metadata.name))
        message = f"{query} means no CassandraDataCenter in this namespace: make one whose env has the credentials"
        if overdue(run.created, run.spec.starting_deadline_seconds, run.now):
            run.end(BackupPhase.FAILED, "DeadlineExceeded", message)
        else:
            run.hold("NoDatacenterMatches", message, warn=True)
        return None

    @staticmethod
    def _first(run: Run, found: list[CassandraDataCenter]) -> CassandraDataCenter | None:
        """The first one that lacks nothing."""
        lacks = None
        for one in found:
            here = mounts.lacking(one, run.spec)
            if here is None:
                return one
            lacks = lacks or here
        if lacks is not None:
            run.refuse(lacks.reason, lacks.message)
        return None

    async def _ask(self, run: Run, datacenter: CassandraDataCenter) -> None:
        run.say("Running", "True", "Importing", "the store is asked for the backup's record")
        spec = run.spec
        where = locations.to_agents_of(datacenter, spec)

        async def question(address: Address) -> ClusterRecord:
            return await self._agents.cluster_record(
                address, where, tag=run.backup.tag, cluster=spec.source_cluster, datacenter=spec.source_datacenter,
                manifests=True,
            )  # fmt: skip

        try:
            record = await self._readers.ask(run.backup, datacenter, question)
        except AgentRefused as e:
            more = "; say which with sourceCluster and sourceDatacenter" if e.reason == _AMBIGUOUS else ""
            run.refuse(e.reason, f"{e.message}{more}")
        except NotYet as e:
            if overdue(_asked_since(run), _PATIENCE, run.now):
                run.end(BackupPhase.FAILED, e.reason, f"the store could not be asked for {_PATIENCE} s: {e.message}")
            else:
                run.status.reason, run.status.message = "Importing", f"the store is being asked; so far: {e.message}"
        else:
            if why := imported.odd(record):
                run.refuse("ManifestInvalid", f"the record of backup {run.backup.tag} cannot be used: {why}")
            else:
                imported.register(run, datacenter, record)


def _asked_since(run: Run) -> dt.datetime | None:
    running = get_condition(run.status.conditions, "Running")
    return parse_rfc3339(running.last_transition_time) if running is not None else None
