"""``gc``: frees what no backup of a node needs any more."""

from __future__ import annotations

import argparse
import socket
from typing import TYPE_CHECKING, Any

import msgspec

from agent.cli import options
from agent.cli.by_handler import Work
from agent.cli.console import Exit, size
from agent.cli.verify import share
from agent.collector import CollectHandler
from agent.protocol import Collected, CollectSpec, Kind
from agent.turns import Turns

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from pathlib import Path

    from agent.cli.console import Console
    from agent.cli.run import Run
    from agent.operations import Handler
    from agent.stores import Opener

ABOUT = """\
One cycle of the collector over one node's part of the bucket. What nothing needs is listed first, and deleted by a
cycle that comes a day or more after; so run it twice, and then each day. It refuses where something looks wrong: a
manifest that cannot be read, no backup at all, most of the objects to go."""


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("--node", required=True, help="the node's name in the bucket, as `show` has it")
    parser.add_argument(
        "--grace",
        type=_hours,
        default=24,
        metavar="HOURS",
        help="from listing to deleting; by default 24, at least 1",
    )
    parser.add_argument(
        "--limit", type=share, default=0.5, metavar="PERCENT", help="of the objects that may go; by default 50"
    )
    parser.add_argument("--allow-empty", action="store_true", help="the node has no backup left, and all is to go")


def handler(open_store: Opener, _arguments: Namespace, _state_dir: Path) -> Handler:
    return CollectHandler(open_store, Turns(), holder=socket.gethostname())


def spec(arguments: Namespace, _run: Run) -> CollectSpec:
    """UsageError for what is missing."""
    options.check_scope(arguments)
    return CollectSpec(
        location=options.location(arguments), cluster=arguments.cluster, datacenter=arguments.datacenter,
        node=arguments.node, dry_run=arguments.dry_run, grace=arguments.grace * 3600, limit=arguments.limit,
        allow_empty=arguments.allow_empty,
    )  # fmt: skip


def tell(console: Console, arguments: Namespace, result: dict[str, Any]) -> Exit:
    found = msgspec.convert(result, Collected)
    would = "would be " if arguments.dry_run else ""
    if arguments.dry_run:
        for one in found.keys:
            console.line(f"{one.why} {one.key} ({size(one.size)})")
        if found.keys_not_told:
            console.line(f"and {found.keys_not_told} more")
    console.line(
        f"{found.objects} objects, {size(found.bytes)}: {found.live} needed, {found.candidates} not"
        f" ({size(found.candidate_bytes)}), of which {found.deleted} {would}deleted ({size(found.deleted_bytes)})"
    )
    return Exit.FINDINGS if found.missing else Exit.DONE


def _hours(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("it must be a whole number of hours, at least 1")
    return int(text)


COMMAND = Work(Kind.COLLECT, ABOUT, handler, spec, tell, add_options).command()
