"""``list`` and ``show``: what backups there are, and what is in one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from agent import discovery, records
from agent.catalog import NodePath
from agent.cli import catalogs, options
from agent.cli.console import Exit, files, size
from agent.discovery import Broken
from agent.errors import AgentError

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterable

    from agent.catalog import Manifest, Table
    from agent.cli.console import Console
    from agent.protocol import ClusterRecord, RecordedNode
    from agent.stores import Opener
    from backends.base import ObjectStore

LIST_HELP = "the backups that a bucket holds"
LIST_ABOUT = (
    "One line a backup and datacenter. A record that cannot be read is a line too, and the exit code is 3 then."
)
SHOW_HELP = "the nodes and tables of a backup"
SHOW_ABOUT = "Reads the manifest of every node. One that cannot be read is a line too, and the exit code is 3 then."
_WIDTHS = (32, 16, 5, 12, 20, 10)
_HEAD = ("TAG", "DATACENTER", "NODES", "SIZE", "CREATED", "CASSANDRA", "CLUSTER")


def add_list_options(parser: ArgumentParser) -> None:
    options.add_location(parser)
    options.add_scope(parser)


def add_show_options(parser: ArgumentParser) -> None:
    parser.add_argument("tag", type=options.tag, metavar="TAG")
    options.add_location(parser)
    options.add_scope(parser)


async def run_list(arguments: Namespace, console: Console, open_store: Opener) -> int:
    """As it comes: a bucket of ten thousand backups begins to print at once."""
    broken = count = 0
    async with open_store(options.location(arguments)) as store:
        names = [arguments.cluster] if arguments.cluster else await discovery.clusters(store)
        for cluster in names:
            async for found in discovery.find_records(store, cluster):
                if isinstance(found, Broken):
                    broken += 1
                    console.item({"key": found.key, "error": {"reason": found.reason, "message": found.message}})
                    console.line(f"{found.key}: {found.message}")
                elif arguments.datacenter in {None, found.datacenter}:
                    if not count:
                        console.line(_row(*_HEAD))
                    count += 1
                    console.item(_record(found))
                    console.line(_line(found))
    console.end_items()
    if not count and not broken:
        console.note(f"note: {store.name} has no backup{f' of {arguments.cluster}' if arguments.cluster else ''}")
    return Exit.FINDINGS if broken else Exit.DONE


async def run_show(arguments: Namespace, console: Console, open_store: Opener) -> int:
    failed = 0
    async with open_store(options.location(arguments)) as store:
        record = await catalogs.one_record(store, arguments.cluster, arguments.tag, arguments.datacenter)
        console.line(
            f"{record.tag} of {record.datacenter}, cluster {record.cluster}, {record.created_at},"
            f" Cassandra {record.cassandra_version or 'of unknown version'}, {size(_bytes(record.nodes))}"
        )
        if record.entities:
            console.line(f"of {', '.join(record.entities)} alone")
        for missing in record.missing:
            name = missing.node or "a node that is not known by name"
            console.line(f"without {name}, rack {missing.rack}, {len(missing.tokens)} tokens: it is partial")
        found: list[dict[str, Any]] = []
        for node in record.nodes:
            console.line()
            try:
                manifest = await _manifest(store, record, node)
            except AgentError as error:
                failed += 1
                console.line(f"{node.node}: {error.message}")
                found.append(_node(node) | {"error": {"reason": str(error.reason), "message": error.message}})
                continue
            tables = await asyncio.to_thread(_tables, manifest)
            console.line(
                f"{node.node}  rack {node.rack}, {node.tokens} tokens, {files(node.files)}, {size(node.bytes)}"
            )
            if manifest.key_ids:
                console.line(f"  encrypted, the key is {', '.join(manifest.key_ids)}")
            for table in tables:
                console.line(f"  {table['table']:<48} {size(table['bytes']):>12}  {table['sstables']} SSTables")
            more = {"tables": tables, "totals": msgspec.to_builtins(manifest.totals), "keyIds": manifest.key_ids}
            found.append(_node(node) | more)
    console.value(_record(record) | {"nodes": found})
    return Exit.FINDINGS if failed else Exit.DONE


async def _manifest(store: ObjectStore, record: ClusterRecord, node: RecordedNode) -> Manifest:
    path = NodePath(record.cluster, record.datacenter, node.node)
    return await records.read_manifest(store, path, record.tag, node.digest)


def _tables(manifest: Manifest) -> list[dict[str, Any]]:
    """Index tables count with their table."""
    found: dict[str, dict[str, Any]] = {}
    for table in manifest.tables:
        name = f"{table.keyspace}.{table.name}"
        one = found.setdefault(f"{name}-{table.id}", {"table": name, "id": table.id, "sstables": 0, "bytes": 0})
        one["sstables"] += len(table.sstables)
        one["bytes"] += _table_bytes(table)
    return list(found.values())


def _table_bytes(table: Table) -> int:
    return sum(component.size for sstable in table.sstables for component in sstable.components)


def _record(record: ClusterRecord) -> dict[str, Any]:
    built: dict[str, Any] = msgspec.to_builtins(record)
    return built | {"bytes": _bytes(record.nodes)}


def _node(node: RecordedNode) -> dict[str, Any]:
    return dict(msgspec.to_builtins(node))


def _line(record: ClusterRecord) -> str:
    return _row(
        record.tag, record.datacenter, _nodes(record), size(_bytes(record.nodes)), record.created_at,
        record.cassandra_version or "?", record.cluster,
    )  # fmt: skip


def _nodes(record: ClusterRecord) -> str:
    """``2/3`` of a partial backup."""
    have = len(record.nodes)
    return f"{have}/{have + sum(bool(one.node) for one in record.missing)}" if record.missing else str(have)


def _row(*cells: str) -> str:
    """Fixed widths: the longest is not known before the last one came."""
    padded = [f"{cell:<{width}}" for cell, width in zip(cells[:-1], _WIDTHS, strict=True)]
    return "  ".join([*padded, cells[-1]])


def _bytes(nodes: Iterable[RecordedNode]) -> int:
    return sum(node.bytes for node in nodes)
