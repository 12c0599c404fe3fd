"""What the nodes of a backup are made to do: probe, snapshot, backup and commit, and on the way out clear.

Each method looks at every node it concerns, takes over what the agents say, and answers whether all of it is done.
A failure that is final aborts the run.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from agent.protocol import (
    BackupSpec,
    ClearSpec,
    CommitSpec,
    Kind,
    Location,
    NodeDigest,
    ProbeSpec,
    SnapshotSpec,
)
from controller.clock import rfc3339
from controller.conditions import is_true
from controller.resource import Key
from reconcilers import locations, pods
from reconcilers.api.backup_status import BackupPhase
from reconcilers.api.quantity import parse
from reconcilers.backup import policy
from reconcilers.backup import status as said

if TYPE_CHECKING:
    from collections.abc import Callable

    from controller.clock import Clock
    from controller.conditions import Truth
    from controller.objects import RawObject
    from controller.store import Store
    from reconcilers.agents import Address
    from reconcilers.api.backup_status import BackupDatacenter, BackupNode
    from reconcilers.backup.run import Run
    from reconcilers.operations import Operations, View

_STORE_ANSWERED = frozenset({"SnapshotTagExists"})  # what is wrong is not the store
_SILENT = 30.0  # seconds without an answer after which a node no longer holds up an ending backup


@dataclass(frozen=True, slots=True)
class _Try:
    """Of what one agent does for its whole datacenter. Lost with the operator: then the agents tell of it once more."""

    number: int = 1
    not_before: dt.datetime | None = None


class Nodes:
    def __init__(
        self, *, operations: Operations, pod_store: Store[RawObject], wake: Callable[[Key], None], clock: Clock
    ) -> None:
        self._operations = operations
        self._pods = pod_store
        self._wake = wake
        self._clock = clock
        self._tries: dict[tuple[Key, str, Kind], _Try] = {}

    def forget(self, key: Key) -> None:
        self._operations.forget(key)
        self._tries = {k: v for k, v in self._tries.items() if k[0] != key}

    def probed(self, run: Run) -> bool:
        """Each datacenter's credentials, bucket and tag are good, before any node is touched."""
        if is_true(run.status.conditions, "StorageReachable"):
            return True
        done = True
        for datacenter in run.status.datacenters:
            spec = ProbeSpec(
                location=_location(run), cluster=datacenter.cluster_name, datacenter=datacenter.datacenter_name,
                tag=run.status.snapshot_tag, backup_id=run.uid,
            )  # fmt: skip
            probed = self._shared(run, datacenter, Kind.PROBE, spec, since=run.status.start_time)
            if run.aborting:
                reached: Truth = "True" if run.status.reason in _STORE_ANSWERED else "False"
                run.say("StorageReachable", reached, run.status.reason, run.status.message)
                return False
            done = done and probed is not None
        if done:
            run.say("StorageReachable", "True", "Probed", f"{run.status.location} can be written")
        return done

    def snapshotted(self, run: Run) -> bool:
        return self._all(
            run,
            run.status.nodes,
            Kind.SNAPSHOT,
            lambda _: SnapshotSpec(tag=run.status.snapshot_tag),
            working=said.SNAPSHOTTING,
            finished=said.SNAPSHOTTED,
        )

    def uploaded(self, run: Run) -> bool:
        """At most ``parallelism`` nodes at a time; who began goes on first."""
        nodes = run.status.nodes
        limit = run.spec.parallelism or len(nodes)
        if all(n.phase == said.SNAPSHOTTED for n in nodes):
            run.event("UploadStarted", f"{min(limit, len(nodes))} nodes upload to {run.status.location}")
        datacenters = {d.name: d for d in run.status.datacenters}
        while left := [n for n in nodes if n.phase != said.COMPLETED]:
            left.sort(key=lambda n: n.phase == said.SNAPSHOTTED)
            done = self._all(
                run,
                left[:limit],
                Kind.BACKUP,
                lambda node: _backup_spec(run, node, datacenters[node.datacenter]),
                working=said.UPLOADING,
                finished=said.COMPLETED,
            )
            if not done:
                return False
        return True

    def committed(self, run: Run) -> bool:
        """The cluster records are in the bucket, written by one agent of each datacenter."""
        done = True
        since = max(n.completion_time for n in run.status.nodes)
        for datacenter in run.status.datacenters:
            nodes = [n for n in run.status.nodes if n.datacenter == datacenter.name]
            spec = CommitSpec(
                location=_location(run), cluster=datacenter.cluster_name, datacenter=datacenter.datacenter_name,
                tag=run.status.snapshot_tag, backup_id=run.uid, nodes=[_digest(n) for n in nodes],
            )  # fmt: skip
            result = self._shared(run, datacenter, Kind.COMMIT, spec, since=since)
            if run.aborting:
                return False  # no other datacenter's answer may hide the reason
            if result is None:
                done = False
                continue
            run.status.cassandra_version = str(result.get("cassandraVersion", "")) or run.status.cassandra_version
            run.status.schema_version = str(result.get("schemaVersion", "")) or run.status.schema_version
        return done

    def uncleared(self, run: Run) -> tuple[list[str], bool]:
        """Pods on which something of this backup may still run, or its snapshot stand; and whether all of them are
        given up. A silent node is not waited for: its agent sweeps what no operation of its own claims.
        """
        views = {node.pod: self._clear(run, node) for node in run.status.nodes}
        left = {pod: view for pod, view in views.items() if view and not view.done and not self._silent(view)}
        return list(left), all(self._too_late(run, view) for view in left.values())

    def _too_late(self, run: Run, view: View) -> bool:
        """The operator may have been away since it was decided: a clear has its own time, from when it began."""
        clears = view.operation is not None and view.operation.kind is Kind.CLEAR_SNAPSHOTS
        since = [run.aborting_since, said.moment(view.moved_at) if clears else None]
        limit = run.spec.node_progress_deadline_seconds
        return self._heard(view) and all(policy.overdue(one, limit, run.now) for one in since if one is not None)

    def _clear(self, run: Run, node: BackupNode) -> View | None:
        """How far that is; None where no pod is."""
        address = self._address(run, node)
        if address is None:
            return None
        started = [
            self._operations.cancel(run.key, self._wake, address, operation_id, kind)
            for operation_id, kind in _perhaps_started(run, node)
        ]
        under_way = [view for view in started if not view.done]
        if under_way:
            return next((view for view in under_way if self._silent(view)), under_way[0])
        if node.phase not in (said.COMPLETED, said.FAILED):
            node.phase, node.reason, node.message = said.CANCELLED, "", ""
        spec = ClearSpec(tag=run.status.snapshot_tag)
        return self._operations.want(
            run.key, self._wake, address, f"{run.uid}.clear", kind=Kind.CLEAR_SNAPSHOTS, spec=spec
        )

    def _heard(self, view: View | None) -> bool:
        """Whether a deadline says something of the node. Where it was only just asked, the operator was away."""
        return view is None or view.operation is not None or self._silent(view)

    def _silent(self, view: View) -> bool:
        return view.silent_since is not None and self._clock.monotonic() - view.silent_since > _SILENT

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
                self._start(run, node, working)
            elif node.reason and not self._retry_due(run, node):
                continue
            view = self._want(run, node, _operation_id(run, kind, node.attempts), kind, partial(spec, node))
            self._take(run, node, view, finished)
        failed = [n for n in nodes if n.phase == said.FAILED]
        if failed and not run.aborting:
            run.abort(failed[0].reason, said.failed_nodes(run.status.nodes))
        return all(n.phase == finished for n in nodes)

    @staticmethod
    def _start(run: Run, node: BackupNode, phase: str) -> None:
        node.phase = phase
        node.attempts = 1
        node.start_time = node.start_time or rfc3339(run.now)
        node.last_progress_time = rfc3339(run.now)

    @staticmethod
    def _retry_due(run: Run, node: BackupNode) -> bool:
        """A node that failed and may try again carries its reason until it does."""
        last = said.moment(node.last_progress_time)
        if last is not None and (run.now - last).total_seconds() < policy.retry_delay(node.attempts):
            return False
        node.attempts += 1
        node.reason = node.message = ""
        node.last_progress_time = rfc3339(run.now)
        return True

    def _take(self, run: Run, node: BackupNode, view: View | None, finished: str) -> None:
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
                    _fail(
                        run,
                        node,
                        "AgentRestarted",
                        f"its agent was restarted {tries - node.attempts} times: see its log",
                    )
                elif self._heard(view) and policy.overdue(said.moment(node.last_progress_time), limit, run.now):
                    silence = f": {view.silence}" if view is not None and view.silence else ""
                    _fail(run, node, "NoProgress", f"no progress for {limit} s{silence}")

    def _shared(
        self, run: Run, datacenter: BackupDatacenter, kind: Kind, spec: msgspec.Struct, *, since: str
    ) -> dict[str, object] | None:
        """What one agent does for its datacenter, whichever agent is there: its result, None while there is none.
        Where it fails for good, or nobody did it since ``since``, the run is aborted.
        """
        nodes = [n for n in run.status.nodes if n.datacenter == datacenter.name]
        node = next((n for n in nodes if self._address(run, n) is not None), nodes[0])
        key = (run.key, datacenter.name, kind)
        last = self._tries.get(key, _Try())
        if last.not_before is not None and run.now < last.not_before:
            return None
        view = self._want(run, node, _operation_id(run, kind, last.number), kind, lambda: spec)
        verdict = policy.judge(view, attempts=last.number, retries=run.spec.retries) if view else policy.Running()
        match verdict:
            case policy.Succeeded():
                run.status.reason = run.status.message = ""
                return view.operation.result if view is not None and view.operation is not None else {}
            case policy.GiveUp(reason, message):
                run.abort(reason, f"{node.pod}: {message}")
                return None
            case policy.TryAgain(reason, message):
                delay = dt.timedelta(seconds=policy.retry_delay(last.number))
                self._tries[key] = _Try(last.number + 1, run.now + delay)
                run.status.reason, run.status.message = reason, f"{node.pod}: {message}"
                run.event("NodeRetry", run.status.message, "Warning")
                return None
        start = said.moment(max(since, view.moved_at if view is not None else ""))
        if self._heard(view) and policy.overdue(start, run.spec.node_progress_deadline_seconds, run.now):
            run.abort("AgentUnreachable", f"{node.pod}: {view.silence if view and view.silence else 'no answer'}")
        return None

    def _want(
        self, run: Run, node: BackupNode, operation_id: str, kind: Kind, spec: Callable[[], msgspec.Struct]
    ) -> View | None:
        address = self._address(run, node)
        if address is None:
            return None
        node.uid = address.uid
        known = self._operations.known(run.key, address, operation_id)
        return known or self._operations.want(run.key, self._wake, address, operation_id, kind=kind, spec=spec())

    def _address(self, run: Run, node: BackupNode) -> Address | None:
        return pods.address(self._pods.get(Key(run.key.namespace, node.pod)))


