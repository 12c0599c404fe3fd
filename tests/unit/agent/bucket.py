"""A bucket of one node, with a clock of its own, and a collector."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from agent import catalog
from agent.candidates import keys, read_lists
from agent.catalog import FORMAT, MANIFEST_FORMAT, Manifest, NodePath, Pending, StoredObject
from agent.collector import CollectHandler
from agent.errors import AgentError
from agent.protocol import ClusterRecord, Collected, CollectSpec, RecordedNode
from agent.turns import Turns
from backends.base import BytesBody
from backends.helpers import read_all
from backends.memory import MemoryStore
from tests.unit.agent.conftest import LOCATION
from tests.unit.agent.pool import StandingJob

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from backends.base import ObjectStore

HOUR, DAY = 3600.0, 86_400.0
PATH = NodePath("c", "dc", "n")


@dataclass
class Bucket:
    now: float = 1_800_000_000.0
    path: NodePath = PATH
    opened: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.memory = MemoryStore(clock=lambda: self.now)
        self.store: ObjectStore = self.memory
        self.local = 0.0  # by how much this machine's clock is ahead
        self.turns = Turns()

    def open_store(self, _location: object) -> AbstractAsyncContextManager[ObjectStore]:
        return nullcontext(self.store)

    async def put(self, key: str, data: bytes = b"x") -> None:
        await self.memory.put(key, BytesBody(data))

    async def data(self, *names: str, epoch: str = "e1", host: str = "h1") -> list[str]:
        """Objects, by name; their keys relative to the node."""
        found = [object_key(name, epoch, host) for name in names]
        for key in found:
            await self.put(self.path.root + key)
        return found

    async def manifest(self, tag: str, keys: list[str], *, record: bool = True, backup_id: str = "") -> None:
        made = manifest(tag, keys, backup_id or f"uid-{tag}")
        await self.put(self.path.manifest(tag), catalog.encode(made))
        if record:
            await self.record(tag, catalog.digest(catalog.encode(made)), backup_id or f"uid-{tag}")

    async def record(self, tag: str, digest: str, backup_id: str) -> None:
        node = RecordedNode(node="n", rack="r", host_id="h1", digest=digest)
        made = ClusterRecord(format=FORMAT, tag=tag, backup_id=backup_id, cluster="c", datacenter="dc", nodes=[node])
        await self.put(catalog.record_key("c", tag, "dc"), msgspec.json.encode(made))

    async def pending(self, tag: str, reuse: list[str] | None, *, backup_id: str = "", epoch: str = "e9") -> str:
        key = self.path.pending(tag, epoch, "1")
        made = Pending(format=FORMAT, backup_id=backup_id or f"uid-{tag}", started="", heartbeat="", tag=tag,
                       epoch=epoch, reuse=reuse)  # fmt: skip
        await self.memory.put(key, BytesBody(catalog.encode(made)))
        return key

    async def collect(self, job: str = "j", **more: Any) -> Collected:
        values: dict[str, Any] = {"location": LOCATION, "cluster": "c", "datacenter": "dc", "node": "n"}
        spec = CollectSpec(**(values | more))
        handler = CollectHandler(
            self.open_store, self.turns, holder="pod", now=lambda: self.now + self.local, elapsed=lambda: self.now
        )
        handler.check(spec)
        return msgspec.convert(await handler.run(StandingJob(job), spec), Collected)  # type: ignore[arg-type]

    async def refused(self, reason: str, **more: Any) -> str:
        """The message of a cycle that does nothing at all."""
        before = await self.all()
        with pytest.raises(AgentError) as caught:
            await self.collect(**more)
        assert str(caught.value.reason) == reason
        assert await self.all() == before
        return caught.value.message

    async def all(self) -> list[str]:
        return [meta.key async for meta in self.memory.list("")]

    async def left(self) -> list[str]:
        """Data, relative to the node."""
        return [key.removeprefix(self.path.root) for key in await self.all() if "/data/" in key]

    async def lists(self) -> list[list[str]]:
        return [sorted(await keys_of(self.memory, one.key)) for one in await read_lists(self.memory, self.path)]


async def keys_of(store: ObjectStore, key: str) -> list[str]:
    return list(keys(await read_all(store, key, 1 << 20)))


def object_key(name: str, epoch: str = "e1", host: str = "h1") -> str:
    return f"{host}/data/ks/t-{'0' * 32}/{name}/Data.db~1-00000000-{epoch}"


def manifest(tag: str, keys: list[str], backup_id: str) -> Manifest:
    return Manifest(
        format=MANIFEST_FORMAT, agent_version="1", backup_id=backup_id, tag=tag, cluster="c", datacenter="dc", rack="r",
        node="n", host_id="h1", tokens=["1"], started="", finished="", tables=[],
        objects=[StoredObject(key, 1) for key in keys],
    )  # fmt: skip
