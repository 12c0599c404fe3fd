"""The four stores: how the documents name each of the bed's, and how its owner looks into it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

from dev.scenario import bed
from dev.scenario.documents import Documents, example, secret
from dev.scenario.store_azure import AzureStore
from dev.scenario.store_file import FileStore
from dev.scenario.store_gcs import GcsStore
from dev.scenario.store_s3 import S3Store

if TYPE_CHECKING:
    from dev.scenario.bed import Server
    from dev.scenario.kubectl import Kubectl
    from dev.scenario.store import Store

STORAGE = ("s3", "gcs", "azure", "file")


@dataclass(frozen=True)
class Place:
    """Where a run keeps its backups."""

    name: str
    documents: Documents
    store: Store


def place(name: str, kubectl: Kubectl, *, keys: tuple[str, str] | None = None) -> Place:
    """The bed's store ``name``, started if it does not run. ``keys`` are the agents' where they are not the owner's."""
    if name == "file":
        claim = yaml.safe_load(example("file-claim"))
        return Place(name, Documents("file-", "file", (claim,)), FileStore(kubectl))
    server = bed.server(name)
    store = owner(name, server)
    user, password = keys or (server.user, server.password)
    if name == "gcs":
        # An emulator asks for no credentials; the document names a Secret, which must be there.
        given = secret("gcsbackuptest", key=json.dumps({"type": "service_account"}))
        documents = Documents("gcs-", "gs", (given,), server.url, "STORAGE_EMULATOR_HOST")
        return Place(name, documents, store)
    if name == "azure":
        given = secret("azurebackuptest", account=user, key=password)
        documents = Documents("azure-", "azure", (given,), server.url)
        return Place(name, documents, store)
    given = secret("awsbackuptest", access=user, secret=password)
    documents = Documents("", "s3", (given,), server.url, "AWS_ENDPOINT_URL")
    return Place(name, documents, store)


def owner(name: str, server: Server) -> Store:
    """How the owner of a server of the kind ``name`` looks into it."""
    if name == "gcs":
        return GcsStore(server.url)
    return (AzureStore if name == "azure" else S3Store)(server.url, server.user, server.password)
