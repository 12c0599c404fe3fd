"""A node whose Cassandra is not asked: its disk, and what has to be known of it from elsewhere.

Snapshots are made of hard links by ourselves, or are there already and somebody else's: those are only read.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
import yaml

from agent import clock, files, sstables, volume
from agent.cassandra import Facts
from agent.cli import live
from agent.cli.console import UsageError
from agent.errors import AgentError, Reason
from agent.snapshots import Snapshots, Taken

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence
    from pathlib import Path

_TOKEN = re.compile(r"-?\d{1,39}\Z")
_KEPT = "node.json"

log = structlog.get_logger(__name__)


class Stopped:
    """In Cassandra's place (``agent.snapshots.Taker``): links a stopped node's files, and says what it was told."""

    def __init__(self, data_dirs: Sequence[Path], facts: Facts) -> None:
        self._data_dirs = tuple(data_dirs)
        self._facts = facts

    async def take_snapshot(self, name: str, entities: Sequence[str] = (), /) -> None:
        """Whole, or not there."""
        try:
            await asyncio.to_thread(live.link, self._data_dirs, name, entities)
        except OSError as error:
            await self.clear_snapshot(name)
            message = f"no snapshot can be made beside the data: {error.filename}: {error.strerror}"
            raise AgentError(Reason.SNAPSHOT_FAILED, message) from error
        except AgentError:
            await self.clear_snapshot(name)
            raise

    async def clear_snapshot(self, name: str, /) -> None:
        found = await asyncio.to_thread(sstables.snapshots, self._data_dirs, name)
        for directory in found.get(name, []):
            await asyncio.to_thread(files.remove_tree, directory)

    async def facts(self) -> Facts:
        return self._facts

    async def tables(self) -> dict[str, set[str]]:
        """By their directories."""
        found: dict[str, set[str]] = {}
        for path, _ in await asyncio.to_thread(lambda: list(live.tables(self._data_dirs))):
            found.setdefault(path.keyspace, set()).add(path.name)
        return found


class Existing(Snapshots):
    """One snapshot that somebody else took: never taken, never cleared."""

    def __init__(self, name: str, facts: Facts, data_dirs: Sequence[Path], state_dir: Path) -> None:
        super().__init__(Stopped(data_dirs, facts), data_dirs, state_dir)
        self._name = name
        self._facts = facts

    def name(self, tag: str) -> str:  # noqa: ARG002  it has one
        return self._name

    async def taken(self, tag: str) -> Taken | None:
        return Taken(tag=tag, operation="", at=clock.now(), facts=self._facts)

    async def clear(self, tag: str) -> None:
        """It is not ours."""


def keep(state_dir: Path, facts: Facts) -> None:
    """What Cassandra said of itself, for a day on which it cannot be asked. Blocks."""
    files.write_atomic(state_dir / _KEPT, msgspec.json.encode(facts))


def facts(arguments: Namespace, state_dir: Path) -> Facts:
    """From the options, else from the last backup with Cassandra running, else from cassandra.yaml. Blocks.

    UsageError for what nobody knows: tokens and host id cannot be guessed, and a restore needs them.
    """
    kept, told = _read_kept(state_dir), cassandra_yaml(arguments.config_dir)
    host_id = arguments.host_id or kept.host_id
    if not host_id:
        message = "the node's host id is not known: give --host-id, which nodetool info and nodetool status show"
        raise UsageError(message)
    tokens = read_tokens(arguments.tokens_file) if arguments.tokens_file else kept.tokens
    if not tokens and (restored := volume.read_restored(state_dir)) is not None:
        tokens = restored.tokens
    if not tokens and (text := told.get("initial_token")):
        tokens = _tokens(str(text), f"{arguments.config_dir}/cassandra.yaml")
    if not tokens:
        message = "the node's tokens are not known: give --tokens-file, written by nodetool info --tokens > FILE"
        raise UsageError(message)
    return Facts(
        mode="OFFLINE", host_id=host_id, tokens=tokens,
        release_version=arguments.cassandra_version or kept.release_version, schema_version=kept.schema_version,
        cluster=arguments.cluster or kept.cluster or str(told.get("cluster_name") or ""),
        partitioner=kept.partitioner or str(told.get("partitioner") or ""),
    )  # fmt: skip


def read_tokens(path: Path) -> list[str]:
    """One a line or separated by commas; lines as nodetool prints them (``Token : -42``) are read as well."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the tokens file {path} cannot be read: {error}") from error
    said = [line.partition(":")[2] for line in text.splitlines() if line.strip().startswith("Token ")]
    return _tokens("\n".join(said) if said else text, str(path))


def _tokens(text: str, where: str) -> list[str]:
    found = [word for word in re.split(r"[\s,]+", text) if word]
    if wrong := next((word for word in found if not _TOKEN.match(word)), None):
        raise UsageError(f"{where} has {wrong[:40]!r} where a token should be")
    if not found or len(set(found)) < len(found):
        raise UsageError(f"{where} has {'a token twice' if found else 'no token'}")
    return found


def cassandra_yaml(config_dir: Path) -> dict[str, Any]:
    """Empty where it cannot be read."""
    try:
        found = yaml.safe_load((config_dir / "cassandra.yaml").read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}


def rackdc(config_dir: Path) -> dict[str, str]:
    """``dc`` and ``rack`` of cassandra-rackdc.properties; empty where it cannot be read."""
    try:
        text = (config_dir / "cassandra-rackdc.properties").read_text()
    except (OSError, UnicodeDecodeError):
        return {}
    pairs = (line.partition("=") for line in text.splitlines() if not line.lstrip().startswith("#"))
    return {key.strip(): value.strip() for key, separator, value in pairs if separator and value.strip()}


def _read_kept(state_dir: Path) -> Facts:
    try:
        return msgspec.json.decode((state_dir / _KEPT).read_bytes(), type=Facts)
    except (OSError, msgspec.MsgspecError):
        return Facts()
