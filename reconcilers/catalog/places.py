"""Where a backup is, and whether a catalog looks there: a bucket's name alone does not say it. Pure."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from reconcilers import labels, locations
from reconcilers.access import access_of
from reconcilers.api.common import BackupType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconcilers.api.access import Access
    from reconcilers.api.backup import BackupSpec, CassandraBackup
    from reconcilers.api.backup_status import BackupDatacenter
    from reconcilers.api.datacenter import BackupCatalog, CassandraDataCenter

# Variables of an agent that say where its stores are.
_PLACE = re.compile("ENDPOINT|EMULATOR|ACCOUNT|CONNECTION|PROFILE|CONFIG_FILE", re.IGNORECASE)


class Record(NamedTuple):
    """By what a bucket knows one datacenter's backup."""

    cluster: str
    datacenter: str
    tag: str


def place(backup_type: str, target: str) -> str:
    """Without the endpoint: one may stand in the spec or in the environment."""
    return locations.uri(backup_type, target).rstrip("/")


def records(backup: CassandraBackup) -> list[Record]:
    """What it needs in the bucket; none where that is not known."""
    spec, covered = backup.spec, backup.status.datacenters
    if covered:
        return [Record(one.cluster_name, one.datacenter_name, backup.tag) for one in covered]
    if spec.source_cluster and spec.source_datacenter:  # an import that was refused
        return [Record(spec.source_cluster, spec.source_datacenter, backup.tag)]
    return []


def maker(backup: CassandraBackup) -> str:
    """By what its records know it."""
    return backup.status.backup_id if backup.spec.import_existing else backup.metadata.uid


def looks_at(datacenter: CassandraDataCenter, catalog: BackupCatalog, backup: CassandraBackup) -> bool:
    """Whether the catalog sees the very store that the backup is in. Where that cannot be known it does not."""
    if _given(catalog) != _given(backup.spec):
        return False
    name, here, covered = datacenter.metadata.name, access_of(datacenter), backup.status.datacenters
    if not covered:
        return backup.metadata.labels.get(labels.SEED_DATACENTER) == name
    return all(_alike(one, here, backup.spec, own=one.name == name) for one in covered)


def _alike(covered: BackupDatacenter, here: Access, spec: BackupSpec, *, own: bool) -> bool:
    there = covered.access
    if there is None or (not own and (there.withheld or here.withheld)):
        return own
    return [*_found(there, spec)] == [*_found(here, spec)]


def _given(of: BackupCatalog | BackupSpec) -> tuple[str, str, str]:
    secret = of.credentials_secret_ref.name if of.credentials_secret_ref else ""
    return place(of.backup_type, of.target), (of.endpoint and of.endpoint.url) or "", secret


def _found(access: Access, spec: BackupSpec) -> Iterator[bytes]:
    """What says of one that is reached so where its store is: not who asks, as credentials are rotated."""
    said = [v for v in access.env if _PLACE.search(v["name"])]
    if spec.backup_type == BackupType.FILE:
        path = posixpath.normpath(spec.target.removeprefix("file://"))
        said += [v for v in access.volumes if path == v["mountPath"] or path.startswith(f"{v['mountPath']}/")]
    return (msgspec.json.encode(one, order="deterministic") for one in sorted(said, key=lambda one: one["name"]))
