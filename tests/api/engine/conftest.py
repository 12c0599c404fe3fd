from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from controller.client import Client
from tests.fakes.proxy import Wire, wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from controller.config import Config
    from tests.api.apiserver import ApiServer

Connected = "tuple[Client, Wire]"


@pytest.fixture
def connect(apiserver: ApiServer, operator_config: Config) -> Callable[..., AbstractAsyncContextManager[Any]]:
    """``async with connect("name") as (client, wire)``: a client of its own behind a wire that can be cut."""

    @asynccontextmanager
    async def open_(name: str, user: str = "") -> AsyncIterator[tuple[Client, Wire]]:
        async with wire(apiserver.port) as line:
            path = apiserver.save_kubeconfig(f"{name}-{line.port}", user=user, port=line.port)
            client = await Client.connect(replace(operator_config, kubeconfig=str(path)))
            try:
                yield client, line
            finally:
                await client.close()

    return open_
