"""A partial backup's record: which nodes it goes without, and what tokens they have."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from agent import records
from agent.errors import AgentError
from agent.missing import Member, with_tokens
from agent.protocol import Collected, CollectSpec, CommitSpec, Kind, MissingNode, State, Verified
from tests.fakes.jolokia import HOST_ID
from tests.unit.agent.conftest import LOCATION, digest_of, request

if TYPE_CHECKING:
    from agent.protocol import ClusterRecord, NodeDigest
    from tests.unit.agent.conftest import World

WHOLE = {"location": LOCATION, "cluster": "my cluster", "datacenter": "dc1", "node": "c-0"}
RING = [
    Member("h0", "dc1", "r1", ["0"]),
    Member("h1", "dc1", "r1", ["-10", "10"]),
    Member("h2", "dc1", "r2", ["20"]),
    Member("h3", "dc1", "r2", ["30"]),
    Member("other", "dc2", "r1", ["40"]),
]


def node(name: str, rack: str, host_id: str = "") -> MissingNode:
    return MissingNode(node=name, rack=rack, host_id=host_id)


@pytest.mark.parametrize(
    ("missing", "present", "found"),
    [
        ([node("c-1", "r1", "h1")], {"h0", "h2", "h3"}, [("c-1", "h1", ["-10", "10"])]),
        ([node("c-1", "r1")], {"h0", "h2", "h3"}, [("c-1", "h1", ["-10", "10"])]),
        ([node("c-2", "r2"), node("c-3", "r2", "h3")], {"h0", "h1"}, [("c-2", "h2", ["20"]), ("c-3", "h3", ["30"])]),
        (
            [node("c-2", "r2"), node("c-3", "r2")],
            {"h0", "h1"},
            [("c-2", "", []), ("c-3", "", []), ("", "h2", ["20"]), ("", "h3", ["30"])],
        ),
        ([node("c-1", "r1")], {"h0", "h1", "h2", "h3"}, [("c-1", "", [])]),  # it never joined
        ([node("c-1", "r1", "gone")], {"h0", "h2", "h3"}, [("c-1", "h1", ["-10", "10"])]),  # replaced meanwhile
    ],
)
def test_whose_tokens(missing: list[MissingNode], present: set[str], found: list[tuple[str, str, list[str]]]) -> None:
    told = with_tokens(missing, RING, "dc1", present)
    assert [(one.node, one.host_id, one.tokens) for one in told] == found


def spec(sent: NodeDigest, *missing: MissingNode) -> CommitSpec:
    return CommitSpec(
        location=LOCATION, cluster="my cluster", datacenter="dc1", tag="t1", backup_id="uid-1", nodes=[sent],
        missing=[*missing],
    )  # fmt: skip


async def committed(world: World, *missing: MissingNode) -> ClusterRecord:
    async with world.agent() as agent:
        sent = digest_of(await world.back_up(agent))
        operation = await world.do(agent, "c", Kind.COMMIT, spec(sent, *missing))
        assert operation.state is State.SUCCEEDED, operation.error
    record = await records.find_record(world.memory, "my cluster", "t1", "dc1")
    assert record is not None
    return record


async def test_cassandra_tells_who_is_missing(world: World) -> None:
    world.cassandra.ring = {
        "10.0.0.1": (HOST_ID, ["-3074457345618258603"], "dc1", "r1"),
        "10.0.0.2": ("second", ["10", "9", "-3"], "dc1", "r1"),
        "10.1.0.1": ("elsewhere", ["5"], "dc2", "r1"),
    }
    record = await committed(world, node("c-1", "r1"))
    assert [msgspec.to_builtins(one) for one in record.missing] == [
        {"node": "c-1", "rack": "r1", "hostId": "second", "tokens": ["-3", "9", "10"]}
    ]
    assert [one.node for one in record.nodes] == ["c-0"]


async def test_a_whole_backup_asks_nobody(world: World) -> None:
    async with world.agent() as agent:
        sent = digest_of(await world.back_up(agent))
        world.cassandra.down = True
        assert (await world.do(agent, "c", Kind.COMMIT, spec(sent))).state is State.SUCCEEDED
    record = await records.find_record(world.memory, "my cluster", "t1", "dc1")
    assert record is not None
    assert record.missing == []


async def test_nothing_is_committed_while_cassandra_is_silent(world: World) -> None:
    async with world.agent() as agent:
        sent = digest_of(await world.back_up(agent))
        world.cassandra.down = True
        operation = await world.do(agent, "c", Kind.COMMIT, spec(sent, node("c-1", "r1")))
    assert operation.error is not None
    assert (operation.error.reason, operation.error.retryable) == ("CassandraUnavailable", True)
    assert await records.find_record(world.memory, "my cluster", "t1", "dc1") is None


async def test_nobody_is_there_and_missing(world: World) -> None:
    async with world.agent() as agent:
        sent: Any = digest_of(await world.back_up(agent))
        with pytest.raises(AgentError, match="each once"):
            await agent.operations.put("c", request(Kind.COMMIT, spec(sent, node("c-0", "r1"))))


@pytest.mark.parametrize("partial", [False, True])
async def test_what_a_partial_backup_has_is_kept_as_any_others(world: World, *, partial: bool) -> None:
    world.cassandra.ring = {"10.0.0.2": ("second", ["10"], "dc1", "r1")}
    await committed(world, *([node("c-1", "r1")] if partial else []))
    world.settings = dataclasses.replace(world.settings, least_grace=0)
    collect = CollectSpec(location=LOCATION, cluster="my cluster", datacenter="dc1", node="c-0", grace=0, dry_run=True)
    async with world.agent() as agent:
        verified = await world.do(agent, "v", Kind.VERIFY, {**WHOLE, "tag": "t1"})
        operation = await world.do(agent, "g", Kind.COLLECT, collect)
    found = msgspec.convert(operation.result, Collected)
    assert (found.live, found.candidates, found.missing) == (found.objects, 0, 0)
    assert found.objects > 0
    assert msgspec.convert(verified.result, Verified).backups == 1
