"""A backup of some keyspaces or tables: what the agents are told, and what happens where one is not there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from agent.protocol import Failure, Kind
from tests.fakes.agents import THROTTLED, Refusal

if TYPE_CHECKING:
    from tests.api.backup.world import World

FIRST = "cassandra-foo-cassandra-0"


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"keyspaces": ["b", "a"]}, ["a", "b"]),
        ({"tables": ["a.t"]}, ["a.t"]),
        ({"entities": " b.t , a"}, ["a", "b.t"]),
        ({"entities": ""}, None),
        ({}, None),
    ],
)
async def test_every_agent_is_told(world: World, spec: dict[str, Any], told: list[str] | None) -> None:
    await world.datacenter(replicas=2)
    await world.backup(**spec)
    await world.run(lambda: world.phase() == "Completed")
    for kind, agents in ((Kind.PROBE, 1), (Kind.SNAPSHOT, 2), (Kind.BACKUP, 2)):
        found = [r.spec.get("entities") for a in world.agents for r in a.journal.values() if r.operation.kind is kind]
        assert found == [told] * agents


@pytest.mark.parametrize("reason", ["KeyspaceNotFound", "TableNotFound"])
async def test_one_that_is_not_there_is_refused_and_no_node_is_touched(world: World, reason: str) -> None:
    await world.datacenter()
    failure = Failure(reason=reason, message="Cassandra has no keyspace nope")
    world.agents[FIRST].script(Kind.PROBE, fail=[failure])
    await world.backup(keyspaces=["nope"])
    await world.run(lambda: world.phase() == "FailedValidation", within=30)
    message = f"{FIRST}: Cassandra has no keyspace nope"
    status = world.get().status
    assert (status.reason, status.message) == (reason, message)
    assert {n.phase for n in status.nodes} == {"Cancelled"}
    assert world.condition("Accepted") == ("False", reason, message)
    assert world.condition("StorageReachable")[0] == "True"
    assert world.condition("Failed")[:2] == ("True", reason)
    assert ("Warning", "BackupFailed", message) in await world.events()
    assert {o.kind for a in world.agents for r in a.journal.values() if (o := r.operation)} == {Kind.PROBE}
    await world.rest(1)
    assert await world.leases() == {}
    assert world.get().metadata.finalizers == []


async def test_a_store_that_stays_away_is_no_mistake_of_the_user(world: World) -> None:
    await world.datacenter()
    world.agents[FIRST].script(Kind.PROBE, fail=[THROTTLED] * 9)
    await world.backup(retries=1)
    await world.run(lambda: world.phase() in ("Failed", "FailedValidation"))
    assert world.phase() == "Failed"


async def test_neither_is_an_agent_that_refuses_the_token(world: World) -> None:
    await world.datacenter()
    world.agents[FIRST].answers["PUT"] = Refusal(401, "the token is missing or wrong", "Unauthorized")
    await world.backup()
    await world.run(lambda: world.phase() in ("Failed", "FailedValidation"))
    assert (world.phase(), world.get().status.reason) == ("Failed", "Unauthorized")


async def test_what_only_the_agent_can_refuse(world: World) -> None:
    """``system.local`` is a table's name, and no backup has it."""
    await world.datacenter()
    refusal = "system is each node's own: leave system.local out"
    world.agents[FIRST].answers["PUT"] = Refusal(400, refusal, "InvalidSpec")
    await world.backup(tables=["system.local"])
    await world.run(lambda: world.phase() == "FailedValidation", within=30)
    assert world.get().status.message == f"{FIRST}: {refusal}"


async def test_an_agent_that_is_too_old_for_it(world: World) -> None:
    """It would have backed up everything. The one that was asked first is newer: the others clear what they took."""
    await world.datacenter(replicas=2)
    refusal = Refusal(400, "the agent is older than who asks", "AgentTooOld")
    world.agents[FIRST.replace("-0", "-1")].answers["PUT"] = refusal
    await world.backup(tables=["ks.t"])
    await world.run(lambda: world.phase() == "Failed", within=60)
    assert world.get().status.reason == "AgentTooOld"
    assert {n.pod: n.message for n in world.get().status.nodes if n.phase == "Failed"} == {
        FIRST.replace("-0", "-1"): refusal.error
    }
    assert not any(agent.snapshots for agent in world.agents)
    world.agents[FIRST].answers["PUT"] = refusal
    await world.backup("second", tables=["ks.t"])
    await world.run(lambda: world.phase("second") == "FailedValidation", within=30)
    assert world.get("second").status.message == f"{FIRST}: {refusal.error}"
    assert world.condition("StorageReachable", "second")[:2] == ("True", "AgentTooOld")
