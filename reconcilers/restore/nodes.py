"""How far each pod of a restoring datacenter is: its init container's download, its start, its schema."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from agent.protocol import Kind
from controller.clock import rfc3339
from controller.resource import Key
from reconcilers import pods
from reconcilers.agents import AgentError
from reconcilers.api.restore import RESTORES
from reconcilers.backup import policy
from reconcilers.backup.status import moment
from reconcilers.restore import plan
from reconcilers.restore.run import DOWNLOADING, FAILED, RESTORED, WAITING

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable

    from controller.objects import RawObject
    from controller.store import Store
    from reconcilers.agents import Agents
    from reconcilers.api.restore import RestoreNode
    from reconcilers.operations import Operations, View
    from reconcilers.restore.run import Run


class Nodes:
    def __init__(
        self,
        *,
        operations: Operations,
        agents: Agents,
        pod_store: Store[RawObject],
        wake: Callable[[Key], None],
    ) -> None:
        self._operations = operations.of(RESTORES, wake)
        self._agents = agents
        self._pods = pod_store

    def forget(self, key: Key) -> None:
        self._operations.forget(key)

    @staticmethod
    def waiting_reason(pod: RawObject) -> str:
        return pods.waiting_reason(pod)

    def downloaded(self, run: Run) -> bool:
        """Take over what the init containers say. Nothing starts them but the plan."""
        for node in run.status.nodes:
            if node.phase == RESTORED:
                continue
            address = pods.address(self._pod(run, node))
            operation = plan.operation_id(run.restore, node.pod)
            view = None
            if address is not None:
                view = self._operations.want(run.key, address, operation, kind=Kind.RESTORE, spec=None)
            self._take(run, node, view)
            if address is not None and node.message and node.phase == DOWNLOADING:
                self._operations.again(run.key, address, operation)
        failed = [n for n in run.status.nodes if n.phase == FAILED]
        if failed:
            run.fail(run.status.reason, "; ".join(f"{n.pod}: {n.message}" for n in failed[:3]))
        elif not all(n.phase == RESTORED for n in run.status.nodes):
            self._late(run, [n for n in run.status.nodes if n.phase == RESTORED])
        return not run.ended and all(n.phase == RESTORED for n in run.status.nodes)

    def cancelled(self, run: Run) -> bool:
        """No init container downloads any more, of those that answer."""
        done = True
        for node in run.status.nodes:
            address = pods.address(self._pod(run, node))
            if address is not None and node.phase != RESTORED:
                operation = plan.operation_id(run.restore, node.pod)
                view = self._operations.cancel(run.key, address, operation, Kind.RESTORE)
                done = done and (view.done or view.silent_since is not None)
        return done

    def started(self, run: Run) -> bool:
        """Cassandra serves clients on every node; a node that does not come in time fails the restore."""
        return not self._late(run, run.status.nodes)

    def _late(self, run: Run, nodes: list[RestoreNode]) -> bool:
        """Whether one of them is not ready yet. A rack's pods are made one by one, so it also holds up the others."""
        late = [node for node in nodes if not pods.ready(self._pod(run, node))]
        for node in late:
            if policy.overdue(moment(node.last_progress_time), run.spec.node_progress_deadline_seconds, run.now):
                why = pods.waiting_reason(self._pod(run, node)) or "Cassandra did not start: see its log"
                run.fail("NodeNotStarted", f"{node.pod}: {why}")
                break
        return bool(late)

    async def schema_version(self, run: Run) -> str:
        """The one version that all nodes have; empty while they differ or one does not answer."""
        addresses = [pods.address(self._pod(run, node)) for node in run.status.nodes]
        asked = [self._agents.node(a) for a in addresses if a is not None]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        versions = set()
        for answer in answers:
            if isinstance(answer, (AgentError, TimeoutError)):
                return ""
            if isinstance(answer, BaseException):
                raise answer
            versions.add(answer.schema_version)
        return versions.pop() if len(versions) == 1 and len(answers) == len(run.status.nodes) else ""

    def _take(self, run: Run, node: RestoreNode, view: View | None) -> None:
        operation = view.operation if view else None
        if operation is not None:
            node.phase = DOWNLOADING
            node.attempts = operation.attempts
            if operation.progress.bytes:  # a phase that moves no bytes says nothing of them
                node.bytes_total, node.bytes_done = operation.progress.bytes, operation.progress.bytes_done
            node.last_progress_time = max(node.last_progress_time, view.moved_at if view else "")
        verdict = policy.judge(view, attempts=node.attempts, retries=run.spec.retries) if view else policy.Running()
        match verdict:
            case policy.Succeeded():
                node.phase, node.message = RESTORED, ""
                node.bytes_done = node.bytes_total
                node.last_progress_time = rfc3339(run.now)  # its start is counted from here
                run.event("NodeRestored", f"{node.pod} has the data of {node.source.pod if node.source else '?'}")
            case policy.TryAgain(_, message):
                node.message = message  # the init container is started again by the kubelet
            case policy.GiveUp(reason, message):
                node.phase, node.message = FAILED, message
                run.status.reason = reason
            case policy.Running():
                node.message = ""
        limit = run.spec.node_progress_deadline_seconds
        if node.phase in (WAITING, DOWNLOADING) and policy.overdue(self._since(run, node), limit, run.now):
            silence = view.silence if view and view.silence else ""
            why = node.message or pods.waiting_reason(self._pod(run, node)) or silence or "its pod is not there"
            node.phase, node.message = FAILED, f"no progress for {limit} s: {why}"
            run.status.reason = "NoProgress"

    def _since(self, run: Run, node: RestoreNode) -> dt.datetime | None:
        """When it last came forward. A node without a pod waits for those before it, which have their own deadlines."""
        pod = self._pod(run, node)
        if node.phase == DOWNLOADING:
            return moment(node.last_progress_time)
        if pod is not None:
            return moment(max(node.last_progress_time, pod.metadata.creation_timestamp))
        times = [node.last_progress_time]
        for other in run.status.nodes:
            before = self._pod(run, other)
            since = pods.ready_since(before)
            if since is None and (before is not None or other.phase != WAITING):
                return None
            times.append(since or "")
        return moment(max(times))

    def _pod(self, run: Run, node: RestoreNode) -> RawObject | None:
        return self._pods.get(Key(run.key.namespace, node.pod))
