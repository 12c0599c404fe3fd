"""The four definitions, installed once in the run's API server."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from controller import config
from controller.client import Client
from controller.resource import Key
from reconcilers.api.crds import DIRECTORY
from tests.api.kinds import CRDS

if TYPE_CHECKING:
    from tests.api.apiserver import ApiServer

Definitions = dict[str, dict[str, Any]]


@pytest.fixture(scope="session")
def crds(apiserver: ApiServer) -> Definitions:
    """The definitions by kind, as the server holds them once it serves them."""
    settings = config.load([], {"CASSANDRA_OPERATOR_KUBECONFIG": str(apiserver.kubeconfig)})
    with ThreadPoolExecutor(1) as pool:  # a loop of its own: the tests' loops are shorter than the run
        return pool.submit(asyncio.run, _install(settings)).result()


async def _install(settings: config.Config) -> Definitions:
    client = await Client.connect(settings)
    try:
        found = {}
        for path in sorted(DIRECTORY.glob("*.yaml")):
            definition = yaml.safe_load(path.read_text())
            await client.apply(CRDS, definition)
            found[definition["spec"]["names"]["kind"]] = await _served(client, definition["metadata"]["name"])
        return found
    finally:
        await client.close()


async def _served(client: Client, name: str) -> dict[str, Any]:
    async with asyncio.timeout(30):
        while True:
            definition = await client.get(CRDS, Key("", name))
            conditions = {c["type"]: c for c in definition.get("status", {}).get("conditions") or []}
            schema = conditions.get("NonStructuralSchema", {})
            assert schema.get("status", "False") == "False", schema["message"]
            group, plural = definition["spec"]["group"], definition["spec"]["names"]["plural"]
            if conditions.get("Established", {}).get("status") == "True":
                answer = await client.raw("GET", f"/apis/{group}/v1/{plural}")
                if answer.status == 200:
                    return definition
            await asyncio.sleep(0.05)
