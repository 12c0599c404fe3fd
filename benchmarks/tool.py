"""What the benchmark asks of every tool that it compares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.measure import Usage
    from benchmarks.node import Node
    from benchmarks.servers import Server


@dataclass(frozen=True)
class Place:
    """Where one session of a tool works: an empty store, a node, a folder for the tool's own files."""

    server: Server
    node: Node
    work: Path
    certificates: Path
    checkout: Path  # whose agent is measured


class Tool(Protocol):
    """One session, from an empty store on. ``close`` is called whatever happened."""

    def back_up(self, tag: str) -> Usage:
        """Sends the node's state as it is now."""

    def restore(self, tag: str, target: Path) -> Usage:
        """Brings the backup back; below ``target``, which is not there yet, stands ``<keyspace>/<table>-<id>/``."""

    def close(self) -> None: ...
