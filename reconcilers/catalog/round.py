"""One look at a catalog: what is left of it to do, and what came of it. It may be lost at any time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.protocol import BackupName
    from controller.resource import Key
    from reconcilers.api.backup import CassandraBackup
    from reconcilers.api.datacenter import BackupCatalog


@dataclass(slots=True)
class Round:
    """``due``: monotonic seconds of the next one, once this one has ended."""

    catalog: BackupCatalog
    before: frozenset[str] = frozenset()  # UIDs of objects whose record was gone at the look before
    total: int = 0
    left: list[BackupName] | None = None  # None: nobody has answered yet
    doubts: list[CassandraBackup] = field(default_factory=list)  # whose records are still to be read
    gone: dict[str, Key] = field(default_factory=dict)  # by UID, of those whose records are not there
    made: int = 0
    pruned: list[str] = field(default_factory=list)  # names
    odd: list[str] = field(default_factory=list)  # tags that no object can have
    due: float = 0.0

    def next(self) -> Round:
        return Round(self.catalog, before=self.before if self.left is None else frozenset(self.gone))
