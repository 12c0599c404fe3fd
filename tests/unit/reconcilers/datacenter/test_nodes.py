from __future__ import annotations

import asyncio

import pytest

from agent.protocol import Node
from controller.resource import Key
from reconcilers.agents import Address, AgentUnreachable
from reconcilers.api.datacenter_status import NodeStatus
from reconcilers.datacenter.nodes import Nodes
from tests.fakes.clock import FakeClock, settle
from tests.unit.reconcilers.datacenter.samples import pod, raw_pod

KEY = Key("ns", "foo-cassandra")
NAME = "cassandra-foo-cassandra-0"
RAW = raw_pod({"podIP": "10.0.0.9"})
KNOWN = NodeStatus(pod=NAME, rack="rack1", host_id="host", state="NORMAL", agent_version="1")


class FakeAgents:
    """Answers with ``state``; None is no answer, "hang" one that never comes."""

    def __init__(self, state: str | None = "NORMAL") -> None:
        self.state = state
        self.asked: list[str] = []

    async def node(self, address: Address) -> Node:
        self.asked.append(address.pod)
        if self.state == "hang":
            await asyncio.Event().wait()
        if self.state is None:
            raise AgentUnreachable("AgentUnreachable", "no")
        return Node(session="s", agent_version="2", host_id="host" if self.state == "NORMAL" else "", state=self.state)


@pytest.fixture
def agents() -> FakeAgents:
    return FakeAgents()


async def test_a_node_is_asked_once_until_its_pod_changes(agents: FakeAgents) -> None:
    nodes = Nodes(agents, FakeClock())
    first = await nodes.learn(KEY, [(pod(NAME), RAW)], [])
    assert first.nodes[NAME] == NodeStatus(pod=NAME, rack="rack1", host_id="host", state="NORMAL", agent_version="2")

    again = await nodes.learn(KEY, [(pod(NAME), RAW)], first.nodes.values())
    assert again == first
    assert agents.asked == [NAME]

    for changed in (pod(NAME, ready=False), pod(NAME), pod(NAME, uid="new")):
        await nodes.learn(KEY, [(changed, RAW)], first.nodes.values())
    assert agents.asked == [NAME] * 4


async def test_what_is_known_survives_silence(agents: FakeAgents) -> None:
    agents.state = None
    found = await Nodes(agents, FakeClock()).learn(KEY, [(pod(NAME, ready=False), RAW)], [KNOWN])
    assert found.nodes[NAME] == NodeStatus(pod=NAME, rack="rack1", host_id="host", state="DOWN", agent_version="1")
    assert not found.silent  # it becomes ready, which is a change


async def test_an_agent_that_should_answer_is_asked_again(agents: FakeAgents) -> None:
    agents.state = None
    nodes = Nodes(agents, FakeClock())
    assert (await nodes.learn(KEY, [(pod(NAME), RAW)], [KNOWN])).silent
    agents.state = "NORMAL"
    assert not (await nodes.learn(KEY, [(pod(NAME), RAW)], [KNOWN])).silent
    assert agents.asked == [NAME] * 2


async def test_an_agent_has_five_seconds(agents: FakeAgents) -> None:
    agents.state = "hang"
    clock = FakeClock()
    task = asyncio.create_task(Nodes(agents, clock).learn(KEY, [(pod(NAME), RAW)], [KNOWN]))
    await settle()
    await clock.advance(5.0)
    assert (await task).nodes[NAME].state == "DOWN"


async def test_a_pod_that_is_gone_or_has_no_agent_yet_is_down(agents: FakeAgents) -> None:
    nodes = Nodes(agents, FakeClock())
    other = NodeStatus(pod="other", rack="rack1", host_id="h2", state="NORMAL")
    found = await nodes.learn(KEY, [(pod(NAME, agent_ready=False, ready=False), RAW)], [KNOWN, other])
    assert [(n.state, n.host_id) for n in found.nodes.values()] == [("DOWN", "host"), ("DOWN", "h2")]
    assert agents.asked == []


async def test_a_joining_node_has_no_host_id_yet(agents: FakeAgents) -> None:
    agents.state = "JOINING"
    found = await Nodes(agents, FakeClock()).learn(KEY, [(pod(NAME, ready=False), RAW)], [])
    assert found.nodes[NAME].state == "JOINING"


async def test_without_agents_nothing_is_asked() -> None:
    found = await Nodes(None, FakeClock()).learn(KEY, [(pod(NAME), RAW)], [KNOWN])
    assert found.nodes == {NAME: KNOWN}
