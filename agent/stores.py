"""A user's target, opened for the time of one piece of work."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from agent import flow
from agent.errors import AgentError, Reason
from backends.base import Encryption, Endpoint, LockMode, Options
from backends.observe import Statistics
from backends.registry import open_store
from backends.retry import Policy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from agent.protocol import Location
    from backends.base import ObjectStore


class Opener(Protocol):
    """What handlers get, so that tests may hand them a store."""

    def __call__(self, location: Location, /) -> AbstractAsyncContextManager[ObjectStore]: ...


class Stores:
    """Opens them, and counts what goes through all of them."""

    def __init__(self) -> None:
        self.statistics = Statistics(on_error=flow.failed)
        self.retries = 0

    @asynccontextmanager
    async def opened(self, location: Location) -> AsyncIterator[ObjectStore]:
        """With the process's own credentials chain (environment, files, the platform's identity), where the location
        names no directory with others.
        """
        endpoint = None
        if (told := location.endpoint) is not None:
            endpoint = Endpoint(told.url, told.region, told.path_style, told.insecure_skip_verify, told.ca_file)
        store = await open_store(
            location.backup_type,
            location.target,
            endpoint,
            _options(location),
            credentials=location.credentials,
            statistics=self.statistics,
            policy=Policy(sleep=self._pause),
        )
        try:
            yield store
        finally:
            await store.close()

    async def _pause(self, seconds: float) -> None:
        """Before each retry, and only there."""
        self.retries += 1
        await asyncio.sleep(seconds)


def _options(location: Location) -> Options:
    """InvalidSpec for a word that the store's options do not have."""
    told = location.options
    if told is None:
        return Options()
    try:
        encryption, lock_mode = Encryption(told.encryption), LockMode(told.lock_mode)
    except ValueError as error:
        raise AgentError(Reason.INVALID_SPEC, f"the store's options cannot be read: {error}") from error
    return Options(
        told.storage_class, encryption, told.kms_key, told.tags, told.requester_pays, lock_mode, told.lock_days
    )
