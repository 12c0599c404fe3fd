"""Resolves a backup's selection once, from the API server itself, and freezes it in the status."""

from __future__ import annotations

from typing import TYPE_CHECKING

from controller.builtin import PODS
from controller.errors import Invalid
from controller.resource import Key
from reconcilers import labels, locations, mounts, pods
from reconcilers.api.backup_status import BackupDatacenter, BackupNode, BackupPhase, BackupStorage
from reconcilers.backup import selection
from reconcilers.backup import status as said

if TYPE_CHECKING:
    from controller.client import Client
    from controller.objects import RawObject
    from controller.store import Store
    from reconcilers.api.datacenter import CassandraDataCenter
    from reconcilers.backup.run import Run
    from reconcilers.backup.selection import SelectedPod

_LAYOUT = 1


class Selector:
    def __init__(self, *, client: Client, datacenters: Store[CassandraDataCenter], pod_store: Store[RawObject]) -> None:
        self._client = client
        self._datacenters = datacenters
        self._pods = pod_store

    async def select(self, run: Run) -> bool:
        """True when the nodes are in the status. Else the run was ended, or it holds and says why."""
        query = selection.effective_selector(run.backup)
        run.status.effective_selector = query
        if not query:
            self._refuse(
                run, "EmptySelector",
                "nothing selects the pods: give this object labels, as cassandra-datacenter: NAME, or spec.selector",
            )  # fmt: skip
            return False
        try:
            found = await self._client.list(PODS, run.key.namespace, label_selector=query)
        except Invalid as e:
            self._refuse(run, "InvalidSelector", f"the selector {query} is not valid: {e.message}")
            return False
        selected = selection.cassandra_pods(found)
        if not selected:
            run.hold("NoPodsMatch", f"no Cassandra pod in this namespace matches {query}", warn=True)
            run.say("Accepted", "False", "NoPodsMatch", f"no Cassandra pod in this namespace matches {query}")
            return False
        by_datacenter: dict[str, list[SelectedPod]] = {}
        for pod in selected:
            by_datacenter.setdefault(pod.datacenter, []).append(pod)
        datacenters = []
        for name, chosen in sorted(by_datacenter.items()):
            datacenter = self._complete(run, name, chosen)
            if datacenter is None:
                return False
            datacenters.append(datacenter)
        self._freeze(run, datacenters, selected)
        return True

    def _complete(self, run: Run, name: str, chosen: list[SelectedPod]) -> BackupDatacenter | None:
        """All nodes of the datacenter are chosen and up: without one of them no restore is possible."""
        datacenter = self._datacenters.get(Key(run.key.namespace, name))
        if datacenter is None or not datacenter.status.cluster_name:
            run.hold("DatacenterNotReady", f"datacenter {name} is not set up yet", warn=True)
            return None
        if (lacks := self._lacking(run, datacenter)) is not None:
            self._refuse(run, lacks.reason, lacks.message)
            return None
        names = {pod.name for pod in chosen}
        mine = [p for p in self._pods.all() if p.metadata.labels.get(labels.DATACENTER_UID) == datacenter.metadata.uid]
        left_out = sorted(
            p.metadata.name for p in mine if p.metadata.name not in names and labels.OPERATOR in p.metadata.labels
        )
        if left_out:
            self._refuse(
                run, "PartialSelection",
                f"the selector leaves out {', '.join(left_out[:3])} of datacenter {name}: "
                "a backup holds whole datacenters, so select by a label that all their pods carry",
            )  # fmt: skip
            return None
        down = sorted(p.metadata.name for p in mine if not pods.ready(p))
        if len(chosen) < datacenter.spec.replicas or down:
            missing = ", ".join(down[:3]) or f"{datacenter.spec.replicas - len(chosen)} of its pods"
            run.hold("NodesNotReady", f"datacenter {name} waits for {missing}", warn=True)
            return None
        status = datacenter.status
        return BackupDatacenter(
            name=name,
            uid=datacenter.metadata.uid,
            cluster_name=status.cluster_name,
            datacenter_name=status.datacenter_name,
            nodes=len(chosen),
            credentials_path=mounts.credentials(datacenter, run.spec.credentials_secret_ref),
        )

    @staticmethod
    def _lacking(run: Run, datacenter: CassandraDataCenter) -> mounts.Lacking | None:
        spec = run.spec
        return mounts.lacking(datacenter, spec.backup_type, spec.target, spec.credentials_secret_ref)

    @staticmethod
    def _refuse(run: Run, reason: str, message: str) -> None:
        run.say("Accepted", "False", reason, message)
        run.end(BackupPhase.FAILED_VALIDATION, reason, message)

    @staticmethod
    def _freeze(run: Run, datacenters: list[BackupDatacenter], selected: list[SelectedPod]) -> None:
        status, spec = run.status, run.spec
        status.datacenters = datacenters
        status.nodes = [
            BackupNode(pod=p.name, uid=p.uid, datacenter=p.datacenter, rack=p.rack, phase=said.PENDING)
            for p in selected
        ]
        status.snapshot_tag = run.backup.tag
        status.layout_version = _LAYOUT
        status.location = locations.uri(spec.backup_type, spec.target)
        status.storage = BackupStorage(
            backup_type=spec.backup_type.value, target=spec.target, endpoint=spec.endpoint,
            credentials_secret_ref=spec.credentials_secret_ref,
        )  # fmt: skip
        status.reason = status.message = ""
        message = f"{len(selected)} nodes of {', '.join(d.name for d in datacenters)}"
        run.say("Accepted", "True", "SelectionResolved", message)
        run.event("SelectionResolved", message)
