"""Resolves a backup's selection once, from the API server itself, and freezes it in the status."""

from __future__ import annotations

from typing import TYPE_CHECKING

from controller.builtin import PODS
from controller.errors import Invalid
from controller.resource import Key
from reconcilers import labels, locations, mounts, pods
from reconcilers.access import access_of
from reconcilers.api.backup_status import BackupDatacenter, BackupNode, BackupStorage
from reconcilers.backup import partial, selection
from reconcilers.backup import status as said
from reconcilers.mounts import Secrets

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
        if wrong := selection.problem(run.spec.selector):
            run.refuse("InvalidSelector", f"spec.selector is not valid: {wrong}")
            return False
        query = selection.effective_selector(run.backup)
        run.status.effective_selector = query
        if not query:
            skipped = selection.ignored(run.backup)
            run.refuse(
                "EmptySelector",
                "nothing selects the pods: give this object labels, as cassandra-datacenter: NAME, or spec.selector"
                + (f" ({', '.join(skipped)} say nothing: tools set them)" if skipped else ""),
            )
            return False
        try:
            found = await self._client.list(PODS, run.key.namespace, label_selector=query)
        except Invalid as e:
            run.refuse("InvalidSelector", f"the selector {query} is not valid: {e.message}")
            return False
        selected = selection.cassandra_pods(found)
        if not selected:
            run.hold("NoPodsMatch", f"no Cassandra pod in this namespace matches {query}", warn=True)
            run.say("Accepted", "False", "NoPodsMatch", f"no Cassandra pod in this namespace matches {query}")
            return False
        by_datacenter: dict[str, list[SelectedPod]] = {}
        for pod in selected:
            by_datacenter.setdefault(pod.datacenter, []).append(pod)
        datacenters: list[BackupDatacenter] = []
        nodes: list[BackupNode] = []
        for name, chosen in sorted(by_datacenter.items()):
            datacenter = self._complete(run, name, chosen)
            if datacenter is None or (found_nodes := self._nodes(run, datacenter, chosen)) is None:
                return False
            status = datacenter.status
            paths = mounts.paths(datacenter, Secrets.of(run.spec))
            datacenters.append(
                BackupDatacenter(
                    name=name,
                    uid=datacenter.metadata.uid,
                    cluster_name=status.cluster_name,
                    datacenter_name=status.datacenter_name,
                    nodes=len(partial.going(found_nodes)),
                    access=access_of(datacenter),
                    credentials_path=paths.credentials,
                    ca_bundle_path=paths.ca_bundle,
                )
            )
            nodes += found_nodes
        if not _enough(run, nodes):
            return False
        self._freeze(run, datacenters, nodes)
        return True

    def _complete(self, run: Run, name: str, chosen: list[SelectedPod]) -> CassandraDataCenter | None:
        """The datacenter, where it can be backed up and all of its pods are chosen."""
        datacenter = self._datacenters.get(Key(run.key.namespace, name))
        if datacenter is None or not datacenter.status.cluster_name:
            run.hold("DatacenterNotReady", f"datacenter {name} is not set up yet", warn=True)
            return None
        if (lacks := mounts.lacking(datacenter, run.spec)) is not None:
            run.refuse(lacks.reason, lacks.message)
            return None
        names = {pod.name for pod in chosen}
        left_out = sorted(
            p.metadata.name
            for p in self._pods_of(datacenter)
            if p.metadata.name not in names and labels.OPERATOR in p.metadata.labels
        )
        if left_out:
            run.refuse(
                "PartialSelection",
                f"the selector leaves out {', '.join(left_out[:3])} of datacenter {name}: "
                "a backup holds whole datacenters, so select by a label that all their pods carry",
            )  # fmt: skip
            return None
        return datacenter

    def _nodes(self, run: Run, datacenter: CassandraDataCenter, chosen: list[SelectedPod]) -> list[BackupNode] | None:
        """Its nodes, in order. Those that are down are waited for; where some may be missing they count as failed."""
        name, status = datacenter.metadata.name, datacenter.status
        down = {p.metadata.name for p in self._pods_of(datacenter) if not pods.ready(p)}
        here = {p.name for p in chosen}
        lacking = max(0, datacenter.spec.replicas - len(here))
        gone = sorted((n for n in status.nodes if n.pod not in here), key=lambda n: (len(n.pod), n.pod))[:lacking]
        if (down or lacking) and (partial.patient(run) or len(gone) < lacking):
            missing = ", ".join(sorted(down)[:3]) or f"{lacking} of its pods"
            run.hold("NodesNotReady", f"datacenter {name} waits for {missing}", warn=True)
            return None
        hosts = {n.pod: n.host_id for n in status.nodes}
        nodes = [BackupNode(pod=p.name, uid=p.uid, datacenter=name, rack=p.rack, phase=said.PENDING) for p in chosen]
        nodes += [BackupNode(pod=n.pod, datacenter=name, rack=n.rack) for n in gone]
        for node in nodes:
            node.host_id = hosts.get(node.pod, "")
            if node.pod in down or node.pod not in here:
                node.phase, node.reason, node.message = said.FAILED, partial.NODE_DOWN, partial.WAS_DOWN
        return sorted(nodes, key=lambda n: (len(n.pod), n.pod))

    def _pods_of(self, datacenter: CassandraDataCenter) -> list[RawObject]:
        uid = datacenter.metadata.uid
        return [p for p in self._pods.all() if p.metadata.labels.get(labels.DATACENTER_UID) == uid]

    @staticmethod
    def _freeze(run: Run, datacenters: list[BackupDatacenter], nodes: list[BackupNode]) -> None:
        status, spec = run.status, run.spec
        status.datacenters = datacenters
        status.nodes = nodes
        status.snapshot_tag = run.backup.tag
        status.layout_version = _LAYOUT
        status.location = locations.uri(spec.backup_type, spec.target)
        status.storage = BackupStorage(
            backup_type=spec.backup_type.value, target=spec.target, endpoint=spec.endpoint,
            credentials_secret_ref=spec.credentials_secret_ref,
        )  # fmt: skip
        status.reason = status.message = ""
        message = f"{len(nodes)} nodes of {', '.join(d.name for d in datacenters)}"
        if lost := partial.failed(nodes):
            message += f", without {said.failed_nodes(nodes)}"
            for node in lost:
                run.event("NodeBackupFailed", f"{node.pod}: {node.message}", "Warning")
        run.say("Accepted", "True", "SelectionResolved", message)
        run.event("SelectionResolved", message)


def _enough(run: Run, nodes: list[BackupNode]) -> bool:
    """Else the run was ended, or holds."""
    wanted = partial.least(run.spec, len(nodes))
    if wanted > len(nodes):
        run.refuse("MinNodes", f"minNodes is {wanted}, and the selection has {len(nodes)} nodes")
        return False
    if not partial.enough(run.spec, nodes):
        run.hold("NodesNotReady", partial.too_few(run.spec, nodes), warn=True)
        return False
    return True
