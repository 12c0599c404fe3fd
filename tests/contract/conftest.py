"""Every store that must keep the contract: the backends, and each wrapper around one."""

from __future__ import annotations

import itertools
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from backends.base import Endpoint
from backends.file import FileStore
from backends.memory import MemoryStore
from backends.observe import ObserveStore
from backends.prefix import PrefixStore
from backends.retry import Policy, RetryStore
from backends.s3 import S3Store
from tests.contract.minio import PASSWORD, USER, MinIO, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from backends.base import ObjectStore

NAMES = ("memory", "file", "s3", "retry", "prefix", "observe", "all-file", "all-s3")


async def _no_wait(_seconds: float) -> None:
    pass


AT_ONCE = Policy(sleep=_no_wait)
_buckets = itertools.count(1)


@pytest.fixture(scope="session")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MinIO]:
    with running(tmp_path_factory.mktemp("minio") / "server") as server:
        yield server


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """The SDK's chain with the root user's keys in the environment, and nothing of this machine in it."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", USER)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", PASSWORD)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    return monkeypatch


@asynccontextmanager
async def new_bucket(server: MinIO) -> AsyncIterator[S3Store]:
    store = await S3Store.open(f"bucket-{next(_buckets)}", Endpoint(server.url))
    await store._client.create_bucket(Bucket=store._bucket)
    yield store
    await store.close()


@pytest.fixture
async def bucket(minio: MinIO, aws: pytest.MonkeyPatch) -> AsyncIterator[S3Store]:
    """A new bucket's bare store."""
    async with new_bucket(minio) as store:
        yield store


@pytest.fixture(params=NAMES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ObjectStore]:
    name: str = request.param
    if name.endswith("s3"):
        request.getfixturevalue("aws")
        server: MinIO = request.getfixturevalue("minio")
        async with new_bucket(server) as bare:
            yield bare if name == "s3" else _wrapped(bare)
    else:
        store = await _local(name, tmp_path / "store")
        yield store
        await store.close()


def _wrapped(store: ObjectStore) -> ObjectStore:
    return PrefixStore(RetryStore(ObserveStore(store), AT_ONCE), "some/prefix")


async def _local(name: str, directory: Path) -> ObjectStore:
    match name:
        case "file":
            return await FileStore.open(directory)
        case "all-file":
            return _wrapped(await FileStore.open(directory))
        case "retry":
            return RetryStore(MemoryStore(), AT_ONCE)
        case "prefix":
            return PrefixStore(MemoryStore(), "some/prefix")
        case "observe":
            return ObserveStore(MemoryStore())
        case _:
            return MemoryStore()
