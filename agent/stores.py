"""A user's target, opened for the time of one piece of work."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from backends.base import Endpoint
from backends.registry import open_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from agent.protocol import Location
    from backends.base import ObjectStore


class Opener(Protocol):
    """What handlers get, so that tests may hand them a store."""

    def __call__(self, location: Location, /) -> AbstractAsyncContextManager[ObjectStore]: ...


@asynccontextmanager
async def opened(location: Location) -> AsyncIterator[ObjectStore]:
    """With the process's own credentials chain: environment, files, the platform's identity."""
    endpoint = None
    if (told := location.endpoint) is not None:
        endpoint = Endpoint(told.url, told.region, told.path_style, told.insecure_skip_verify)
    store = await open_store(location.backup_type, location.target, endpoint)
    try:
        yield store
    finally:
        await store.close()
