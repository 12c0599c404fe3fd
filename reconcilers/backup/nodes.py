"""What the nodes of a backup are made to do: probe, snapshot, backup and commit, and on the way out clear.

Each method looks at every node it concerns, takes over what the agents say, and answers whether all of it is done.
A failure that is final aborts the run, or leaves its node out where that is allowed.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import msgspec

from agent.protocol import Kind, NodeDigest
from controller.clock import rfc3339
from controller.conditions import is_true
from reconcilers.backup import clearing, partial, policy, specs
from reconcilers.backup import status as said
from reconcilers.backup.asking import Asking
from reconcilers.backup.shared import GaveUp, Shared

if TYPE_CHECKING:
    from collections.abc import Callable

    from controller.clock import Clock
    from controller.conditions import Truth
    from controller.objects import RawObject
    from controller.resource import Key
    from controller.store import Store
    from reconcilers.api.backup_status import BackupNode
    from reconcilers.backup.run import Run
    from reconcilers.operations import Operations, View

# What is wrong is not the store.
_STORE_ANSWERED = frozenset({"SnapshotTagExists", "KeyspaceNotFound", "TableNotFound", "InvalidSpec"})


class Nodes:
    def __init__(
        self, *, operations: Operations, pod_store: Store[RawObject], wake: Callable[[Key], None], clock: Clock
    ) -> None:
        self._asking = Asking(operations=operations, pod_store=pod_store, wake=wake, clock=clock)
        self._shared = Shared(self._asking)

    def forget(self, key: Key) -> None:
        self._asking.forget(key)
        self._shared.forget(key)

    def probed(self, run: Run) -> bool:
        """Each datacenter's credentials, bucket, tag and tables are good, before any node is touched."""
        if is_true(run.status.conditions, "StorageReachable"):
            return True
        done = True
        for datacenter in run.status.datacenters:
            lost = [n.completion_time for n in partial.failed(run.status.nodes) if n.datacenter == datacenter.name]
            since = max([run.status.start_time, *lost])
            probed = self._shared.ask(run, datacenter, Kind.PROBE, specs.probe(run, datacenter), since=since)
            if isinstance(probed, GaveUp):
                if not self._without(run, probed):
                    return False
                probed = None
            done = done and probed is not None
        if done:
            run.say("StorageReachable", "True", "Probed", f"{run.status.location} can be written")
        return done

    @staticmethod
    def _without(run: Run, gave_up: GaveUp) -> bool:
        """Whether another node can be asked. Else this is how the backup ends."""
        message = f"{gave_up.node.pod}: {gave_up.message}"
        if gave_up.silent and partial.allowed(run.spec):
            _fail(run, gave_up.node, gave_up.reason, gave_up.message)
            if partial.enough(run.spec, run.status.nodes):
                return True
        reached: Truth = "True" if gave_up.reason in _STORE_ANSWERED else "False"
        run.say("StorageReachable", reached, gave_up.reason, message)
        if gave_up.invalid:
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
        limit = run.spec.parallelism or len(nodes)
        if all(n.phase == said.SNAPSHOTTED for n in nodes):
            run.event("UploadStarted", f"{min(limit, len(nodes))} nodes upload to {run.status.location}")
        datacenters = {d.name: d for d in run.status.datacenters}
        while left := [n for n in partial.going(nodes) if n.phase != said.COMPLETED]:
            left.sort(key=lambda n: n.phase == said.SNAPSHOTTED)
            done = self._all(
                run,
                left[:limit],
                Kind.BACKUP,
                lambda node: specs.backup(run, node, datacenters[node.datacenter]),
                working=said.UPLOADING,
                finished=said.COMPLETED,
            )
            if not done:
                return False
        return True

    def committed(self, run: Run) -> bool:
        """The cluster records are in the bucket, written by one agent of each datacenter. Before, nothing may run on
        the nodes that they leave out.
        """
        lost = partial.failed(run.status.nodes)
        limit = run.spec.node_progress_deadline_seconds
        if clearing.uncleared(
            run, self._asking, [n for n in lost if not policy.overdue(said.moment(n.completion_time), limit, run.now)]
        ):
            return False
        done = True
        since = max(n.completion_time for n in run.status.nodes)
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

    def uncleared(self, run: Run) -> list[str]:
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
                _start(run, node, working)
            elif node.reason and not _retry_due(run, node):
                continue
            operation_id = specs.operation_id(run, kind, node.attempts)
            _take(run, node, self._asking.want(run, node, operation_id, kind, functools.partial(spec, node)), finished)
        if failed := partial.failed(run.status.nodes):
            if not partial.enough(run.spec, run.status.nodes):
                run.abort(failed[-1].reason, partial.too_few(run.spec, run.status.nodes))
                return False
            clearing.uncleared(run, self._asking, failed)
        return all(n.phase in (finished, said.FAILED) for n in nodes)


def _start(run: Run, node: BackupNode, phase: str) -> None:
    node.phase = phase
    node.attempts = 1
    node.start_time = node.start_time or rfc3339(run.now)
    node.last_progress_time = rfc3339(run.now)


def _retry_due(run: Run, node: BackupNode) -> bool:
    """A node that failed and may try again carries its reason until it does."""
    last = said.moment(node.last_progress_time)
    if last is not None and (run.now - last).total_seconds() < policy.retry_delay(node.attempts):
        return False
    node.attempts += 1
    node.reason = node.message = ""
    node.last_progress_time = rfc3339(run.now)
    return True


def _take(run: Run, node: BackupNode, view: View | None, finished: str) -> None:
    if view is not None:
        said.observe(node, view)
    tries = node.attempts + (policy.restarts(view) if view else 0)
    verdict = policy.judge(view, attempts=tries, retries=run.spec.retries) if view else policy.Running()
    match verdict:
        case policy.Succeeded():
            node.phase = finished
            if finished == said.COMPLETED and view is not None and view.operation is not None:
                _record(run, node, view.operation.result)
        case policy.TryAgain(reason, message):
            node.reason, node.message = reason, message
            node.last_progress_time = rfc3339(run.now)
            run.event("NodeRetry", f"{node.pod}: {message}", "Warning")
        case policy.GiveUp(reason, message):
            _fail(run, node, reason, message)
        case policy.Running():
            limit = run.spec.node_progress_deadline_seconds
            if tries > run.spec.retries + 1:
                message = f"its agent was restarted {tries - node.attempts} times: see its log"
                _fail(run, node, "AgentRestarted", message)
            elif policy.overdue(said.moment(node.last_progress_time), limit, run.now):
                silence = f": {view.silence}" if view is not None and view.silence else ""
                _fail(run, node, "NoProgress", f"no progress for {limit} s{silence}")


def _record(run: Run, node: BackupNode, result: dict[str, object]) -> None:
    digest = msgspec.convert(result, NodeDigest)
    node.host_id, node.digest, node.tokens = digest.host_id, digest.digest, digest.tokens
    node.files, node.bytes_total = digest.files, digest.bytes
    node.bytes_done, node.progress = digest.bytes, "100%"
    node.completion_time = rfc3339(run.now)


def _fail(run: Run, node: BackupNode, reason: str, message: str) -> None:
    node.phase, node.reason, node.message = said.FAILED, reason, message
    node.completion_time = rfc3339(run.now)
    run.event("NodeBackupFailed", f"{node.pod}: {message}", "Warning")
