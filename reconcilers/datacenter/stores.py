"""What the reconciler of datacenters reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from controller.objects import RawObject
    from controller.store import Store
    from reconcilers.api.backup import CassandraBackup
    from reconcilers.api.datacenter import CassandraDataCenter
    from reconcilers.api.restore import CassandraRestore

INDEX = "datacenter"  # "<namespace>/<name>" of the datacenter that an object belongs to, or covers


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """``pods`` and ``backups`` have the index ``INDEX``."""

    datacenters: Store[CassandraDataCenter]
    statefulsets: Store[RawObject]
    pods: Store[RawObject]
    services: Store[RawObject]
    configmaps: Store[RawObject]
    service_accounts: Store[RawObject]
    budgets: Store[RawObject]
    restores: Store[CassandraRestore]
    backups: Store[CassandraBackup]
