"""``backup``: a node's snapshot, sent and committed; with the cluster record where the node is alone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from agent import catalog, configuration, records
from agent.backup import BackupHandler
from agent.cli import live, node, offline, options, progress
from agent.cli.backup_plan import plan
from agent.cli.console import Exit, UsageError, files, size
from agent.cli.run import Runs, locked, running, start_over
from agent.errors import AgentError, Reason
from agent.protocol import BackupSpec, CommitSpec, Kind, NodeDigest, SnapshotSpec
from agent.tasks import CommitHandler, SnapshotHandler

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from agent.cli.console import Console
    from agent.cli.node import Node
    from agent.cli.run import Run, Runner
    from agent.operations import Handler
    from agent.protocol import Location, Operation
    from agent.stores import Opener

HELP = "send this node's data to the bucket"
ABOUT = """\
Takes a snapshot, sends what the bucket does not have, and commits the node's manifest. The backup exists when its
record is written as well: at once where the node is alone or --single-node is given, by `agent commit` after the last
node otherwise."""


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("--tag", type=options.tag, help="the backup's name; with --snapshot by default the same")
    parser.add_argument(
        "--single-node", action="store_true", help="the node is all of its datacenter: write the record"
    )
    options.add_entities(parser)
    parser.add_argument("--full", action="store_true", help="send everything again, reuse nothing")
    options.add_dry_run(parser)
    options.add_location(parser)
    options.add_scope(parser, node=True)
    options.add_data(parser)
    node.add_options(parser)
    options.add_keys(parser, writes=True)
    options.add_transfer(parser)


async def run(arguments: Namespace, console: Console, open_store: Opener) -> int:
    location = options.location(arguments)
    tag = _tag(arguments)
    if options.entities(arguments) and arguments.snapshot is not None:
        raise UsageError("--keyspaces and --tables choose what a snapshot is taken of: not with --snapshot")
    found = await node.of(arguments)
    try:
        if arguments.offline and arguments.snapshot is None and (logs := live.unflushed(found.data_dirs)) is not None:
            console.note(
                f"note: {logs} holds writes that are in no SSTable yet, so they are not backed up; nodetool drain"
            )
        if arguments.dry_run:
            return await _dry_run(arguments, console, open_store, found, tag)
        with locked(found.state_dir):
            return await _back_up(_Backup(arguments, console, open_store, location, found, tag))
    finally:
        await found.close()


class _Backup:
    """One command: what its steps need."""

    def __init__(  # noqa: PLR0917  for ``run`` alone
        self, arguments: Namespace, console: Console, open_store: Opener, location: Location, found: Node, tag: str
    ) -> None:
        self.arguments = arguments
        self.console = console
        self.open_store = open_store
        self.location = location
        self.node = found
        self.tag = tag
        self.entities = options.entities(arguments)
        self.single = bool(arguments.single_node) or found.alone

    def handlers(self, runner: list[Runner]) -> dict[Kind, Handler]:
        """``runner`` has one, once it runs."""
        snapshots = self.node.snapshots
        return {
            Kind.SNAPSHOT: SnapshotHandler(snapshots, lambda: runner[0].operations),
            Kind.BACKUP: BackupHandler(
                snapshots,
                self.open_store,
                settings=lambda: configuration.carried_settings(self.node.config_dir),
                codings=options.codings(self.arguments),
            ),
            Kind.COMMIT: CommitHandler(self.open_store),
        }

    def backup_spec(self, run: Run) -> BackupSpec:
        arguments, found = self.arguments, self.node
        return BackupSpec(
            location=self.location, cluster=found.cluster, datacenter=found.datacenter, rack=found.rack,
            node=found.name, tag=self.tag, backup_id=run.id, epoch=run.epoch, full=arguments.full,
            bandwidth=arguments.bandwidth, concurrent_transfers=arguments.concurrent_transfers, entities=self.entities,
        )  # fmt: skip

    def commit_spec(self, run: Run, sent: NodeDigest) -> CommitSpec:
        return CommitSpec(
            location=self.location, cluster=self.node.cluster, datacenter=self.node.datacenter, tag=self.tag,
            backup_id=run.id, nodes=[sent],
        )  # fmt: skip


async def _back_up(backup: _Backup) -> int:
    """Each step is an operation under the run's id: given again, those that succeeded are not done again."""
    found, console = backup.node, backup.console
    runs, name = Runs(found.state_dir), f"backup-{backup.tag}"
    for tag in await asyncio.to_thread(runs.unfinished, "backup"):
        if tag != backup.tag:
            console.note(f"note: the backup {tag} is not finished and keeps its snapshot; give its command again")
    what = [backup.location.target, found.cluster, found.datacenter, found.name, backup.arguments.snapshot or ""]
    what += backup.entities
    run, again = await asyncio.to_thread(lambda: runs.begin(name, what, tag=backup.tag))
    try:
        if not again:
            await _check_free(backup)
    except BaseException:
        await asyncio.to_thread(runs.end, name)
        raise
    ids = {kind: f"{run.id}-{kind}" for kind in (Kind.SNAPSHOT, Kind.BACKUP, Kind.COMMIT)}
    if again and await found.snapshots.taken(backup.tag) is None:
        await start_over(found.state_dir, ids[Kind.SNAPSHOT])
    runner: list[Runner] = []
    async with running(found.state_dir, backup.handlers(runner), progress.choose(console)) as started:
        runner.append(started)
        if backup.arguments.snapshot is None:
            await started.do(ids[Kind.SNAPSHOT], Kind.SNAPSHOT, SnapshotSpec(tag=backup.tag, entities=backup.entities))
        if found.cassandra is not None:
            await asyncio.to_thread(offline.keep, found.state_dir, found.facts)
        operation = await started.do(ids[Kind.BACKUP], Kind.BACKUP, backup.backup_spec(run))
        sent = msgspec.convert(operation.result, NodeDigest)
        if backup.single:
            await started.do(ids[Kind.COMMIT], Kind.COMMIT, backup.commit_spec(run, sent))
        await started.forget(*ids.values())
    await asyncio.to_thread(runs.end, name)
    _tell(backup, run, sent, operation)
    return Exit.DONE


