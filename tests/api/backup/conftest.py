"""The operator's backups and restores against a real API server, in fake time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.api.backup.world import World
from tests.api.crds.conftest import crds  # noqa: F401  a fixture

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from controller.client import Client
    from tests.api.apiserver import ApiServer


@pytest.fixture
async def world(client: Client, apiserver: ApiServer, namespace: str, crds: object) -> AsyncIterator[World]:  # noqa: F811
    made = World(client, apiserver, namespace)
    await made.start()
    yield made
    await made.written()
    await made.stop()
    for _ in range(5):  # connections of requests that died with their operator
        await asyncio.sleep(0)
