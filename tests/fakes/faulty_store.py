"""A store that fails as it is told to."""

from __future__ import annotations

from collections import Counter
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from backends.errors import Kind, StoreError
from backends.streams import poured

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence

    from backends.base import Body, Capabilities, ObjectMeta, ObjectStore, Part, Parts, Upload
    from backends.streams import Sink

T = TypeVar("T")


@dataclass
class Fault:
    """``skip`` calls go well first, then ``times`` fail. ``done``: the work is done, and only its answer is lost.

    For streams ``after`` items pass before the error.
    """

    error: Exception
    times: int = 1
    skip: int = 0
    done: bool = False
    after: int = 0
    key: str = ""  # only this key; empty is any


def error(kind: Kind = Kind.UNAVAILABLE, **more: Any) -> StoreError:
    return StoreError(kind, "test", "memory://", "", "as the test told", **more)


class FaultyStore:
    """Wraps any store. ``calls`` counts by verb, failed ones too; ``keys`` holds (verb, key) in order."""

    def __init__(self, store: ObjectStore) -> None:
        self.name = store.name
        self.calls: Counter[str] = Counter()
        self.keys: list[tuple[str, str]] = []
        self.closed = False
        self._store = store
        self._faults: dict[str, list[Fault]] = {}

    @property
    def capabilities(self) -> Capabilities:
        return self._store.capabilities

    def fail(self, verb: str, fault: Fault | Exception | None = None) -> None:
        """The next calls of ``verb`` (after those already scripted) fail."""
        chosen = fault if isinstance(fault, Fault) else Fault(fault or error())
        self._faults.setdefault(verb, []).append(chosen)

    async def put(self, key: str, body: Body, *, if_absent: bool = False) -> ObjectMeta:
        return await self._do("put", key, lambda: self._store.put(key, body, if_absent=if_absent))

    async def get(self, key: str, *, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        async with aclosing(self._stream("get", key, self._store.get(key, offset=offset, length=length))) as stream:
            async for chunk in stream:
                yield chunk

    def pour(self, key: str, sink: Sink, *, offset: int = 0, length: int | None = None) -> AsyncIterator[int]:
        """Counts and fails as ``get``."""
        return poured(self.get(key, offset=offset, length=length), sink)

    async def head(self, key: str) -> ObjectMeta:
        return await self._do("head", key, lambda: self._store.head(key))

    async def delete(self, keys: Sequence[str]) -> None:
        await self._do("delete", keys[0] if keys else "", lambda: self._store.delete(keys))

    async def list(self, prefix: str, *, start_after: str = "") -> AsyncIterator[ObjectMeta]:
        async with aclosing(self._stream("list", prefix, self._store.list(prefix, start_after=start_after))) as found:
            async for meta in found:
                yield meta

    async def copy(self, source: str, target: str) -> ObjectMeta:
        return await self._do("copy", source, lambda: self._store.copy(source, target))

    async def create_upload(self, key: str) -> str:
        return await self._do("create_upload", key, lambda: self._store.create_upload(key))

    async def upload_part(self, key: str, upload: str, number: int, body: Body) -> Part:
        return await self._do("upload_part", key, lambda: self._store.upload_part(key, upload, number, body))

    async def list_parts(self, key: str, upload: str) -> Parts:
        return await self._do("list_parts", key, lambda: self._store.list_parts(key, upload))

    async def complete_upload(
        self, key: str, upload: str, parts: Sequence[Part], *, if_absent: bool = False
    ) -> ObjectMeta:
        return await self._do(
            "complete_upload", key, lambda: self._store.complete_upload(key, upload, parts, if_absent=if_absent)
        )

    async def abort_upload(self, key: str, upload: str) -> None:
        await self._do("abort_upload", key, lambda: self._store.abort_upload(key, upload))

    async def list_uploads(self, prefix: str) -> AsyncIterator[Upload]:
        async with aclosing(self._stream("list_uploads", prefix, self._store.list_uploads(prefix))) as found:
            async for upload in found:
                yield upload

    async def close(self) -> None:
        self.closed = True
        await self._store.close()

    def _next(self, verb: str, key: str) -> Fault | None:
        self.calls[verb] += 1
        self.keys.append((verb, key))
        for fault in self._faults.get(verb, []):
            if fault.key in {"", key}:
                if fault.skip:
                    fault.skip -= 1
                    return None
                fault.times -= 1
                if not fault.times:
                    self._faults[verb].remove(fault)
                return fault
        return None

    async def _do(self, verb: str, key: str, call: Callable[[], Awaitable[T]]) -> T:
        fault = self._next(verb, key)
        if fault is None:
            return await call()
        if fault.done:
            await call()
        raise fault.error

    async def _stream(self, verb: str, key: str, items: AsyncIterator[T]) -> AsyncGenerator[T, None]:
        fault = self._next(verb, key)
        passed = 0
        async with aclosing(items) as stream:
            async for item in stream:
                if fault and passed == fault.after:
                    break
                passed += 1
                yield item
        if fault:
            raise fault.error
