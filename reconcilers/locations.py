"""From what a spec says of a store to what an agent is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.protocol import Endpoint, Location

if TYPE_CHECKING:
    from reconcilers.api import common

_SCHEMES = {"AWS_S3": "s3", "GCP_BLOB": "gs", "AZURE_BLOB": "azure", "FILE": "file"}


def to_agent(backup_type: str, target: str, endpoint: common.Endpoint | None) -> Location:
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
        ),
    )


def uri(backup_type: str, target: str) -> str:
    """The target as a URI, whichever way it was written."""
    return target if "://" in target else f"{_SCHEMES.get(backup_type, backup_type.lower())}://{target}"