def _operation_id(run: Run, kind: Kind, attempt: int) -> str:
    return f"{run.uid}.{kind}.{attempt}"


def _perhaps_started(run: Run, node: BackupNode) -> list[tuple[str, Kind]]:
    """What may run at the node's agent. The deed comes before the status: it may be one step ahead of it."""
    tries = [node.attempts, node.attempts + 1] if node.reason else [node.attempts]
    commits = [(_operation_id(run, Kind.COMMIT, n), Kind.COMMIT) for n in range(1, run.spec.retries + 2)]
    snapshots = [(_operation_id(run, Kind.SNAPSHOT, n), Kind.SNAPSHOT) for n in tries]
    backups = [(_operation_id(run, Kind.BACKUP, n), Kind.BACKUP) for n in tries]
    first_backup = [(_operation_id(run, Kind.BACKUP, 1), Kind.BACKUP)]
    match node.phase:
        case said.PENDING:
            return [(_operation_id(run, Kind.SNAPSHOT, 1), Kind.SNAPSHOT)]
        case said.SNAPSHOTTING:
            return snapshots + first_backup
        case said.SNAPSHOTTED:
            return first_backup
        case said.UPLOADING:
            return backups + (commits if _may_commit(run) else [])
        case said.FAILED:
            return backups if run.status.snapshot_time else snapshots
        case said.COMPLETED if _may_commit(run):
            return commits
        case _:
            return []


