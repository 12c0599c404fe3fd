"""Drives a CassandraRestore: Pending → Validating → Preparing → Downloading → Starting → Completed or Failed.

Nothing is touched before the bucket's own record of the backup was read and fits. Then the plan is written, which lets
the datacenter's reconciler make the pods; their init containers download, each once, and what they report is shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from controller.clock import rfc3339
from controller.desired import ensure
from controller.errors import ApiError
from controller.reconcile import Done, RequeueAfter
from controller.resource import Key
from reconcilers import inspector, labels
from reconcilers.agents import AgentRefused, AgentUnreachable
from reconcilers.api.restore import (
    FINAL_PHASES,
    RESTORES,
    CassandraRestore,
    NodeMapping,
    RestoreNode,
    RestoreNodeSource,
    RestorePhase,
    RestoreTotals,
)
from reconcilers.api.unsupported import unsupported
from reconcilers.backup.policy import overdue
from reconcilers.backup.status import moment
from reconcilers.datacenter.layout import first_pods, racks_of
from reconcilers.restore import plan, source
from reconcilers.restore.mapping import TopologyMismatch, assign
from reconcilers.restore.run import WAITING, Run, urgent
from reconcilers.status_writer import StatusWriter
from reconcilers.words import some

if TYPE_CHECKING:
    from agent.protocol import ClusterRecord
    from controller.client import Client
    from controller.clock import Clock
    from controller.objects import RawObject
    from controller.reconcile import Outcome
    from controller.recorder import Recorder
    from controller.store import Store
    from reconcilers.agents import Agents
    from reconcilers.api.backup import CassandraBackup
    from reconcilers.api.datacenter import CassandraDataCenter
    from reconcilers.inspector import Inspectors
    from reconcilers.restore.nodes import Nodes

_LOOK_AGAIN = 5.0  # counters and deadlines are looked at this often; nothing is written unless something changed
_INSPECTION = 2.0  # seconds between two looks at an inspector that starts
_INSPECTION_DEADLINE = 300  # seconds
_PASSING = frozenset({"StorageUnreachable", "StorageThrottled"})  # an agent's reasons that may go away by themselves


class RestoreReconciler:
    """The only writer of a CassandraRestore's status, and of the plan."""

    def __init__(
        self,
        *,
        client: Client,
        restores: Store[CassandraRestore],
        backups: Store[CassandraBackup],
        datacenters: Store[CassandraDataCenter],
        statefulsets: Store[RawObject],
        config_maps: Store[RawObject],
        inspectors: Inspectors,
        agents: Agents,
        nodes: Nodes,
        recorder: Recorder,
        clock: Clock,
    ) -> None:
        self._client = client
        self._restores = restores
        self._status = StatusWriter(
            RESTORES, CassandraRestore, client=client, store=restores, recorder=recorder, clock=clock
        )
        self._backups = backups
        self._datacenters = datacenters
        self._statefulsets = statefulsets
        self._config_maps = config_maps
        self._inspectors = inspectors
        self._agents = agents
        self._nodes = nodes
        self._clock = clock

    async def reconcile(self, key: Key) -> Outcome:
        restore = self._status.current(key)
        if restore is None or restore.metadata.deletion_timestamp:
            self._forget(key)
            return Done()
        run = Run(restore, self._clock.now())
        if run.ended:
            self._forget(key)
            await self._inspectors.end(restore)
            return Done()
        outcome = await self._advance(run)
        return await self._save(run, outcome)

    async def _advance(self, run: Run) -> Outcome:
        if (outcome := self._stopped(run)) is not None:
            return outcome
        datacenter = self._datacenters.get(Key(run.key.namespace, run.spec.datacenter))
        if datacenter is None:
            run.hold(
                "DatacenterNotFound", f"there is no CassandraDataCenter {run.spec.datacenter} in this namespace yet"
            )
            return RequeueAfter(_LOOK_AGAIN, "DatacenterNotFound")
        if not run.status.mapping:
            return await self._validate(run, datacenter)
        if run.status.phase in (RestorePhase.PREPARING, RestorePhase.DOWNLOADING):
            run.status.phase = RestorePhase.DOWNLOADING
            if not self._nodes.downloaded(run):
                return Done() if run.ended else RequeueAfter(_LOOK_AGAIN, "Downloading")
            run.say("Downloaded", "True", "Downloaded", "every node has its data, verified")
            run.status.phase = RestorePhase.STARTING
        return await self._start(run, datacenter)

    def _stopped(self, run: Run) -> Outcome | None:
        refusals = unsupported(run.spec)
        since = run.status.start_time or run.restore.metadata.creation_timestamp
        if refusals and not run.status.mapping:
            run.refuse("FieldNotSupported", "; ".join(refusals))
        elif run.spec.cancel:
            if not self._nodes.cancelled(run):
                return RequeueAfter(_LOOK_AGAIN, "cancelling")
            run.cancel()
        elif overdue(moment(since), run.spec.active_deadline_seconds, run.now):
            waited = f": {run.status.message}" if run.status.message else ""
            run.fail("DeadlineExceeded", f"the restore did not end within {run.spec.active_deadline_seconds} s{waited}")
        return Done() if run.ended else None

    async def _validate(self, run: Run, datacenter: CassandraDataCenter) -> Outcome:
        """Everything that can be known before a volume is made."""
        run.status.start_time = run.status.start_time or rfc3339(run.now)
        if self._occupied(datacenter):
            run.refuse(
                "DatacenterNotEmpty",
                f"datacenter {datacenter.metadata.name} runs already: a restore fills a new one, so give another name",
            )
            return Done()
        if other := self._filling(run):
            run.refuse("RestoreInProgress", f"restore {other} fills datacenter {datacenter.metadata.name} already")
            return Done()
        found = source.resolve(run.restore, self._backups)
        if isinstance(found, source.Source):
            found = source.reached(found, datacenter)
        if isinstance(found, source.Never):
            run.refuse(found.reason, found.message)
            return Done()
        if isinstance(found, source.NotYet):
            run.hold(found.reason, found.message)
            return RequeueAfter(_LOOK_AGAIN, found.reason)
        if run.status.phase == RestorePhase.PENDING:
            run.status.phase = RestorePhase.VALIDATING
            run.status.location, run.status.snapshot_tag = found.uri, found.tag
            run.status.start_time = rfc3339(run.now)  # what was waited for does not count
            run.status.reason, run.status.message = "Inspecting", "an inspector pod reads the backup's record"
        record = await self._inspect(run, datacenter, found)
        if record is None:
            return Done() if run.ended else RequeueAfter(_INSPECTION, "Inspecting")
        return await self._prepare(run, datacenter, found, record)

    def _occupied(self, datacenter: CassandraDataCenter) -> bool:
        names = {rack.statefulset for rack in racks_of(datacenter)}
        namespace = datacenter.metadata.namespace
        return any(self._statefulsets.get(Key(namespace, name)) is not None for name in names)

    def _filling(self, run: Run) -> str:
        """Another restore of the same datacenter that goes first: it has a plan, or it is older."""

        def place(restore: CassandraRestore) -> tuple[bool, str, str]:
            return not restore.status.mapping, restore.metadata.creation_timestamp, restore.metadata.uid

        others = [
            r
            for r in self._restores.all()
            if r.metadata.namespace == run.key.namespace
            and r.spec.datacenter == run.spec.datacenter
            and r.status.phase not in FINAL_PHASES
            and place(r) < place(run.restore)
        ]
        return min(others, key=place).metadata.name if others else ""

    async def _inspect(self, run: Run, datacenter: CassandraDataCenter, found: source.Source) -> ClusterRecord | None:
        """The backup's record as the bucket has it; None while that takes, or where the run was ended."""
        late = overdue(moment(run.status.start_time), _INSPECTION_DEADLINE, run.now)
        problem = "the inspector has not started"
        pod = self._inspectors.find(run.restore)
        try:
            if pod is None:
                await self._inspectors.start(run.restore, datacenter)
            elif (where := inspector.address(pod, datacenter)) is not None:
                return await self._agents.cluster_record(
                    where, found.location, cluster=found.cluster, datacenter=found.datacenter, tag=found.tag
                )
            else:
                problem = self._nodes.waiting_reason(pod) or problem
        except AgentRefused as e:
            if e.reason not in _PASSING:
                run.refuse(e.reason, e.message)
                return None
            problem = e.message
        except (AgentUnreachable, ApiError, TimeoutError) as e:
            problem = str(e) or "the inspector does not answer"
        if late:
            run.refuse("InspectionFailed", f"the backup could not be read: {problem}")
        elif pod is not None and problem not in run.status.message:
            run.status.message = f"an inspector pod reads the backup's record; so far: {problem}"
        return None

    async def _prepare(
        self, run: Run, datacenter: CassandraDataCenter, found: source.Source, record: ClusterRecord
    ) -> Outcome:
        if (refusal := source.check_whole(record)) is not None:
            run.refuse(refusal.reason, refusal.message)
            return Done()
        try:
            pairs = assign(record.nodes, first_pods(datacenter))
        except TopologyMismatch as e:
            run.refuse("TopologyMismatch", str(e))
            return Done()
        key = Key(run.key.namespace, labels.restore_plan(datacenter.metadata.name))
        await ensure(
            self._client,
            plan.RESOURCE,
            plan.config_map(run.restore, datacenter, found, pairs),
            self._config_maps.get(key),
        )
        status = run.status
        status.phase = RestorePhase.PREPARING
        status.reason = status.message = ""
        status.restore_id = run.restore.metadata.uid
        status.source_cluster_name, status.source_datacenter_name = found.cluster, found.datacenter
        status.schema_version = ""
        status.mapping = [NodeMapping(node=p.pod, source=p.source.node) for p in pairs]
        status.nodes = [
            RestoreNode(
                pod=p.pod,
                source=RestoreNodeSource(host_id=p.source.host_id, pod=p.source.node, rack=p.rack),
                phase=WAITING,
                bytes_total=p.source.bytes,
                last_progress_time=rfc3339(run.now),
            )
            for p in pairs
        ]
        status.totals = RestoreTotals(files=sum(p.source.files for p in pairs))
        message = f"{len(pairs)} nodes from {found.uri}, backup {found.tag} of {found.cluster}/{found.datacenter}"
        message += f", of {some(record.entities)} alone" if record.entities else ""
        run.say("Validated", "True", "RestoreValidated", message)
        run.event("RestoreValidated", message)
        return Done()  # the mapping is written before anything is done by it

    async def _start(self, run: Run, datacenter: CassandraDataCenter) -> Outcome:
        await self._inspectors.end(run.restore)
        if not self._nodes.started(run):
            return Done() if run.ended else RequeueAfter(_LOOK_AGAIN, "Starting")
        run.say("NodesStarted", "True", "NodesStarted", "every node serves clients")
        version = await self._nodes.schema_version(run)
        if not version:
            run.say("SchemaAgreed", "False", "SchemaDisagreement", "the nodes do not agree on the schema yet")
            return RequeueAfter(_LOOK_AGAIN, "SchemaDisagreement")
        run.status.schema_version = version
        run.say("SchemaAgreed", "True", "SchemaAgreed", f"every node has schema {version}")
        # From here on a node that loses its volume is replaced by its peers' data, never by this backup's.
        await self._client.delete(plan.RESOURCE, Key(run.key.namespace, labels.restore_plan(datacenter.metadata.name)))
        run.complete(f"{len(run.status.nodes)} nodes serve what backup {run.status.snapshot_tag} held")
        return Done()

    async def _save(self, run: Run, outcome: Outcome) -> Outcome:
        run.summarize()
        old, new = run.restore.status, run.status
        return await self._status.save(run.restore, old, new, outcome, urgent=urgent(old, new), events=run.events)

    def _forget(self, key: Key) -> None:
        self._nodes.forget(key)
        self._status.forget(key)
