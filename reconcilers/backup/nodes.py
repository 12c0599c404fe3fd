"""What the nodes of a backup are made to do: probe, snapshot, backup and commit, and on the way out clear.

Each method looks at every node it concerns, takes over what the agents say, and answers whether all of it is done.
A failure that is final aborts the run, or leaves its node out where that is allowed.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from agent.protocol import Kind
from controller.conditions import is_true
from reconcilers.backup import clearing, destination, node_work, partial, specs
from reconcilers.backup import status as said
from reconcilers.backup.asking import Asking
from reconcilers.backup.shared import GaveUp, Shared

if TYPE_CHECKING:
    from collections.abc import Callable

    import msgspec

    from controller.clock import Clock
    from controller.conditions import Truth
    from controller.objects import RawObject
    from controller.resource import Key
    from controller.store import Store
    from reconcilers.api.backup import CassandraBackup
    from reconcilers.api.backup_status import BackupDatacenter, BackupNode
    from reconcilers.backup.run import Run
    from reconcilers.operations import Operations

# What is wrong is not the store.
_STORE_ANSWERED = frozenset({"SnapshotTagExists", "KeyspaceNotFound", "TableNotFound", "InvalidSpec", "AgentTooOld"})


class Nodes:
    def __init__(
        self, *, operations: Operations, pod_store: Store[RawObject], wake: Callable[[Key], None], clock: Clock
    ) -> None:
        self._asking = Asking(operations=operations, pod_store=pod_store, wake=wake, clock=clock)
        self._shared = Shared(self._asking)

    def forget(self, key: Key) -> None:
        self._asking.forget(key)
        self._shared.forget(key)

    def probed(self, run: Run, backups: Store[CassandraBackup]) -> bool:
        """Each datacenter's credentials, bucket, tag and tables are good, before any node is touched."""
        if is_true(run.status.conditions, "StorageReachable"):
            return True
        done = True
        for datacenter in run.status.datacenters:
            lost = [n.completion_time for n in partial.failed(run.status.nodes) if n.datacenter == datacenter.name]
            since = max([run.status.start_time, *lost])
            match self._shared.ask(run, datacenter, Kind.PROBE, specs.probe(run, datacenter), since=since):
                case None:
                    done = False
                case GaveUp() as gave_up:
                    done = False
                    if not self._without(run, gave_up):
                        return False
                case result:
                    destination.tell(run, datacenter, result, backups.all())
        if done:
            run.say("StorageReachable", "True", "Probed", f"{run.status.location} can be written")
        return done

    @staticmethod
    def _without(run: Run, gave_up: GaveUp) -> bool:
        """Whether another node can be asked. Else this is how the backup ends."""
        message = f"{gave_up.node.pod}: {gave_up.message}"
        if gave_up.silent and partial.allowed(run.spec):
            run.fail(gave_up.node, gave_up.reason, gave_up.message)
            if partial.enough(run.spec, run.status.nodes):
                return True
        reached: Truth = "True" if gave_up.reason in _STORE_ANSWERED else "False"
        run.say("StorageReachable", reached, gave_up.reason, message)
        if gave_up.lasting:
            run.refuse(gave_up.reason, message)
        else:
            run.abort(gave_up.reason, message)
        return False

    def snapshotted(self, run: Run) -> bool:
        return self._all(
            run,
            run.status.nodes,
            Kind.SNAPSHOT,
            lambda _: specs.snapshot(run),
            working=said.SNAPSHOTTING,
            finished=said.SNAPSHOTTED,
        )

    def uploaded(self, run: Run) -> bool:
        """At most ``parallelism`` nodes at a time; who began goes on first."""
        nodes = partial.going(run.status.nodes)
        if all(n.phase == said.SNAPSHOTTED for n in nodes):
            count = min(run.spec.parallelism or len(nodes), len(nodes))
            run.event("UploadStarted", f"{count} nodes upload to {run.status.location}")
        return self._in_turns(
            run,
            Kind.BACKUP,
            functools.partial(specs.backup, run),
            waiting=said.SNAPSHOTTED,
            working=said.UPLOADING,
            finished=said.UPLOADED if specs.reads_back(run) else said.COMPLETED,
        )

    def verified(self, run: Run) -> bool:
        """Every byte was read back, where that was asked for; as many nodes at a time as upload."""
        return not specs.reads_back(run) or self._in_turns(
            run,
            Kind.VERIFY,
            functools.partial(specs.verification, run),
            waiting=said.UPLOADED,
            working=said.VERIFYING,
            finished=said.COMPLETED,
        )

    def _in_turns(
        self,
        run: Run,
        kind: Kind,
        spec: Callable[[BackupNode, BackupDatacenter], msgspec.Struct],
        *,
        waiting: str,
        working: str,
        finished: str,
    ) -> bool:
        datacenters = {d.name: d for d in run.status.datacenters}
        while left := [n for n in run.status.nodes if n.phase in (waiting, working)]:
            left.sort(key=lambda n: n.phase == waiting)
            done = self._all(
                run,
                left[: run.spec.parallelism or len(left)],
                kind,
                lambda node: spec(node, datacenters[node.datacenter]),
                working=working,
                finished=finished,
            )
            if not done:
                return False
        return True

    def committed(self, run: Run) -> bool:
        """The cluster records are in the bucket, written by one agent of each datacenter. Before, nothing may run on
        the nodes that they leave out.
        """
        if not partial.written(run):
            return False
        lost = [n for n in partial.failed(run.status.nodes) if not partial.let_go(run, n)]
        if clearing.uncleared(run, self._asking, lost):
            return False
        done, since = True, partial.ready_since(run)
        for datacenter in run.status.datacenters:
            result = self._shared.ask(run, datacenter, Kind.COMMIT, specs.commit(run, datacenter), since=since)
            if isinstance(result, GaveUp):
                run.abort(result.reason, f"{result.node.pod}: {result.message}")
                return False
            if result is None:
                done = False
                continue
            run.status.cassandra_version = str(result.get("cassandraVersion", "")) or run.status.cassandra_version
            run.status.schema_version = str(result.get("schemaVersion", "")) or run.status.schema_version
        return done

    def uncleared(self, run: Run) -> dict[str, bool]:
        """See ``clearing``."""
        return clearing.uncleared(run, self._asking, run.status.nodes)

    def _all(
        self,
        run: Run,
        nodes: list[BackupNode],
        kind: Kind,
        spec: Callable[[BackupNode], msgspec.Struct],
        *,
        working: str,
        finished: str,
    ) -> bool:
        for node in nodes:
            if node.phase in (finished, said.FAILED):
                continue
            if node.phase != working:
                node_work.start(run, node, working)
            elif node.reason and not node_work.retry_due(run, node):
                continue
            operation_id = specs.operation_id(run, kind, node.attempts)
            view = self._asking.want(run, node, operation_id, kind, functools.partial(spec, node))
            node_work.take(run, node, view, finished, heard=self._asking.heard(view))
        if failed := partial.failed(run.status.nodes):
            if not partial.enough(run.spec, run.status.nodes):
                last = max(failed, key=lambda n: n.completion_time)
                run.abort(last.reason, partial.too_few(run.spec, run.status.nodes))
                return False
            if partial.written(run):
                clearing.uncleared(run, self._asking, failed)
        return all(n.phase in (finished, said.FAILED) for n in nodes)