def _may_commit(run: Run) -> bool:
    """Also where the last uploads have ended, and that was not written yet."""
    uploading = all(node.phase in (said.UPLOADING, said.COMPLETED) for node in run.status.nodes)
    return run.status.phase == BackupPhase.FINALIZING or (run.status.phase == BackupPhase.UPLOADING and uploading)


def _location(run: Run) -> Location:
    storage = run.status.storage
    assert storage is not None, "the selection freezes the storage"
    return locations.to_agent(storage.backup_type, storage.target, storage.endpoint, run.spec)


def _backup_spec(run: Run, node: BackupNode, datacenter: BackupDatacenter) -> BackupSpec:
    return BackupSpec(
        location=_location(run),
        cluster=datacenter.cluster_name,
        datacenter=datacenter.datacenter_name,
        rack=node.rack,
        node=node.pod,
        tag=run.status.snapshot_tag,
        backup_id=run.uid,
        epoch=policy.epoch(run.created, run.uid),
        full=run.spec.type == "Full",
        concurrent_transfers=run.spec.concurrent_transfers,
        bandwidth=parse(run.spec.bandwidth) if run.spec.bandwidth is not None else 0,
        finish_within=run.spec.finish_within_seconds,
    )


def _record(run: Run, node: BackupNode, result: dict[str, object]) -> None:
    digest = msgspec.convert(result, NodeDigest)
    node.host_id, node.digest, node.tokens = digest.host_id, digest.digest, digest.tokens
    node.files, node.bytes_total = digest.files, digest.bytes
    node.bytes_done, node.progress = digest.bytes, "100%"
    node.completion_time = rfc3339(run.now)


def _digest(node: BackupNode) -> NodeDigest:
    return NodeDigest(
        node=node.pod, rack=node.rack, host_id=node.host_id, digest=node.digest, tokens=node.tokens, files=node.files,
        bytes=node.bytes_total,
    )  # fmt: skip


def _fail(run: Run, node: BackupNode, reason: str, message: str) -> None:
    node.phase, node.reason, node.message = said.FAILED, reason, message
    node.completion_time = rfc3339(run.now)
    run.event("NodeBackupFailed", f"{node.pod}: {message}", "Warning")
