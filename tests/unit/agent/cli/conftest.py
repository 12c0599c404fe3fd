"""A stopped node on a disk, and stores in memory."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from agent.catalog import NodePath
from tests.fakes.command import Buckets, Ended, agent
from tests.fakes.sstables import SAI, UUID_ID, NodeData, write_sstable

if TYPE_CHECKING:
    from pathlib import Path

    from backends.base import ObjectStore

HOST_ID = "7d9b1c3e-0000-4000-8000-00000000000b"
TARGET = "s3://bucket/backups"
PATH = NodePath("shop", "dc1", "node-1")


class Stopped:
    """A node without its Cassandra, and the command line beside it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.data = NodeData([root / "data"])
        users = self.data.table("app", "users", 1, ("nb-1-big", f"nc-{UUID_ID}-big"), size=5000)
        write_sstable(users / ".by_name", "nb-1-big")
        self.data.table("app", "events", 2, ("da-2-bti",), extra=SAI)
        self.data.table("app", "empty", 3, ())
        self.data.table("system_schema", "tables", 4, ("nb-7-big",))
        self.data.table("system", "local", 7)
        self.config = root / "conf"
        self.config.mkdir()
        (self.config / "cassandra.yaml").write_text("cluster_name: shop\nnum_tokens: 2\npartitioner: Murmur3\n")
        (self.config / "cassandra-rackdc.properties").write_text("# comment\ndc=dc1\nrack = r7\n")
        self.tokens = root / "tokens"
        self.tokens.write_text("-100\n200\n")
        self.buckets = Buckets()

    def agent(self, *arguments: object) -> Ended:
        return agent(*arguments, open_store=self.buckets.opened)

    def back_up(self, tag: str = "t1", *more: object, target: str = TARGET) -> Ended:
        return self.agent(
            "backup", "--tag", tag, "--target", target, "--data-dir", self.root / "data", "--config-dir", self.config,
            "--node", "node-1", "--offline", "--host-id", HOST_ID, "--tokens-file", self.tokens, "--single-node",
            *more,
        )  # fmt: skip

    def restore(self, where: str = "restored", *more: object, tag: str = "t1", target: str = TARGET) -> Ended:
        return self.agent("restore", "--tag", tag, "--target", target, "--data-dir", self.root / where / "data", *more)

    def stored(self, bucket: str = "s3://bucket") -> list[str]:
        return asyncio.run(_keys(self.buckets.stores[bucket])) if bucket in self.buckets.stores else []

    def files(self) -> set[str]:
        """Everything on the disk."""
        return {str(path.relative_to(self.root)) for path in self.root.rglob("*")}


@pytest.fixture
def node(tmp_path: Path) -> Stopped:
    return Stopped(tmp_path / "node-1-disk")


async def _keys(store: ObjectStore) -> list[str]:
    return [meta.key async for meta in store.list("")]
