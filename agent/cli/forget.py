"""``forget``: takes a backup out of the bucket. Its data goes by ``gc``."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, NamedTuple

from agent import discovery, records
from agent.catalog import NodePath
from agent.cli import catalogs, options, progress
from agent.cli.command import Command
from agent.cli.console import Exit, UsageError, size
from agent.cli.run import locked, running
from agent.errors import AgentError, Reason
from agent.forget import ForgetHandler
from agent.protocol import ForgetSpec, Kind

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from agent.cli.console import Console
    from agent.cli.run import Runner
    from agent.stores import Opener
    from backends.base import ObjectStore

ABOUT = """\
Deletes the backup's record and the manifest of each of its nodes: nothing can be restored from it any more. The space
of what only it needed is freed by `gc`, node by node, in two cycles a day apart. Refused while the backup runs. Of a
backup that was never completed, or half forgotten, name --cluster and --datacenter."""


class _Backup(NamedTuple):
    """``size`` in bytes and ``made`` are not known where there is no record."""

    cluster: str
    datacenter: str
    backup_id: str
    nodes: list[str]
    size: int = 0
    made: str = ""


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("--tag", type=options.tag, required=True, help="of the backup")
    parser.add_argument("--yes", action="store_true", help="delete it; nothing brings it back")
    options.add_dry_run(parser)
    options.add_location(parser)
    options.add_scope(parser)
    options.add_state(parser)


async def run(arguments: Namespace, console: Console, open_store: Opener) -> int:
    if not arguments.yes and not arguments.dry_run:
        raise UsageError("what is forgotten cannot be restored: give --dry-run to see what it is, and --yes to do it")
    location = options.location(arguments)
    async with open_store(location) as store:
        found = await _find(store, arguments)
    if not arguments.dry_run:
        spec = ForgetSpec(
            location=location, cluster=found.cluster, datacenter=found.datacenter, tag=arguments.tag,
            backup_id=found.backup_id,
        )  # fmt: skip
        await _forget(arguments, console, open_store, spec)
    _tell(console, arguments, found)
    return Exit.DONE


async def _find(store: ObjectStore, arguments: Namespace) -> _Backup:
    """By its record, else by its manifests, where it is said whose."""
    cluster, datacenter, tag = arguments.cluster, arguments.datacenter, arguments.tag
    try:
        record = await catalogs.one_record(store, cluster, tag, datacenter)
    except AgentError as error:
        if error.reason != Reason.BACKUP_NOT_FOUND or not cluster or not datacenter:
            raise
        nodes = await discovery.nodes(store, cluster, datacenter, tag)
        found = await records.find_manifest(store, NodePath(cluster, datacenter, nodes[0]), tag) if nodes else None
        if found is None:
            raise
        return _Backup(cluster, datacenter, found[0].backup_id, nodes)
    names, total = [node.node for node in record.nodes], sum(node.bytes for node in record.nodes)
    return _Backup(record.cluster, record.datacenter, record.backup_id, names, total, record.created_at)


async def _forget(arguments: Namespace, console: Console, open_store: Opener, spec: ForgetSpec) -> None:
    state_dir, operation_id = options.state_dir(arguments), f"{uuid.uuid4().hex}-forget"
    runner: list[Runner] = []
    handler = ForgetHandler(open_store, lambda: runner[0].operations)
    with locked(state_dir):
        async with running(state_dir, {Kind.FORGET: handler}, progress.choose(console)) as started:
            runner.append(started)
            try:
                await started.do(operation_id, Kind.FORGET, spec)
            finally:
                await started.forget(operation_id)


def _tell(console: Console, arguments: Namespace, found: _Backup) -> None:
    console.value({
        "tag": arguments.tag, "cluster": found.cluster, "datacenter": found.datacenter, "backupId": found.backup_id,
        "createdAt": found.made, "nodes": found.nodes, "bytes": found.size, "dryRun": arguments.dry_run,
    })  # fmt: skip
    what = f", made {found.made}, {size(found.size)}" if found.made else ", never completed or half forgotten"
    done = "would be forgotten" if arguments.dry_run else "is forgotten"
    console.line(f"{arguments.tag} of {found.datacenter}{what}, {len(found.nodes)} nodes: {done}")
    if not arguments.dry_run:
        console.note("note: what only it needed is still in the bucket: python -m agent gc --node …, for each node")


COMMAND = Command(ABOUT, add_options, run)
