from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.cassandra import Cassandra
from agent.errors import AgentError
from tests.fakes.jolokia import HOST_ID, FakeCassandra

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.fakes.sstables import NodeData


@pytest.fixture
async def fake(node_data: NodeData) -> AsyncIterator[FakeCassandra]:
    async with FakeCassandra(node_data) as fake:
        yield fake


@pytest.fixture
async def cassandra(fake: FakeCassandra) -> AsyncIterator[Cassandra]:
    client = Cassandra(fake.url, timeout=2.0)
    yield client
    await client.close()


async def test_facts_are_read_at_once(cassandra: Cassandra) -> None:
    facts = await cassandra.facts()
    assert (facts.mode, facts.host_id, facts.release_version) == ("NORMAL", HOST_ID, "5.0.6")
    assert len(facts.tokens) == 2
    assert facts.schema_versions == {"5e1d": ["10.0.0.1"]}


async def test_an_attribute_that_this_version_has_not_is_empty(fake: FakeCassandra, cassandra: Cassandra) -> None:
    del fake.attributes["NativeTransportRunning"]
    del fake.attributes["JoiningNodes"]
    facts = await cassandra.facts()
    assert (facts.native_transport, facts.joining) == (False, [])


@pytest.mark.parametrize(
    ("attribute", "value", "said"),
    [
        ("OperationMode", "JOINING", "JOINING"),
        ("OperationMode", None, "starting"),
        ("NativeTransportRunning", False, "native"),
    ],
)
async def test_ready_says_why_not(
    fake: FakeCassandra, cassandra: Cassandra, attribute: str, value: object, said: str
) -> None:
    assert await cassandra.ready() == ""
    fake.attributes[attribute] = value
    assert said in await cassandra.ready()


async def test_a_refused_snapshot_is_told_in_cassandras_words(fake: FakeCassandra, cassandra: Cassandra) -> None:
    await cassandra.take_snapshot("co-t")
    with pytest.raises(AgentError, match="Snapshot co-t already exists") as caught:
        await cassandra.take_snapshot("co-t")
    assert caught.value.reason == "SnapshotFailed"
    await cassandra.clear_snapshot("co-t")
    await cassandra.clear_snapshot("co-t")
    assert fake.data.snapshots("co-t") == []


@pytest.mark.parametrize("name", ["", "co-", "t", "dropped-1"])
async def test_only_snapshots_of_ours_are_ever_named(fake: FakeCassandra, cassandra: Cassandra, name: str) -> None:
    """clearSnapshot with an empty name would clear everybody's."""
    for call in (cassandra.take_snapshot, cassandra.clear_snapshot):
        with pytest.raises(AgentError):
            await call(name)
    assert fake.executed == []


async def test_what_does_not_answer_is_unavailable(fake: FakeCassandra, cassandra: Cassandra) -> None:
    fake.down = True
    with pytest.raises(AgentError) as caught:
        await cassandra.facts()
    assert (caught.value.reason, caught.value.retryable) == ("CassandraUnavailable", True)
    nobody = Cassandra("http://127.0.0.1:1/jolokia", timeout=1.0)
    with pytest.raises(AgentError, match="does not answer"):
        await nobody.facts()
    await nobody.close()


async def test_every_call_has_a_timeout(fake: FakeCassandra) -> None:
    import asyncio

    fake.hold = asyncio.Event()
    client = Cassandra(fake.url, snapshot_timeout=0.05)
    with pytest.raises(AgentError, match="Timeout"):
        await client.take_snapshot("co-t")
    await client.close()
