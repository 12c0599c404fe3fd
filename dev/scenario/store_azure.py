"""A container of Azure Blob Storage, by the SDK's blocking client."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.core.pipeline.transport import RequestsTransport
from azure.storage.blob import ContainerClient

if TYPE_CHECKING:
    from collections.abc import Sequence

_VERSION = "2021-12-02"  # of the protocol: one that every emulator knows


@dataclass(frozen=True)
class AzureStore:
    """``endpoint`` is the account's URL as this machine reaches it; the key is the account's."""

    endpoint: str
    account: str
    key: str

    def make_empty(self, bucket: str) -> int:
        with self._client(bucket) as client:
            try:
                client.create_container()
            except ResourceExistsError:
                return self._empty(client)
            return 0

    def remove(self, bucket: str) -> None:
        """A container goes with all that is in it."""
        with self._client(bucket) as client:
            try:
                client.delete_container()
            except ResourceNotFoundError:
                return

    def delete(self, bucket: str, keys: Sequence[str]) -> None:
        with self._client(bucket) as client:
            for key in keys:
                client.delete_blob(key)

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        with self._client(bucket) as client:
            return [str(name) for name in client.list_blob_names(name_starts_with=prefix)]

    def read(self, bucket: str, key: str) -> bytes:
        with self._client(bucket) as client:
            return client.download_blob(key).readall()

    def size(self, bucket: str) -> int:
        with self._client(bucket) as client:
            return sum(blob.size for blob in client.list_blobs())

    def _empty(self, client: ContainerClient) -> int:
        names = list(client.list_blob_names())
        for name in names:
            client.delete_blob(name)
        return len(names)

    def _client(self, bucket: str) -> ContainerClient:
        return ContainerClient(
            self.endpoint,
            bucket,
            credential={"account_name": self.account, "account_key": self.key},
            api_version=_VERSION,
            transport=RequestsTransport(use_env_settings=False),  # no proxy knows the way into the cluster
        )
