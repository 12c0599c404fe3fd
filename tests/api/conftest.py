"""Fixtures of the ring that runs against a real kube-apiserver."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from controller import config
from controller.client import Client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

from tests.api.apiserver import ApiServer
from tests.api.kinds import NAMESPACES


@pytest.fixture(scope="session")
def apiserver() -> Iterator[ApiServer]:
    """One for all tests of the run; keep to a namespace of your own."""
    directory = Path(tempfile.mkdtemp(prefix="apiserver-"))
    try:
        server = ApiServer.start(directory)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def operator_config(apiserver: ApiServer, namespace_name: str) -> config.Config:
    """Settings for an operator that watches ``namespace`` only."""
    return config.load(
        [],
        {
            "CASSANDRA_OPERATOR_KUBECONFIG": str(apiserver.kubeconfig),
            "CASSANDRA_OPERATOR_NAMESPACE": namespace_name,
            "CASSANDRA_OPERATOR_LEASE_NAMESPACE": namespace_name,
            "CASSANDRA_OPERATOR_HEALTH_ADDRESS": "",
        },
    )


@pytest.fixture
def namespace_name() -> str:
    return f"t-{uuid.uuid4().hex[:10]}"


@pytest.fixture
async def client(operator_config: config.Config) -> AsyncIterator[Client]:
    """As cluster-admin."""
    client = await Client.connect(operator_config)
    yield client
    await client.close()


@pytest.fixture
async def namespace(client: Client, namespace_name: str) -> str:
    """A fresh namespace; not deleted after the test, since nothing here empties a terminating one."""
    await client.create(NAMESPACES, {"metadata": {"name": namespace_name}})
    return namespace_name
