"""Every store that must keep the contract: the backends, and each wrapper around one."""

from __future__ import annotations

import itertools
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from backends.base import Endpoint
from backends.file import FileStore
from backends.limit import LimitStore
from backends.memory import MemoryStore
from backends.observe import ObserveStore
from backends.prefix import PrefixStore
from backends.retry import Policy, RetryStore
from backends.s3 import S3Store
from tests.contract import azurite as azure_server
from tests.contract import fake_gcs as gcs_server
from tests.contract import moto_server
from tests.contract.google import Google, google
from tests.contract.minio import PASSWORD, USER, MinIO, running
from tests.contract.server import server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from backends.azure import AzureStore
    from backends.base import ObjectStore

NAMES = (
    "memory", "file", "s3", "moto", "azure", "gcs", "retry", "prefix", "observe", "limit", "all-file", "all-s3",
    "all-azure", "all-gcs",
)  # fmt: skip


MOTO_LACKS = {
    "test_parts_out_of_order_and_one_of_them_twice": "moto's checksum of an upload in parts is not that of its bytes",
    "test_aborted_uploads_are_gone": "moto breaks down over a part of an upload that is gone",
    "test_an_upload_is_taken_up_by_its_parts": "moto lists parts without their checksums",
    "test_completing_if_absent_keeps_what_is_there": "moto forgets an upload whose completion it refused",
}


async def _no_wait(_seconds: float) -> None:
    pass


AT_ONCE = Policy(sleep=_no_wait)
_buckets = itertools.count(1)


minio = server("minio", running, "session")
moto = server("moto", moto_server.running, "session")
azurite = server("azurite", azure_server.running, "session")
fake_gcs = server("fake_gcs", gcs_server.running, "session")


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
async def new_bucket(server: MinIO | moto_server.Moto) -> AsyncIterator[S3Store]:
    store = await S3Store.open(f"bucket-{next(_buckets)}", Endpoint(server.url))
    await store._client.create_bucket(Bucket=store._bucket)
    yield store
    await store.close()


@pytest.fixture
async def bucket(minio: MinIO, aws: pytest.MonkeyPatch) -> AsyncIterator[S3Store]:
    """A new bucket's bare store."""
    async with new_bucket(minio) as store:
        yield store


@pytest.fixture
async def container(azurite: azure_server.Azurite) -> AsyncIterator[AzureStore]:
    """A new container's bare store."""
    async with azure_server.new_container(azurite) as store:
        yield store


@pytest.fixture
async def cloud() -> AsyncIterator[Google]:
    async with google() as made:
        yield made


@pytest.fixture(params=NAMES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ObjectStore]:
    name: str = request.param
    if name == "moto" and (lacks := MOTO_LACKS.get(request.node.originalname)):
        pytest.skip(lacks)
    if name.endswith("s3") or name == "moto":
        request.getfixturevalue("aws")
        server = request.getfixturevalue("moto" if name == "moto" else "minio")
        async with new_bucket(server) as bare:
            yield _wrapped(bare) if name.startswith("all") else bare
    elif name.endswith("azure"):
        async with azure_server.new_container(request.getfixturevalue("azurite")) as container:
            yield container if name == "azure" else _wrapped(container)
    elif name.endswith("gcs"):
        async with gcs_server.new_bucket(request.getfixturevalue("fake_gcs")) as objects:
            yield objects if name == "gcs" else _wrapped(objects)
    else:
        store = await _local(name, tmp_path / "store")
        yield store
        await store.close()


def _wrapped(store: ObjectStore) -> ObjectStore:
    """Every wrapper."""
    return PrefixStore(RetryStore(LimitStore(ObserveStore(store), 64), AT_ONCE), "some/prefix")


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
        case "limit":
            return LimitStore(MemoryStore(), 4, send=1 << 30, receive=1 << 30)
        case _:
            return MemoryStore()
