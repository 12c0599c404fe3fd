"""``commit``: the cluster record of a backup whose nodes were each backed up by their own command."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from agent import discovery, records
from agent.catalog import NodePath
from agent.cli import options, progress
from agent.cli.console import Exit, UsageError, size
from agent.cli.run import locked, running
from agent.errors import AgentError, Reason
from agent.protocol import CommitSpec, Kind, NodeDigest
from agent.tasks import CommitHandler

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from agent.cli.console import Console
    from agent.stores import Opener
    from backends.base import ObjectStore

HELP = "write the record of a backup of several nodes"
ABOUT = """\
Reads the manifest that each node committed under the tag, and writes the record: from then on the backup exists. Give
--nodes with the number of nodes of the datacenter: fewer manifests than that are no backup."""


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("--tag", type=options.tag, required=True, help="of the backup")
    parser.add_argument("--nodes", type=int, required=True, metavar="N", help="how many nodes the datacenter has")
    options.add_location(parser)
    options.add_scope(parser)
    options.add_state(parser)


async def run(arguments: Namespace, console: Console, open_store: Opener) -> int:
    if not arguments.cluster or not arguments.datacenter:
        raise UsageError("say whose: --cluster and --datacenter")
    location, state_dir = options.location(arguments), options.state_dir(arguments)
    cluster, datacenter, tag = arguments.cluster, arguments.datacenter, arguments.tag
    async with open_store(location) as store:
        if await records.find_record(store, cluster, tag, datacenter) is not None:
            message = f"{store.name} has the backup {tag} of {datacenter} already: nothing is left to commit"
            raise AgentError(Reason.SNAPSHOT_TAG_EXISTS, message)
        names = await discovery.nodes(store, cluster, datacenter, tag)
        if len(names) != arguments.nodes:
            found = f"{len(names)} nodes of {datacenter} have a backup {tag} ({', '.join(names) or 'none'})"
            raise AgentError(Reason.MANIFEST_MISSING, f"{found}, not {arguments.nodes}: back up the others first")
        pairs = [await _digest(store, NodePath(cluster, datacenter, name), tag) for name in names]
        if len({entities for _, _, entities in pairs}) > 1:
            message = f"the nodes' backups {tag} are of different tables: back up each node with the same --keyspaces"
            raise AgentError(Reason.INVALID_SPEC, f"{message} or --tables, under another --tag")
    spec = CommitSpec(
        location=location, cluster=cluster, datacenter=datacenter, tag=tag, backup_id=pairs[0][1],
        nodes=[digest for digest, _, _ in pairs],
    )  # fmt: skip
    operation_id = f"{uuid.uuid4().hex}-commit"
    with locked(state_dir):
        handlers = {Kind.COMMIT: CommitHandler(open_store)}
        async with running(state_dir, handlers, progress.choose(console)) as runner:
            operation = await runner.do(operation_id, Kind.COMMIT, spec)
            await runner.forget(operation_id)
    console.value(operation.result)
    total = sum(node.bytes for node in spec.nodes)
    console.line(f"{tag}: {len(spec.nodes)} nodes, {size(total)}; the backup is complete")
    return Exit.DONE


async def _digest(store: ObjectStore, path: NodePath, tag: str) -> tuple[NodeDigest, str, tuple[str, ...]]:
    """And what the manifest is of: the backup's id, and the tables that were chosen."""
    found = await records.find_manifest(store, path, tag)
    if found is None:
        raise AgentError(Reason.MANIFEST_MISSING, f"the manifest of {path.node} is gone")
    manifest, digest = found
    node = NodeDigest(
        node=path.node, rack=manifest.rack, host_id=manifest.host_id, digest=digest, tokens=len(manifest.tokens),
        files=manifest.totals.files, bytes=manifest.totals.bytes,
    )  # fmt: skip
    return node, manifest.backup_id, tuple(manifest.entities)
