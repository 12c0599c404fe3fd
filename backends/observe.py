"""Counts what goes through a store. Sits below RetryStore, so every try counts."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from backends.errors import StoreError
from backends.streams import closing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from backends.base import Body, Capabilities, ObjectMeta, ObjectStore, Part, Parts, Upload
    from backends.streams import Sink


@dataclass(slots=True)
class Statistics:
    """By verb: requests begun, failures by kind, seconds spent. A stream is one request; bytes count when they passed.

    ``sent`` counts bodies that arrived whole. ``on_error`` is called with each failure, for who adapts to throttling.
    """

    requests: Counter[str] = field(default_factory=Counter)
    errors: Counter[tuple[str, str]] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    received: int = 0
    in_flight: int = 0
    on_error: Callable[[StoreError], None] | None = None

    @contextmanager
    def request(self, verb: str) -> Iterator[None]:
        self.requests[verb] += 1
        self.in_flight += 1
        started = time.monotonic()
        try:
            yield
        except StoreError as error:
            self.errors[verb, error.kind] += 1
            if self.on_error:
                self.on_error(error)
            raise
        finally:
            self.in_flight -= 1
            self.seconds[verb] += time.monotonic() - started  # type: ignore[assignment]  # a Counter adds floats too


class ObserveStore:
    """The store, with ``statistics``; several stores may share one."""

    def __init__(self, store: ObjectStore, statistics: Statistics | None = None) -> None:
        self.name = store.name
        self.statistics = statistics or Statistics()
        self._store = store

    @property
    def capabilities(self) -> Capabilities:
        return self._store.capabilities

    async def put(self, key: str, body: Body, *, if_absent: bool = False) -> ObjectMeta:
        with self.statistics.request("put"):
            meta = await self._store.put(key, body, if_absent=if_absent)
        self.statistics.sent += body.size
        return meta

    async def get(self, key: str, *, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        with self.statistics.request("get"):
            async with closing(self._store.get(key, offset=offset, length=length)) as stream:
                async for chunk in stream:
                    self.statistics.received += len(chunk)
                    yield chunk

    async def pour(self, key: str, sink: Sink, *, offset: int = 0, length: int | None = None) -> AsyncIterator[int]:
        with self.statistics.request("get"):
            async with closing(self._store.pour(key, sink, offset=offset, length=length)) as stream:
                async for count in stream:
                    self.statistics.received += count
                    yield count

    async def head(self, key: str) -> ObjectMeta:
        with self.statistics.request("head"):
            return await self._store.head(key)

    async def delete(self, keys: Sequence[str]) -> None:
        with self.statistics.request("delete"):
            await self._store.delete(keys)

    async def list(self, prefix: str, *, start_after: str = "") -> AsyncIterator[ObjectMeta]:
        with self.statistics.request("list"):
            async with closing(self._store.list(prefix, start_after=start_after)) as found:
                async for meta in found:
                    yield meta

    async def copy(self, source: str, target: str) -> ObjectMeta:
        with self.statistics.request("copy"):
            return await self._store.copy(source, target)

    async def create_upload(self, key: str) -> str:
        with self.statistics.request("create_upload"):
            return await self._store.create_upload(key)

    async def upload_part(self, key: str, upload: str, number: int, body: Body) -> Part:
        with self.statistics.request("upload_part"):
            part = await self._store.upload_part(key, upload, number, body)
        self.statistics.sent += body.size
        return part

    async def list_parts(self, key: str, upload: str) -> Parts:
        with self.statistics.request("list_parts"):
            return await self._store.list_parts(key, upload)

    async def complete_upload(
        self, key: str, upload: str, parts: Sequence[Part], *, if_absent: bool = False
    ) -> ObjectMeta:
        with self.statistics.request("complete_upload"):
            return await self._store.complete_upload(key, upload, parts, if_absent=if_absent)

    async def abort_upload(self, key: str, upload: str) -> None:
        with self.statistics.request("abort_upload"):
            await self._store.abort_upload(key, upload)

    async def list_uploads(self, prefix: str) -> AsyncIterator[Upload]:
        with self.statistics.request("list_uploads"):
            async with closing(self._store.list_uploads(prefix)) as found:
                async for upload in found:
                    yield upload

    async def close(self) -> None:
        await self._store.close()
