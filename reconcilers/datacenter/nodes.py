"""What the agents say of their nodes, asked when there is reason to believe that it changed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple, Protocol

from reconcilers.agents import AgentError
from reconcilers.api.datacenter_status import NodeStatus
from reconcilers.pods import address

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent.protocol import Node
    from controller.clock import Clock
    from controller.objects import RawObject
    from controller.resource import Key
    from reconcilers.agents import Address
    from reconcilers.datacenter.observed import PodState

DOWN = "DOWN"
_TIMEOUT = 5.0
_AT_ONCE = 16

Seen = tuple[str, bool, bool]


class NodeInfo(Protocol):
    """``reconcilers.agents.Agents`` is one."""

    async def node(self, address: Address) -> Node:
        """AgentError where the agent does not answer, or refuses."""


class Answers(NamedTuple):
    """``nodes`` by the pod's name. ``silent``: a pod that is ready did not answer, so ask again later."""

    nodes: dict[str, NodeStatus]
    silent: bool = False


class Nodes:
    """Remembers of each pod its UID and readiness when its agent was asked last. A restart asks everybody once."""

    def __init__(self, agents: NodeInfo | None, clock: Clock) -> None:
        self._agents = agents
        self._clock = clock
        self._seen: dict[Key, dict[str, Seen]] = {}

    async def learn(
        self, key: Key, pods: Iterable[tuple[PodState, RawObject]], recorded: Iterable[NodeStatus]
    ) -> Answers:
        """``recorded`` is the status so far; what is not asked again stays as it is there."""
        known = {node.pod: node for node in recorded}
        if self._agents is None:
            return Answers(known)
        before = self._seen.get(key, {})
        present = list(pods)
        gate = asyncio.Semaphore(_AT_ONCE)
        changed = [(state, pod) for state, pod in present if before.get(state.name) != state.seen]
        found = await asyncio.gather(*(self._ask(gate, state, pod, known.get(state.name)) for state, pod in changed))
        nodes = known | {node.pod: node for node, _ in found}
        nodes |= {name: _down(node) for name, node in known.items() if name not in {state.name for state, _ in present}}
        unanswered = {node.pod for node, answered in found if not answered}
        self._seen[key] = {state.name: state.seen for state, _ in present if state.name not in unanswered}
        return Answers(nodes, silent=bool(unanswered))

    def forget(self, key: Key) -> None:
        self._seen.pop(key, None)

    async def _ask(
        self, gate: asyncio.Semaphore, state: PodState, pod: RawObject, known: NodeStatus | None
    ) -> tuple[NodeStatus, bool]:
        """The node, and whether there is no need to ask again before something changes."""
        node = known or NodeStatus(pod=state.name, rack=state.rack)
        where = address(pod)
        if where is None or not state.agent_ready:
            return _down(node), True
        assert self._agents is not None
        try:
            async with gate, self._clock.timeout(_TIMEOUT):
                answer = await self._agents.node(where)
        except (AgentError, TimeoutError):
            return _down(node), not state.ready
        return NodeStatus(
            pod=state.name,
            rack=state.rack,
            host_id=answer.host_id or node.host_id,
            state=answer.state or DOWN,
            agent_version=answer.agent_version,
        ), True


def _down(node: NodeStatus) -> NodeStatus:
    """What was learned of the node before stays true while it does not answer."""
    return NodeStatus(pod=node.pod, rack=node.rack, host_id=node.host_id, state=DOWN, agent_version=node.agent_version)
