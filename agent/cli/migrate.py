"""``migrate``: a backup of cassandra-medusa, made into one of ours."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import msgspec

from agent import catalog
from agent.cli import options
from agent.cli.by_handler import Work
from agent.cli.console import Exit, UsageError, files, size
from agent.cli.medusa.handler import MigrateHandler
from agent.errors import AgentError
from agent.protocol import Kind, Location, MigrateSpec

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from pathlib import Path

    from agent.cli.console import Console
    from agent.cli.run import Run
    from agent.operations import Handler
    from agent.stores import Opener

ABOUT = """\
Reads a backup of Medusa 0.20 to 0.31 and writes a complete one of ours. In one bucket the store copies the large files
itself; small ones are read and bundled. Medusa's objects are only read. Given again, it goes on where it was."""
_NAMES = uuid.UUID("a40d4b1c-7f4f-5b2e-9c55-6a0f6f0f1c31")  # of migrated backups: the same source is the same backup


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("backup", metavar="BACKUP", help="Medusa's name of it")
    parser.add_argument(
        "--from", dest="source", required=True, metavar="URI", help="Medusa's bucket, with its prefix where it has one"
    )
    parser.add_argument("--from-endpoint", metavar="URL", help="of Medusa's store, by default as --endpoint")
    parser.add_argument("--tag", type=options.tag, help="of our backup, by default Medusa's name")


def handler(open_store: Opener, _arguments: Namespace, _state_dir: Path) -> Handler:
    return MigrateHandler(open_store)


def spec(arguments: Namespace, run: Run) -> MigrateSpec:
    """UsageError for what is missing."""
    if not arguments.cluster:
        raise UsageError("Medusa does not record the cluster's name: give --cluster")
    if arguments.datacenter:
        raise UsageError("a Medusa backup is migrated with all of its datacenters: leave --datacenter out")
    try:
        tag = catalog.check_tag(arguments.tag or arguments.backup)
    except AgentError as error:
        raise UsageError(f"{error.message}: give another --tag") from error
    if "/" in arguments.backup:
        raise UsageError(f"{arguments.backup!r} is no name of a Medusa backup")
    location = options.location(arguments)
    source, told = options.place(arguments.source), location.endpoint
    if arguments.from_endpoint and told is not None:
        told = msgspec.structs.replace(told, url=arguments.from_endpoint)
    names = f"{source.target}\n{arguments.backup}\n{arguments.cluster}"
    theirs = Location(backup_type=source.backup_type, target=source.target, endpoint=told)
    return MigrateSpec(
        location=location, source=theirs, backup=arguments.backup, cluster=arguments.cluster, tag=tag,
        backup_id=str(uuid.uuid5(_NAMES, names)), epoch=run.epoch, dry_run=arguments.dry_run,
        concurrent_transfers=arguments.concurrent_transfers, bandwidth=arguments.bandwidth,
    )  # fmt: skip


def tell(console: Console, arguments: Namespace, result: dict[str, Any]) -> Exit:
    tag = arguments.tag or arguments.backup
    if not result["migrated"]:
        console.line(f"{tag}: it was migrated before, nothing is left to do")
        return Exit.FINDINGS
    how = "the store copies" if result["copiedByStore"] else "two stores: all is read"
    would = "would be" if arguments.dry_run else "are"
    console.line(
        f"{tag}: {len(result['migrated'])} nodes, {files(result['files'])}, {size(result['bytes'])} {would} migrated"
        f" ({how}; {size(result['bytesRead'])} read at most)"
    )
    return Exit.DONE


COMMAND = Work(Kind.MIGRATE, ABOUT, handler, spec, tell, add_options).command()
