"""Which backups of a target have no object yet, and the objects that are made for them. Pure."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

import msgspec

from reconcilers import labels
from reconcilers.api.backup import BACKUPS, BackupSpec
from reconcilers.api.common import API_VERSION
from reconcilers.catalog.places import place

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent.protocol import BackupName
    from reconcilers.api.backup import CassandraBackup
    from reconcilers.api.datacenter import BackupCatalog, CassandraDataCenter
    from reconcilers.catalog.places import Record

_LONGEST = 63  # characters of a name: it is a label's value elsewhere


def missing(
    names: Iterable[BackupName], backups: Iterable[CassandraBackup], catalog: BackupCatalog
) -> list[BackupName]:
    """Those that no object of the namespace stands for, whoever made it."""
    here = place(catalog.backup_type, catalog.target)
    by_tag: dict[str, list[CassandraBackup]] = {}
    for backup in backups:
        if place(backup.spec.backup_type, backup.spec.target) == here:
            by_tag.setdefault(backup.tag, []).append(backup)
    return [name for name in names if not any(_stands_for(one, name) for one in by_tag.get(name.tag, ()))]


def _stands_for(backup: CassandraBackup, name: BackupName) -> bool:
    spec, covered = backup.spec, backup.status.datacenters
    if covered:
        return any((one.cluster_name, one.datacenter_name) == (name.cluster, name.datacenter) for one in covered)
    return (  # an import that has not ended, or was refused
        spec.import_existing
        and spec.source_cluster in ("", name.cluster)
        and spec.source_datacenter in ("", name.datacenter)
    )


def built(datacenter: CassandraDataCenter, catalog: BackupCatalog, name: BackupName) -> dict[str, Any]:
    spec = BackupSpec(
        backup_type=catalog.backup_type,
        target=catalog.target,
        endpoint=catalog.endpoint,
        credentials_secret_ref=catalog.credentials_secret_ref,
        snapshot_tag=name.tag,
        import_existing=True,
        source_cluster=name.cluster,
        source_datacenter=name.datacenter,
    )
    meta = {
        "name": object_name(catalog, name),
        "namespace": datacenter.metadata.namespace,
        "labels": {labels.SEED_DATACENTER: datacenter.metadata.name, labels.SYNCED: "true"},
    }
    return {"apiVersion": API_VERSION, "kind": BACKUPS.kind, "metadata": meta, "spec": msgspec.to_builtins(spec)}


def object_name(catalog: BackupCatalog, name: BackupName | Record) -> str:
    """The same for the same backup, whoever asks: so two operators, or two datacenters' catalogs, make one object."""
    identity = "\0".join([place(catalog.backup_type, catalog.target), name.cluster, name.datacenter, name.tag])
    digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
    slug = re.sub(r"[^a-z0-9]+", "-", name.tag.lower()).strip("-")[: _LONGEST - len(digest) - 1].rstrip("-")
    return f"{slug}-{digest}" if slug else f"backup-{digest}"
