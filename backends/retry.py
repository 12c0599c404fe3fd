"""Retries, at this one layer: the SDKs' own are off.

A request that is tried again may find its own first try done. Where the answer of a try got lost, the object that
stands there is compared with what was sent, so a conditional put or a completed upload is not refused to its writer.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt

from backends.checksums import combine
from backends.errors import AlreadyExists, NotFound, StoreError
from backends.streams import closing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from backends.base import Body, Capabilities, ObjectMeta, ObjectStore, Part, Parts, Upload
    from backends.streams import Sink

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Policy:
    """Full jitter: a wait is anywhere between 0 and ``first`` · 2ⁿ, at most ``longest`` seconds.

    A store's Retry-After counts when it is longer, up to ``obeyed`` seconds.
    """

    tries: int = 8
    first: float = 0.2
    longest: float = 20.0
    obeyed: float = 120.0
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    random: Callable[[], float] = field(default=random.random)

    def wait(self, error: StoreError, tried: int) -> float:
        """Seconds before the next try, after ``tried`` failed ones."""
        jitter = self.random() * min(self.longest, self.first * 2.0 ** (tried - 1))
        return max(jitter, min(self.obeyed, error.retry_after or 0.0))


class RetryStore:
    """Tries retryable failures again, one request at a time. Streams go on where they broke."""

    def __init__(self, store: ObjectStore, policy: Policy | None = None) -> None:
        self.name = store.name
        self._store = store
        self._policy = policy or Policy()

    @property
    def capabilities(self) -> Capabilities:
        return self._store.capabilities

    async def put(self, key: str, body: Body, *, if_absent: bool = False) -> ObjectMeta:
        tries = _Tries(lambda: self._store.put(key, body, if_absent=if_absent))
        try:
            return await self._run(tries)
        except AlreadyExists:
            if tries.count > 1 and (ours := await self._ours(key, body.size, body.crc32c)):
                return ours
            raise

    def get(self, key: str, *, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        def rest(begin: int, left: int | None) -> AsyncIterator[bytes]:
            return self._store.get(key, offset=begin, length=left)

        return self._whole(rest, len, offset, length)

    def pour(self, key: str, sink: Sink, *, offset: int = 0, length: int | None = None) -> AsyncIterator[int]:
        def rest(begin: int, left: int | None) -> AsyncIterator[int]:
            return self._store.pour(key, sink, offset=begin, length=left)

        return self._whole(rest, int, offset, length)

    async def _whole(
        self,
        rest: Callable[[int, int | None], AsyncIterator[T]],
        size: Callable[[T], int],
        offset: int,
        length: int | None,
    ) -> AsyncIterator[T]:
        """A stream in as many requests as it takes, each for what is missing."""
        done = failed = 0
        while True:
            try:
                async with closing(rest(offset + done, None if length is None else length - done)) as stream:
                    async for piece in stream:
                        done += size(piece)
                        failed = 0
                        yield piece
            except StoreError as error:
                failed += 1
                await self._pause(error, failed)
            else:
                return

    async def head(self, key: str) -> ObjectMeta:
        return await self._run(lambda: self._store.head(key))

    async def delete(self, keys: Sequence[str]) -> None:
        await self._run(lambda: self._store.delete(keys))

    async def list(self, prefix: str, *, start_after: str = "") -> AsyncIterator[ObjectMeta]:
        failed = 0
        while True:
            try:
                async with closing(self._store.list(prefix, start_after=start_after)) as found:
                    async for meta in found:
                        start_after = meta.key
                        failed = 0
                        yield meta
            except StoreError as error:
                failed += 1
                await self._pause(error, failed)
            else:
                return

    async def copy(self, source: str, target: str) -> ObjectMeta:
        return await self._run(lambda: self._store.copy(source, target))

    async def create_upload(self, key: str) -> str:
        """A lost answer leaves an upload nobody knows: ``list_uploads`` finds it."""
        return await self._run(lambda: self._store.create_upload(key))

    async def upload_part(self, key: str, upload: str, number: int, body: Body) -> Part:
        return await self._run(lambda: self._store.upload_part(key, upload, number, body))

    async def list_parts(self, key: str, upload: str) -> Parts:
        return await self._run(lambda: self._store.list_parts(key, upload))

    async def complete_upload(
        self, key: str, upload: str, parts: Sequence[Part], *, if_absent: bool = False
    ) -> ObjectMeta:
        tries = _Tries(lambda: self._store.complete_upload(key, upload, parts, if_absent=if_absent))
        try:
            return await self._run(tries)
        except (AlreadyExists, NotFound):
            ordered = sorted(parts, key=lambda part: part.number)
            known = [(part.crc32c, part.size) for part in ordered if part.crc32c is not None]
            crc = combine(known) if len(known) == len(ordered) else None
            if tries.count > 1 and (ours := await self._ours(key, sum(part.size for part in ordered), crc)):
                return ours
            raise

    async def abort_upload(self, key: str, upload: str) -> None:
        await self._run(lambda: self._store.abort_upload(key, upload))

    async def list_uploads(self, prefix: str) -> AsyncIterator[Upload]:
        """Collected first: a listing of uploads cannot be continued, and is short."""
        for upload in await self._run(lambda: self._all_uploads(prefix)):
            yield upload

    async def close(self) -> None:
        await self._store.close()

    async def _all_uploads(self, prefix: str) -> tuple[Upload, ...]:
        return tuple([upload async for upload in self._store.list_uploads(prefix)])

    async def _ours(self, key: str, size: int, crc: int | None) -> ObjectMeta | None:
        """What stands at ``key``, if it is what we sent: same size and checksum, and the store knows the checksum."""
        try:
            there = await self.head(key)
        except NotFound:
            return None
        return there if crc is not None and (there.size, there.crc32c) == (size, crc) else None

    async def _run(self, call: Callable[[], Awaitable[T]]) -> T:
        policy = self._policy
        retrying = AsyncRetrying(
            stop=stop_after_attempt(policy.tries),
            wait=self._wait,
            retry=retry_if_exception(lambda error: isinstance(error, StoreError) and error.retryable),
            sleep=policy.sleep,
            reraise=True,
        )

        async def once() -> T:  # tenacity awaits coroutine functions only
            return await call()

        return await retrying(once)

    def _wait(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        assert isinstance(error, StoreError)
        return self._policy.wait(error, state.attempt_number)

    async def _pause(self, error: StoreError, failed: int) -> None:
        """Between two steps of a stream; raises ``error`` when there is nothing left to try."""
        if not error.retryable or failed >= self._policy.tries:
            raise error
        await self._policy.sleep(self._policy.wait(error, failed))


class _Tries(Generic[T]):
    """Counts how often a call was made."""

    def __init__(self, call: Callable[[], Awaitable[T]]) -> None:
        self._call = call
        self.count = 0

    async def __call__(self) -> T:
        self.count += 1
        return await self._call()
