"""``restore``: a node's backup into an empty data directory, and what its cassandra.yaml must say afterwards."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import TYPE_CHECKING, Any

from agent import configuration, files, records, restore, volume
from agent.catalog import NodePath
from agent.cli import catalogs, options, progress
from agent.cli.console import Exit, UsageError, size
from agent.cli.console import files as count_files
from agent.cli.run import Runs, locked, meaning, running
from agent.errors import AgentError, Reason
from agent.protocol import Kind, RestorePlan
from agent.restore import RestoreHandler
from agent.volume import Volume

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable
    from pathlib import Path

    from agent.cli.console import Console
    from agent.cli.run import Run
    from agent.protocol import ClusterRecord, RecordedNode
    from agent.stores import Opener
    from agent.volume import Restored

HELP = "a node's backup into an empty data directory"
ABOUT = """\
Downloads and checks every file, and puts the tables in place when all of them are whole. Afterwards set what it prints
in cassandra.yaml, before Cassandra's first start. The system keyspace is not restored: the node gets a new host id."""
_FINE = frozenset({"lost+found"})  # of a file system


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("--tag", type=options.tag, required=True, help="of the backup")
    parser.add_argument("--source-node", metavar="NODE", help="whose backup; needed where there are several nodes")
    parser.add_argument("--without-auth", action="store_true", help="leave roles and permissions (system_auth) out")
    options.add_dry_run(parser)
    options.add_location(parser)
    options.add_scope(parser)
    options.add_data(parser)
    options.add_keys(parser)
    options.add_transfer(parser)


async def run(arguments: Namespace, console: Console, open_store: Opener) -> int:
    data_dirs, state_dir = options.data_dirs(arguments, exist=False), options.state_dir(arguments)
    location = options.location(arguments)
    async with open_store(location) as store:
        record = await catalogs.one_record(store, arguments.cluster, arguments.tag, arguments.datacenter)
        node = _source(record, arguments.source_node)
        if arguments.dry_run:
            path = NodePath(record.cluster, record.datacenter, node.node)
            manifest = await records.read_manifest(store, path, record.tag, node.digest)
            await asyncio.to_thread(lambda: options.codings(arguments)().check(manifest.objects))
            tables = restore.wanted(manifest, include_auth=not arguments.without_auth)
            sizes = [one.size for table in tables for sstable in table.sstables for one in sstable.components]
            return await asyncio.to_thread(_tell_plan, console, data_dirs, record, node, sizes)
    with locked(state_dir):
        runs = Runs(state_dir)
        what = [location.target, record.cluster, record.datacenter, node.node, node.digest, *map(str, data_dirs)]
        what.append(str(arguments.without_auth))
        begun, again = await asyncio.to_thread(_begin, runs, what, record.tag, partial(Volume, data_dirs, state_dir))
        plan = RestorePlan(
            restore_id=begun.id, location=location, cluster=record.cluster, datacenter=record.datacenter,
            node=node.node, tag=record.tag, digest=node.digest, include_auth=not arguments.without_auth,
            concurrent_transfers=arguments.concurrent_transfers, bandwidth=arguments.bandwidth,
        )  # fmt: skip
        try:
            if not again:
                await asyncio.to_thread(_check_empty, data_dirs)
            handler = RestoreHandler(open_store, data_dirs, state_dir, codings=options.codings(arguments))
            async with running(state_dir, {Kind.RESTORE: handler}, progress.choose(console)) as runner:
                operation = await runner.do(f"{begun.id}-restore", Kind.RESTORE, plan)
                await runner.forget(f"{begun.id}-restore")
        except AgentError as error:
            if error.reason == Reason.VOLUME_NOT_EMPTY:
                await asyncio.to_thread(runs.end, "restore")
            raise
        await asyncio.to_thread(runs.end, "restore")
    restored = await asyncio.to_thread(volume.read_restored, state_dir)
    assert restored is not None
    _tell(console, restored, operation.progress.bytes, node)
    return Exit.DONE


def _begin(runs: Runs, what: list[str], tag: str, volume: Callable[[str], Volume]) -> tuple[Run, bool]:
    """Another restore that was not finished is given up, unless it had begun to put tables in their place."""
    before = runs.get("restore")
    if before is not None and before.what != meaning(what) and not volume(before.id).placing:
        runs.end("restore")
    return runs.begin("restore", what, tag=tag)


def _source(record: ClusterRecord, named: str | None) -> RecordedNode:
    names = ", ".join(node.node for node in record.nodes)
    if named is None:
        if len(record.nodes) > 1:
            raise UsageError(f"the backup {record.tag} has several nodes, name one with --source-node: {names}")
        return record.nodes[0]
    for node in record.nodes:
        if node.node == named:
            return node
    message = f"the backup {record.tag} of {record.datacenter} has no node {named}: it has {names}"
    raise AgentError(Reason.BACKUP_NOT_FOUND, message)


def _check_empty(data_dirs: tuple[Path, ...]) -> None:
    """Stricter than what a pod's volume is held to: here somebody may have mistyped a path."""
    for path in data_dirs:
        for entry in sorted(path.iterdir()) if path.is_dir() else ():
            if entry.name not in _FINE and not entry.name.startswith("."):
                message = f"{path} is not empty ({entry.name} is in it): nothing was touched; restore into an empty one"
                raise AgentError(Reason.VOLUME_NOT_EMPTY, message)


def _tell_plan(
    console: Console, data_dirs: tuple[Path, ...], record: ClusterRecord, node: RecordedNode, sizes: list[int]
) -> int:
    """Exit.FAILED when it would not go."""
    needed = sum(sizes)
    free = sum({_device(path): files.free_bytes(path)[0] for path in data_dirs}.values())
    occupied = ""
    try:
        _check_empty(data_dirs)
    except AgentError as error:
        occupied = error.message
    console.value({
        "tag": record.tag, "node": node.node, "dryRun": True, "files": len(sizes), "bytes": needed, "free": free,
        "fits": needed <= free, "empty": not occupied,
    })  # fmt: skip
    console.line(f"{record.tag} of {node.node}: {count_files(len(sizes))}, {size(needed)}; {size(free)} are free")
    if occupied:
        console.note(f"note: {occupied}")
    if needed > free:
        console.note("note: it does not fit")
    return Exit.FAILED if occupied or needed > free else Exit.DONE


def _device(path: Path) -> int:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path.stat().st_dev


def settings(restored: Restored) -> dict[str, Any]:
    """For cassandra.yaml, before the first start."""
    return configuration.carried(restored)


def _tell(console: Console, restored: Restored, restored_bytes: int, node: RecordedNode) -> None:
    lines = settings(restored)
    console.value({"tag": restored.tag, "node": node.node, "bytes": restored_bytes, "settings": lines})
    console.line(f"{restored.tag} of {node.node} is restored. Set this in cassandra.yaml before the first start,")
    console.line("and remove allocate_tokens_for_keyspace and allocate_tokens_for_local_replication_factor there:")
    console.line()
    for key, value in lines.items():
        console.line(f"{key}: {json.dumps(value)}")
