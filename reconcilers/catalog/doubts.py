"""Of which backups a look into the bucket may make something else than they say. Pure.

It is only a doubt: what was written or deleted between the listing and now, and what a listing left out, is decided by
reading the record itself, which every store answers as it is.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from controller.conditions import is_true
from reconcilers import labels
from reconcilers.api.backup import DeletionPolicy
from reconcilers.api.backup_status import RESTORABLE
from reconcilers.backup.sightings import is_gone
from reconcilers.catalog import objects, places
from reconcilers.catalog.places import Record

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent.protocol import BackupNames
    from reconcilers.api.backup import CassandraBackup
    from reconcilers.api.datacenter import BackupCatalog, CassandraDataCenter


def doubtful(
    found: BackupNames, backups: Iterable[CassandraBackup], datacenter: CassandraDataCenter, catalog: BackupCatalog
) -> list[CassandraBackup]:
    """A listing that was cut says nothing of what it does not have."""
    here = [one for one in backups if _settled(one) and places.looks_at(datacenter, catalog, one)]
    listed = {Record(name.cluster, name.datacenter, name.tag) for name in found.names}
    whole = found.total <= len(found.names)
    makers: dict[Record, set[str]] = defaultdict(set)
    for backup in here:
        if is_gone(backup.status) or is_true(backup.status.conditions, RESTORABLE):
            for record in places.records(backup):
                makers[record].add(places.maker(backup))
    result = []
    for backup in here:
        records = places.records(backup)
        there = listed.issuperset(records)
        absent = whole and not there
        if is_true(backup.status.conditions, RESTORABLE):
            doubt = absent or any(len(makers[record]) > 1 for record in records)
        else:
            doubt = there and is_gone(backup.status)
        if doubt or (absent and catalog.prune and prunable(backup, datacenter, catalog)):
            result.append(backup)
    return result


def prunable(backup: CassandraBackup, datacenter: CassandraDataCenter, catalog: BackupCatalog) -> bool:
    """Made by this catalog, and nobody has made it their own since."""
    meta = backup.metadata
    made = labels.SYNCED in meta.labels and meta.labels.get(labels.SEED_DATACENTER) == datacenter.metadata.name
    own_name = any(objects.object_name(catalog, record) == meta.name for record in places.records(backup))
    held = set(meta.finalizers) - {labels.BACKUP_FINALIZER}
    return made and own_name and not held and backup.spec.deletion_policy is DeletionPolicy.RETAIN and _settled(backup)


def _settled(backup: CassandraBackup) -> bool:
    return backup.ended and not backup.metadata.deletion_timestamp and bool(places.records(backup))
