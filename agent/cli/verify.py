"""``verify``: what a bucket has of a node, held against its manifests, and put right where the disk still can."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from agent.cli import options
from agent.cli.console import Exit, UsageError, size
from agent.protocol import Level, Verified, VerifySpec
from agent.verify_run import VerifyHandler

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from agent.cli.console import Console
    from agent.cli.run import Run
    from agent.operations import Handler
    from agent.stores import Opener

HELP = "hold what the bucket has of a node against its manifests"
ABOUT = """\
Looks at every object that a complete backup of the node needs: whether it is there (Size), whether the store's own
checksum is right (Hash), or at the bytes themselves (Read; with --share a part each time, so that all is read in
turn). --heal sends again what is missing or damaged and still on this node's disk."""


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("--node", required=True, help="the node's name in the bucket, as `show` has it")
    parser.add_argument("--tag", type=options.tag, help="one backup, by default all that are complete")
    parser.add_argument(
        "--level", type=Level, choices=list(Level), default=Level.SIZE, help="how closely; by default Size"
    )
    parser.add_argument(
        "--share", type=share, default=1.0, metavar="PERCENT", help="of the bytes, for Read; by default 100"
    )
    parser.add_argument("--heal", action="store_true", help="put right what --data-dir still has")
    parser.add_argument(
        "--data-dir", type=Path, action="append", metavar="DIR", help="Cassandra's data directory, to heal from"
    )
    options.add_keys(parser)


def handler(open_store: Opener, arguments: Namespace, state_dir: Path) -> Handler:
    data_dirs = options.data_dirs(arguments) if arguments.data_dir else ()
    return VerifyHandler(open_store, data_dirs, state_dir, codings=options.codings(arguments))


def spec(arguments: Namespace, _run: Run) -> VerifySpec:
    """UsageError for what is missing."""
    options.check_scope(arguments)
    if arguments.heal and not arguments.data_dir:
        raise UsageError("healing needs the node's files: give --data-dir")
    return VerifySpec(
        location=options.location(arguments), cluster=arguments.cluster, datacenter=arguments.datacenter,
        node=arguments.node, tag=arguments.tag or "", level=arguments.level, share=arguments.share,
        heal=arguments.heal and not arguments.dry_run, concurrent_transfers=arguments.concurrent_transfers,
        bandwidth=arguments.bandwidth,
    )  # fmt: skip


def tell(console: Console, _arguments: Namespace, result: dict[str, Any]) -> Exit:
    found = msgspec.convert(result, Verified)
    for one in found.findings:
        where = f" ({one.table}, needed by {', '.join(one.backups)})" if one.table else ""
        healing = f"; {one.healing}{f': {one.healing_detail}' if one.healing_detail else ''}" if one.healing else ""
        console.line(f"{one.fault} {one.object}{where}: {one.detail}{healing}")
    if found.findings_not_listed:
        console.line(f"and {found.findings_not_listed} more")
    read = f", {size(found.read_bytes)} read" if found.read_objects else ""
    console.line(
        f"{found.backups} backups, {found.objects} objects, {size(found.bytes)}{read}: {found.missing} missing,"
        f" {found.damaged} damaged, {found.manifests} manifests that cannot be used, {found.healed} healed"
    )
    return Exit.DONE if found.intact else Exit.FINDINGS


def share(text: str) -> float:
    """Of a percentage."""
    try:
        found = float(text.removesuffix("%")) / 100
    except ValueError:
        found = 0.0
    if not 0 < found <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no percentage above 0 and up to 100")
    return found
