"""The keys that S3 requests are signed with, read again when the store says that they are no longer good.

Where they come from is the SDK's default chain: environment, web identity, SSO, shared files, a process, container
and instance roles. Those with an end are renewed by the SDK before it comes. Keys from a file that somebody rotates,
and a role whose session is ended early, are only found out by a refusal: then the chain is walked again, once.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import NoCredentialsError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

# Codes with which a store refuses keys that were good before. A wrong signature is not one of them.
STALE = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "InvalidAccessKeyId", "InvalidToken", "TokenRefreshRequired"}
)
AGAIN = 60.0  # seconds in which keys that were just read are not read again


class Keys:
    """What the SDK's signer, and ours, ask for each request. Safe for concurrent use on one event loop."""

    def __init__(self, find: Callable[[], Awaitable[Any]], clock: Callable[[], float] = time.monotonic) -> None:
        """``find`` walks the chain: the SDK's credentials, or None."""
        self._find = find
        self._clock = clock
        self._found: Any = None
        self._lock = asyncio.Lock()
        self._read_again = float("-inf")
        self._last: ReadOnlyCredentials | None = None
        self.stamp = 0  # how often they changed: to be kept by who signs, for ``refused``
        self.method = ""  # how they were found, in the SDK's word

    async def load(self) -> None:
        """Raises what the SDK raises, NoCredentialsError for none at all."""
        found = await self._find()
        if found is None:
            raise NoCredentialsError
        self._found = found
        self.method = str(found.method)

    async def get_frozen_credentials(self) -> ReadOnlyCredentials:
        """Renewed where they are about to end. Blanks around them are cut: a Secret made of files has newlines."""
        found = await self._found.get_frozen_credentials()
        token = found.token.strip() if found.token else None
        frozen = ReadOnlyCredentials(found.access_key.strip(), found.secret_key.strip(), token, found.account_id)
        if self._last is not None and frozen != self._last:
            self.stamp += 1  # they changed by themselves: a request that the former ones signed may go out again
        self._last = frozen
        return frozen

    async def get_account_id(self) -> str | None:
        """For the SDK's endpoint rules, as the next."""
        account: str | None = (await self.get_frozen_credentials()).account_id
        return account

    def get_deferred_property(self, _name: str) -> Callable[[], Awaitable[str | None]]:
        return self.get_account_id

    async def refused(self, code: str, stamp: int) -> bool:
        """After an answer with ``code`` to a request that was signed at ``stamp``: whether there are other keys now.

        True: the same request may be sent again. False: the code says something else, or the chain gives the same.
        Many requests may be refused at once: one of them reads, the others get its result.
        """
        if code not in STALE:
            return False
        async with self._lock:
            before = await self.get_frozen_credentials()
            if self.stamp != stamp:
                return True
            if self._clock() - self._read_again < AGAIN:
                return False
            self._read_again = self._clock()
            former = self._found
            await self.load()
            if await self.get_frozen_credentials() == before:
                self._found = former
                return False
            return True
