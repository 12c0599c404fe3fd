"""The least that each kind's schema accepts, and requests as kubectl sends them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import yaml

from reconcilers.api.backup import BACKUPS
from reconcilers.api.crds import DIRECTORY
from reconcilers.api.datacenter import DATACENTERS
from reconcilers.api.restore import RESTORES
from reconcilers.api.schedule import SCHEDULES

if TYPE_CHECKING:
    from controller.client import Client, RawResponse
    from controller.resource import Resource

EXAMPLES = DIRECTORY.parent / "examples"
RESOURCES = {resource.kind: resource for resource in (DATACENTERS, BACKUPS, SCHEDULES, RESTORES)}

_BACKUP = {"backupType": "AWS_S3", "target": "bucket"}
_SPECS: dict[str, dict[str, Any]] = {
    DATACENTERS.kind: {"replicas": 3, "cassandraImage": "cassandra", "sidecarImage": "sidecar"},
    BACKUPS.kind: _BACKUP,
    SCHEDULES.kind: {"schedule": "@daily", "backupTemplate": {"spec": _BACKUP}},
    RESTORES.kind: {"datacenter": "dc", "backup": {"name": "backup"}},
}


def body(resource: Resource, name: str = "one", **fields: Any) -> dict[str, Any]:
    """An object with ``fields`` laid over the least spec; a field that is None is left out."""
    spec = {key: value for key, value in {**_SPECS[resource.kind], **fields}.items() if value is not None}
    head = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": name}}
    return {**head, "spec": spec}


def example(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((EXAMPLES / name).read_text())
    return found


async def create(client: Client, namespace: str, content: dict[str, Any]) -> RawResponse:
    """With ``fieldValidation=Strict``, as ``kubectl apply`` does."""
    path = RESOURCES[content["kind"]].path(namespace)
    return await _send(client, "POST", path, content)


async def replace(client: Client, namespace: str, content: dict[str, Any], *, subresource: str = "") -> RawResponse:
    path = RESOURCES[content["kind"]].path(namespace, content["metadata"]["name"], subresource)
    return await _send(client, "PUT", path, content)


async def _send(client: Client, method: str, path: str, content: dict[str, Any]) -> RawResponse:
    return await client.raw(
        method,
        path,
        body=msgspec.json.encode(content),
        headers={"Content-Type": "application/json"},
        query={"fieldValidation": "Strict"},
    )


def message(response: RawResponse) -> str:
    """The API server's words; empty where it accepted."""
    return "" if response.status < 300 else str(msgspec.json.decode(response.body)["message"])
