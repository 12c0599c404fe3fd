"""How far each pod of a restoring datacenter is: its init container's download, its start, its schema."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from agent.protocol import Kind
from controller.clock import rfc3339
from controller.resource import Key
from reconcilers import pods
from reconcilers.agents import AgentError
from reconcilers.backup import policy
from reconcilers.backup.status import moment
from reconcilers.restore import plan
from reconcilers.restore.run import DOWNLOADING, FAILED, RESTORED

if TYPE_CHECKING:
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
        self._operations = operations
        self._agents = agents
        self._pods = pod_store
        self._wake = wake

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
            view = None
            if address is not None:
                operation = plan.operation_id(run.restore, node.pod)
                view = self._operations.want(run.key, self._wake, address, operation, Kind.RESTORE, None)
            self._take(run, node, view)
            if address is not None and node.message and node.phase == DOWNLOADING:
                self._operations.again(run.key, address, plan.operation_id(run.restore, node.pod))
        failed = [n for n in run.status.nodes if n.phase == FAILED]
        if failed:
            run.fail(run.status.reason, "; ".join(f"{n.pod}: {n.message}" for n in failed[:3]))
        return all(n.phase == RESTORED for n in run.status.nodes)

    def cancel(self, run: Run) -> None:
        for node in run.status.nodes:
            address = pods.address(self._pod(run, node))
            if address is not None and node.phase != RESTORED:
                operation = plan.operation_id(run.restore, node.pod)
                self._operations.cancel(run.key, self._wake, address, operation, Kind.RESTORE)

    def started(self, run: Run) -> bool:
        """Cassandra serves clients on every node; a node that does not come in time fails the restore."""
        late = []
        for node in run.status.nodes:
            if pods.ready(self._pod(run, node)):
                continue
            late.append(node)
            if policy.overdue(moment(node.last_progress_time), run.spec.node_progress_deadline_seconds, run.now):
                why = pods.waiting_reason(self._pod(run, node)) or "Cassandra did not start: see its log"
                run.fail("NodeNotStarted", f"{node.pod}: {why}")
                return False
        return not late

    async def schema_version(self, run: Run) -> str:
        """The one version that all nodes have; empty while they differ or one does not answer."""
        addresses = [pods.address(self._pod(run, node)) for node in run.status.nodes]
        asked = [self._agents.node(a) for a in addresses if a is not None]
        try:
            answers = await asyncio.gather(*asked)
        except (AgentError, TimeoutError):
            return ""
        versions = {answer.schema_version for answer in answers}
        return versions.pop() if len(versions) == 1 and len(answers) == len(run.status.nodes) else ""

    def _take(self, run: Run, node: RestoreNode, view: View | None) -> None:
        operation = view.operation if view else None
        if operation is not None:
            node.phase = DOWNLOADING
            node.attempts = operation.attempts
            node.bytes_total = operation.progress.bytes or node.bytes_total
            node.bytes_done = operation.progress.bytes_done
            node.last_progress_time = max(node.last_progress_time, operation.last_progress_at)
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
                if policy.overdue(moment(node.last_progress_time), run.spec.node_progress_deadline_seconds, run.now):
                    silence = view.silence if view and view.silence else ""
                    why = pods.waiting_reason(self._pod(run, node)) or silence or "no progress"
                    node.phase, node.message = (
                        FAILED,
                        f"no progress for {run.spec.node_progress_deadline_seconds} s: {why}",
                    )
                    run.status.reason = "NoProgress"

    def _pod(self, run: Run, node: RestoreNode) -> RawObject | None:
        return self._pods.get(Key(run.key.namespace, node.pod))
