"""Drives a CassandraDataCenter: named steps, each of which ends the pass with an outcome or lets the next one run.

Everything is read from stores; the API server is asked for nothing but what must change. A datacenter at rest costs no
request at all, nor does the first look at it after the operator's own start.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from controller import builtin
from controller.errors import AlreadyExists
from controller.own_writes import OwnWrites
from controller.reconcile import Done, RequeueAfter
from controller.resource import Key
from reconcilers import labels
from reconcilers.api.datacenter import DATACENTERS, CassandraDataCenter
from reconcilers.api.datacenter_status import DataCenterPhase
from reconcilers.api.restore import RESTORES
from reconcilers.api.unsupported import unsupported
from reconcilers.datacenter import bootstrap, events, status
from reconcilers.datacenter.children import Children
from reconcilers.datacenter.nodes import Nodes
from reconcilers.datacenter.run import Run, Taken, look
from reconcilers.datacenter.stores import INDEX
from reconcilers.datacenter.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from controller.client import Client
    from controller.clock import Clock
    from controller.reconcile import Outcome
    from controller.recorder import Recorder
    from reconcilers.api.datacenter_status import DataCenterStatus
    from reconcilers.datacenter.nodes import NodeInfo
    from reconcilers.datacenter.stores import Stores
    from reconcilers.identity import MasterKey

_LOOK_AGAIN = 60.0  # a safety net behind every wait on somebody else
_ASK_AGAIN = 30.0  # an agent that was silent although its pod is ready
_AT_REST = frozenset({DataCenterPhase.READY, DataCenterPhase.STOPPED})


class DataCenterReconciler:
    """The only writer of a CassandraDataCenter's status and of its children."""

    def __init__(
        self,
        *,
        client: Client,
        stores: Stores,
        recorder: Recorder,
        clock: Clock,
        master: MasterKey,
        agents: NodeInfo | None = None,
        findings: Callable[[CassandraDataCenter], Iterable[Verdict]] = lambda _: (),
    ) -> None:
        self._client = client
        self._stores = stores
        self._recorder = recorder
        self._clock = clock
        self._children = Children(client, stores, clock, master)
        self._nodes = Nodes(agents, clock)
        self._findings = findings
        self._datacenters = OwnWrites(stores.datacenters)
        self._seen: dict[Key, CassandraDataCenter] = {}  # for a last word when it is gone; a restart may lose it

    async def reconcile(self, key: Key) -> Outcome:
        cdc = self._datacenters.get(key)
        if cdc is None:
            return await self._gone(key)
        self._seen[key] = cdc
        run = look(key, cdc, self._stores, self._clock.now())
        run.view.findings.extend(self._findings(cdc))
        outcome = await self._advance(run)
        silent = await self._ask(run)
        await self._save(run)
        if run.refused:
            raise run.refused[0]
        return RequeueAfter(_ASK_AGAIN, "an agent is silent") if silent and isinstance(outcome, Done) else outcome

    async def _advance(self, run: Run) -> Outcome:
        steps = (self._leave, self._check, self._share, self._restore, self._name, self._configure, self._grow)
        try:
            for step in steps:
                outcome = await step(run)
                if outcome is not None:
                    return outcome
        except Taken as e:
            run.view.findings.append(Verdict("Degraded", "True", "NameTaken", str(e)))
            return RequeueAfter(_LOOK_AGAIN, "a name is taken")
        return Done() if status.phase_of(run.view) in _AT_REST else RequeueAfter(_LOOK_AGAIN, "nodes are not ready")

    async def _leave(self, run: Run) -> Outcome | None:
        """Owner references take the children along; volumes have none, and stay."""
        return Done() if run.cdc.metadata.deletion_timestamp is not None else None

    async def _check(self, run: Run) -> Outcome | None:
        """While the spec asks for what this release cannot do, nothing is changed."""
        sentences = unsupported(run.cdc)
        if not sentences:
            return None
        run.view.findings.append(Verdict("SpecValid", "False", "FieldNotSupported", "; ".join(sentences)))
        return Done()

    async def _share(self, run: Run) -> Outcome | None:
        await self._children.share(run)
        return self._stop_if_refused(run)

    async def _restore(self, run: Run) -> Outcome | None:
        """No node before the restore has its plan: a node without a plan starts empty."""
        gate = run.view.gate
        if gate.create:
            with suppress(AlreadyExists):  # of an earlier pass; the watch will show it, and the gate judge it
                await self._client.create(RESTORES, bootstrap.restore_object(run.cdc))
        if gate.discard:  # else the first nodes would be filled with what nobody asks for any more
            plan = Key(run.key.namespace, labels.restore_plan(run.key.name))
            await self._client.delete(builtin.CONFIGMAPS, plan)
        if gate.open:
            return None
        return Done() if gate.failed else RequeueAfter(_LOOK_AGAIN, "the restore is being prepared")

    async def _name(self, run: Run) -> Outcome | None:
        """The nodes' names for each other and the source of their data are recorded before there is a node."""
        layout, before = run.view.layout, run.cdc.status
        if not before.cluster_name or not before.datacenter_name:
            fixed = {
                "cluster_name": layout.cluster_name,
                "datacenter_name": layout.datacenter_name,
                "restore": run.view.gate.summary,
                "phase": before.phase or DataCenterPhase.CREATING,
            }
            await self._write(run, msgspec.structs.replace(before, **fixed))
        return None

    async def _configure(self, run: Run) -> Outcome | None:
        await self._children.configure(run)
        return self._stop_if_refused(run)

    async def _grow(self, run: Run) -> Outcome | None:
        await self._children.grow(run)
        return self._stop_if_refused(run)

    @staticmethod
    def _stop_if_refused(run: Run) -> Outcome | None:
        if not run.refused:
            return None
        run.view.findings.append(Verdict("Degraded", "True", "ChildRefused", "; ".join(map(str, run.refused))))
        return Done()  # the error is raised once the status says it

    async def _ask(self, run: Run) -> bool:
        """Whether an agent was silent that should have answered."""
        by_name = {pod.metadata.name: pod for pod in run.pods}
        pods = [(state, by_name[state.name]) for state in run.view.pods]
        answers = await self._nodes.learn(run.key, pods, run.cdc.status.nodes)
        run.view.nodes = answers.nodes
        return answers.silent

    async def _save(self, run: Run) -> None:
        backups = self._stores.backups.by_index(INDEX, str(run.key))
        before, cdc = run.cdc.status, run.cdc
        after = status.compute(run.view, backups, self._clock.now())
        if after == before:
            return
        await self._write(run, after)
        for type_, reason, message in events.of_change(before, after):
            self._recorder.event(DATACENTERS, cdc, type_, reason, message)

    async def _write(self, run: Run, after: DataCenterStatus) -> None:
        cdc = run.cdc
        body = await self._client.patch_status(
            DATACENTERS,
            run.key,
            msgspec.to_builtins(after),
            uid=cdc.metadata.uid,
            resource_version=cdc.metadata.resource_version,
        )
        run.view.cdc = msgspec.convert(body, CassandraDataCenter)
        self._datacenters.wrote(cdc, run.view.cdc)

    async def _gone(self, key: Key) -> Outcome:
        cdc = self._seen.get(key)
        if cdc is None:
            return Done()  # before our time; what is to be said was said
        selector = f"{labels.DATACENTER}={key.name}"
        claims = await self._client.list(builtin.PVCS, key.namespace, label_selector=selector)
        if claims:
            message = events.volumes_kept([claim["metadata"]["name"] for claim in claims])
            self._recorder.event(DATACENTERS, cdc, "Normal", "VolumeKept", message)
        self._seen.pop(key)
        self._children.forget(key)
        self._nodes.forget(key)
        return Done()
