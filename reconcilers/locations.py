"""From what a spec says of a store to what an agent is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import structs

from agent.protocol import Endpoint, Location, StoreOptions
from reconcilers import mounts
from reconcilers.api.backup import ServerSideEncryption
from reconcilers.mounts import NOWHERE, Secrets

if TYPE_CHECKING:
    from reconcilers.api import common
    from reconcilers.api.backup import BackupSpec
    from reconcilers.api.datacenter import CassandraDataCenter
    from reconcilers.mounts import Given, Paths

_SCHEMES = {"AWS_S3": "s3", "GCP_BLOB": "gs", "AZURE_BLOB": "azure", "FILE": "file"}


def to_agent(
    backup_type: str,
    target: str,
    endpoint: common.Endpoint | None,
    writing: BackupSpec | None = None,
    *,
    paths: Paths = NOWHERE,
) -> Location:
    """``writing`` is the backup whose objects are written there: it says how they are kept. ``paths`` are those of the
    agent that is told.
    """
    return Location(
        backup_type=backup_type,
        target=target,
        endpoint=None
        if endpoint is None
        else Endpoint(
            url=endpoint.url,
            region=endpoint.region,
            path_style=endpoint.path_style,
            insecure_skip_verify=endpoint.insecure_skip_verify,
            ca_file=paths.ca_bundle,
        ),
        options=_options(endpoint, writing),
        credentials=paths.credentials,
    )


def to_agents_of(datacenter: CassandraDataCenter, given: Given) -> Location:
    """For reading, with the Secrets as they have them."""
    paths = mounts.paths(datacenter, Secrets.of(given))
    return to_agent(given.backup_type, given.target, given.endpoint, paths=paths)


def moved(location: Location, paths: Paths) -> Location:
    """The same for another agent."""
    endpoint = location.endpoint
    if endpoint is not None:
        endpoint = structs.replace(endpoint, ca_file=paths.ca_bundle)
    return structs.replace(location, endpoint=endpoint, credentials=paths.credentials)


def _options(endpoint: common.Endpoint | None, writing: BackupSpec | None) -> StoreOptions | None:
    """None where nothing is asked for."""
    told = StoreOptions(requester_pays=endpoint is not None and endpoint.requester_pays)
    if writing is not None:
        told.storage_class, told.tags = writing.storage_class, writing.tags
        if writing.encryption is not None and writing.encryption.sse != ServerSideEncryption.NONE:
            told.encryption, told.kms_key = writing.encryption.sse.value, writing.encryption.kms_key_id
        if writing.object_lock is not None:
            told.lock_mode, told.lock_days = writing.object_lock.mode.value, writing.object_lock.days
    return None if told == StoreOptions() else told


def uri(backup_type: str, target: str) -> str:
    """The target as a URI, whichever way it was written."""
    return target if "://" in target else f"{_SCHEMES.get(backup_type, backup_type.lower())}://{target}"