async def _check_free(backup: _Backup) -> None:
    """Before anything is snapshotted: a tag belongs to one backup."""
    found = backup.node
    async with backup.open_store(backup.location) as store:
        record = await records.find_record(store, found.cluster, backup.tag, found.datacenter)
    if record is not None:
        message = f"{store.name} has a backup {backup.tag} of {found.datacenter} already: give another --tag"
        raise AgentError(Reason.SNAPSHOT_TAG_EXISTS, message)


def _tell(backup: _Backup, run: Run, sent: NodeDigest, operation: Operation) -> None:
    reused = operation.progress.bytes_reused
    result: dict[str, Any] = {
        "tag": backup.tag, "backupId": run.id, "cluster": backup.node.cluster, "datacenter": backup.node.datacenter,
        "complete": backup.single, "bytesReused": reused, **msgspec.to_builtins(sent),
    }  # fmt: skip
    console = backup.console
    console.value(result)
    console.line(
        f"{backup.tag}: {files(sent.files)}, {size(sent.bytes)} of {sent.node}, {size(reused)} of it were there"
    )
    if not backup.single:
        console.note(
            "note: the backup exists when its record is written; when every node is backed up: python -m agent commit"
            f" --tag {backup.tag} --cluster '{backup.node.cluster}' --datacenter '{backup.node.datacenter}' --target …"
        )


async def _dry_run(arguments: Namespace, console: Console, open_store: Opener, found: Node, tag: str) -> int:
    location = options.location(arguments)
    coding = await asyncio.to_thread(options.codings(arguments))
    planned = await plan(
        open_store, location, found, tag,
        snapshot=arguments.snapshot, full=arguments.full, coding=coding, entities=options.entities(arguments),
    )  # fmt: skip
    console.value({"tag": tag, "node": found.name, "dryRun": True, **msgspec.to_builtins(planned)})
    console.line(f"{tag}: {files(planned.send_files)}, {size(planned.send_bytes)} would be sent")
    console.line(f"{tag}: {files(planned.reuse_files)}, {size(planned.reuse_bytes)} are there already")
    if planned.dropped_sstables:
        console.note(f"note: {planned.dropped_sstables} SSTables are still being written and would be left out")
    return Exit.DONE


def _tag(arguments: Namespace) -> str:
    tag: str | None = arguments.tag or arguments.snapshot
    if tag is None:
        raise UsageError("give the backup a name: --tag")
    try:
        return catalog.check_tag(tag)
    except AgentError as error:
        raise UsageError(f"{error.message}; give --tag") from error
