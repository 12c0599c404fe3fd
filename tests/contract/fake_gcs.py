"""A real fake-gcs-server on a free loopback port."""

from __future__ import annotations

import itertools
import os
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backends.base import Endpoint
from backends.gcs import GcsStore
from backends.gcs_client import Ask
from tests.contract.server import answers, program, started
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from backends.base import Options

_MEMORY = "9GiB"  # it holds what it composes several times; without a limit 5 GiB took 17 GiB of this machine's memory
_buckets = itertools.count(1)


@dataclass(frozen=True)
class FakeGcs:
    url: str
    port: int


@contextmanager
def running(directory: Path) -> Iterator[FakeGcs]:
    """Starts a server on ``directory``, waits until it answers, ends it by its process."""
    port = free_port()
    command = [program("fake-gcs-server"), "-scheme", "http", "-host", "127.0.0.1", "-port", str(port)]
    command += ["-backend", "filesystem", "-filesystem-root", str(directory / "data"), "-log-level", "warn"]
    server = FakeGcs(f"http://127.0.0.1:{port}", port)
    ask = answers(f"{server.url}/_internal/healthcheck")
    with started(command, {"PATH": os.environ["PATH"], "GOMEMLIMIT": _MEMORY}, directory, ask, patience=30):
        yield server


@asynccontextmanager
async def new_bucket(server: FakeGcs, options: Options | None = None) -> AsyncIterator[GcsStore]:
    """A store on a bucket of its own."""
    name = f"bucket-{next(_buckets)}"
    store = await GcsStore.open(name, Endpoint(server.url), options, env={})
    try:
        await store._client.call(Ask("create", "", "POST", f"{server.url}/storage/v1/b", {}), {"name": name})
        yield store
    finally:
        await store.close()
