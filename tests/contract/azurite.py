"""A real Azurite on a free loopback port, containers in it, and the error of each verb of a store that cannot work."""

from __future__ import annotations

import itertools
import os
import socket
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backends.azure import AzureStore
from backends.base import Endpoint
from tests.contract.refusals import errors_of
from tests.contract.server import program, started
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from backends.errors import StoreError
    from tests.contract.refusals import Calls

ACCOUNT = "devstoreaccount1"
# Published: https://learn.microsoft.com/azure/storage/common/storage-use-azurite#well-known-storage-account-and-key
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_containers = itertools.count(1)


@dataclass(frozen=True)
class Azurite:
    url: str  # with the account
    port: int

    @property
    def env(self) -> dict[str, str]:
        return {"AZURE_STORAGE_ACCOUNT": ACCOUNT, "AZURE_STORAGE_KEY": KEY}


@contextmanager
def running(directory: Path, *, certificate: Path | None = None, key: Path | None = None) -> Iterator[Azurite]:
    """Starts a server on ``directory``, waits until it listens, ends it by its process. With TLS it takes tokens."""
    port = free_port()
    command = [
        program("azurite"), "--skipApiVersionCheck", "--silent", "--disableTelemetry",
        "--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(directory),
    ]  # fmt: skip
    if certificate and key:
        command += ["--cert", str(certificate), "--key", str(key), "--oauth", "basic"]

    def ask() -> None:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()

    environment = {"PATH": os.environ["PATH"]}
    with started(command, environment, directory, ask, patience=90):  # a busy machine starts Node slowly
        yield Azurite(f"http{'s' if certificate else ''}://127.0.0.1:{port}/{ACCOUNT}", port)


async def create(store: AzureStore) -> AzureStore:
    await store._wire.call("create", "PUT", query="restype=container")
    return store


@asynccontextmanager
async def new_container(server: Azurite) -> AsyncIterator[AzureStore]:
    name = f"container-{next(_containers)}"
    store = await create(await AzureStore.open(name, Endpoint(server.url), env=server.env))
    yield store
    await store.close()


async def refused(store: AzureStore) -> dict[str, StoreError]:
    """The error of each verb; the store is closed."""
    more: Calls = {
        "delete, two": lambda: store.delete(["key", "other"]),
        "copy": lambda: store.copy("key", "other"),
        "list uploads": lambda: anext(aiter(store.list_uploads(""))),
    }
    return await errors_of(store, more)
