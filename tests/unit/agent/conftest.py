"""One node with data, a fake Cassandra over it, a store in memory, and an agent that can die and be started again."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from agent.protocol import BackupSpec, Kind, Location, NodeDigest, Operation, OperationRequest, State
from agent.serve import Agent
from agent.settings import Settings
from backends.memory import MemoryStore
from tests.fakes.jolokia import FakeCassandra
from tests.fakes.sstables import SAI, UUID_ID, NodeData, write_sstable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from backends.base import ObjectStore

LOCATION = Location(backup_type="MEMORY", target="bucket")


class World:
    """What survives the death of an agent: the disk, Cassandra, the bucket."""

    def __init__(self, root: Path, cassandra: FakeCassandra) -> None:
        self.root = root
        self.cassandra = cassandra
        self.data = cassandra.data
        self.memory = MemoryStore()
        self.store: ObjectStore = self.memory
        self.opened = 0
        self.settings = Settings(
            pod="c-0", jolokia_url=cassandra.url, data_dirs=tuple(self.data.data_dirs), state_dir=root / ".agent",
            config_dir=root / "conf", credentials_dir=root / "credentials", port=0,
        )  # fmt: skip

    @asynccontextmanager
    async def open_store(self, _location: Location) -> AsyncIterator[ObjectStore]:
        self.opened += 1
        yield self.store

    @asynccontextmanager
    async def agent(self) -> AsyncIterator[Agent]:
        """A process's life; leaving it is SIGTERM."""
        agent = Agent(self.settings, open_store=self.open_store)
        await agent.operations.load()
        try:
            yield agent
        finally:
            await agent.operations.stop()
            await agent.cassandra.close()

    def backup_spec(self, **more: Any) -> BackupSpec:
        values: dict[str, Any] = {
            "location": LOCATION, "cluster": "my cluster", "datacenter": "dc1", "rack": "r1", "node": "c-0",
            "tag": "t1", "backup_id": "uid-1", "epoch": "e1",
        }  # fmt: skip
        return BackupSpec(**(values | more))

    async def do(self, agent: Agent, operation_id: str, kind: Kind, spec: Any) -> Operation:
        """To its end."""
        await agent.operations.put(operation_id, request(kind, spec))
        await agent.operations.over(operation_id)
        return agent.operations.get(operation_id)

    async def back_up(self, agent: Agent, tag: str = "t1", **more: Any) -> Operation:
        snapshot = await self.do(agent, f"s-{tag}", Kind.SNAPSHOT, {"tag": tag})
        assert snapshot.state is State.SUCCEEDED, snapshot.error
        return await self.do(agent, f"b-{tag}", Kind.BACKUP, self.backup_spec(tag=tag, **more))

    async def keys(self, prefix: str = "") -> list[str]:
        return [meta.key async for meta in self.memory.list(prefix)]


def request(kind: Kind, spec: Any) -> OperationRequest:
    return OperationRequest(kind=kind, spec=msgspec.to_builtins(spec))


def digest_of(operation: Operation) -> NodeDigest:
    return msgspec.convert(operation.result, NodeDigest)


@pytest.fixture(autouse=True)
def _no_syncs(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test cuts the power, and a busy disk makes each sync a long wait."""
    monkeypatch.setattr("os.fsync", lambda _descriptor: None)


@pytest.fixture
def node_data(tmp_path: Path) -> NodeData:
    """User tables of several formats, a hidden index, SAI, system keyspaces, and a table without a row."""
    data = NodeData([tmp_path / "data"])
    users = data.table("app", "users", 1, ("nb-1-big", f"nc-{UUID_ID}-big"), size=5000)
    write_sstable(users / ".by_name", "nb-1-big")
    data.table("app", "events", 2, ("da-2-bti",), extra=SAI)
    data.table("app", "empty", 3, ())
    data.table("system_schema", "tables", 4, ("nb-7-big",))
    data.table("system_auth", "roles", 5, ("nb-3-big",))
    data.table("system_distributed", "history", 6)
    data.table("system", "local", 7)
    return data


@pytest.fixture
async def world(tmp_path: Path, node_data: NodeData) -> AsyncIterator[World]:
    async with FakeCassandra(node_data) as cassandra:
        yield World(tmp_path, cassandra)


async def until(condition: Any) -> None:
    """Gives way to the loop until ``condition()`` holds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  what is waited for belongs to the code under test
            await asyncio.sleep(0.001)
