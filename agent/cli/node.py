"""Which node a backup is of: its place in the cluster, its directories, its Cassandra or what stands in for it."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agent.cassandra import Cassandra, Facts
from agent.cli import offline, options
from agent.cli.console import UsageError
from agent.cli.offline import Existing, Stopped
from agent.errors import AgentError, Reason
from agent.snapshots import Snapshots

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

_JOLOKIA = "http://127.0.0.1:8778/jolokia"
_CONFIG = Path("/etc/cassandra")


@dataclass(frozen=True)
class Node:
    """``cassandra`` is None where it is not asked. ``alone``: no other node is in the cluster, as Cassandra says."""

    cluster: str
    datacenter: str
    rack: str
    name: str
    facts: Facts
    data_dirs: tuple[Path, ...]
    state_dir: Path
    config_dir: Path
    snapshots: Snapshots
    cassandra: Cassandra | None
    alone: bool

    async def close(self) -> None:
        if self.cassandra is not None:
            await self.cassandra.close()


def add_options(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("the node")
    group.add_argument("--rack", help="by default as cassandra-rackdc.properties says, else rack1")
    group.add_argument("--config-dir", type=Path, default=_CONFIG, metavar="DIR", help=f"Cassandra's, {_CONFIG}")
    group.add_argument("--jolokia", default=_JOLOKIA, metavar="URL", help=f"of the Cassandra that runs, {_JOLOKIA}")
    group.add_argument("--offline", action="store_true", help="no Cassandra runs here: link the files ourselves")
    group.add_argument(
        "--snapshot", metavar="NAME", help="a snapshot that is there already; it is read, and never cleared"
    )
    group.add_argument("--host-id", help="with --offline: Cassandra's id of the node")
    group.add_argument("--tokens-file", type=Path, metavar="FILE", help="with --offline: the node's tokens")
    group.add_argument("--cassandra-version", default="", metavar="VERSION", help="with --offline: for the record")


async def of(arguments: Namespace) -> Node:
    """UsageError for what is not known; CassandraUnavailable where it should answer and does not."""
    data_dirs, state_dir = options.data_dirs(arguments), options.state_dir(arguments)
    name = arguments.snapshot
    if name is not None and (not name or "/" in name or name in {".", ".."}):
        raise UsageError(f"{name!r} is no snapshot's name")
    given = arguments.host_id or arguments.tokens_file or arguments.cassandra_version
    if given and not arguments.offline:
        raise UsageError(
            "--host-id, --tokens-file and --cassandra-version go with --offline: a Cassandra is asked itself"
        )
    cassandra = None if arguments.offline else Cassandra(arguments.jolokia)
    try:
        if cassandra is None:
            facts = await asyncio.to_thread(offline.facts, arguments, state_dir)
        else:
            facts = await _ask(cassandra)
        cluster, datacenter, rack = await asyncio.to_thread(_place, arguments, facts)
        if name is not None:
            snapshots: Snapshots = Existing(name, facts, data_dirs, state_dir)
        else:
            snapshots = Snapshots(cassandra or Stopped(data_dirs, facts), data_dirs, state_dir)
    except BaseException:
        if cassandra is not None:
            await cassandra.close()
        raise
    return Node(
        cluster, datacenter, rack, arguments.node or socket.gethostname(), facts, data_dirs, state_dir,
        arguments.config_dir, snapshots, cassandra, alone=_alone(facts, asked=cassandra is not None),
    )  # fmt: skip


def _place(arguments: Namespace, facts: Facts) -> tuple[str, str, str]:
    """Cluster, datacenter and rack."""
    told = offline.rackdc(arguments.config_dir)
    cluster, datacenter = arguments.cluster or facts.cluster, arguments.datacenter or told.get("dc")
    if not cluster:
        raise UsageError("the cluster's name is not known: give --cluster, or --config-dir with its cassandra.yaml")
    if not datacenter:
        message = "the datacenter is not known: give --datacenter, or --config-dir with cassandra-rackdc.properties"
        raise UsageError(message)
    return cluster, datacenter, arguments.rack or told.get("rack") or "rack1"


async def _ask(cassandra: Cassandra) -> Facts:
    try:
        facts = await cassandra.facts()
    except AgentError as error:
        if error.reason != Reason.CASSANDRA_UNAVAILABLE:
            raise
        message = f"{error.message}: give --jolokia, or --offline where Cassandra is stopped"
        raise AgentError(error.reason, message, retryable=True) from error
    if not facts.host_id or not facts.tokens:
        message = f"the node has no host id and tokens yet: it is {facts.mode or 'starting'}"
        raise AgentError(Reason.CASSANDRA_UNAVAILABLE, message, retryable=True)
    return facts


def _alone(facts: Facts, *, asked: bool) -> bool:
    return asked and len({*facts.live, *facts.unreachable, *facts.joining}) == 1
