"""A store behind a network that loses, delays and doubles requests, one at a time and in the order that a test chooses.

Every request waits in ``waiting`` until the test delivers it: that is the moment at which it takes effect. A request
that was given up, or is a double, waits in ``late``: it lands when the test says so, whatever became of its sender.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from enum import Enum
from typing import TYPE_CHECKING, Any

from backends.base import BytesBody
from backends.body import checked
from backends.errors import Kind, StoreError
from backends.streams import poured

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from backends.base import Body, ObjectMeta, Part, Parts, Upload
    from backends.memory import MemoryStore
    from backends.streams import Sink

actor: ContextVar[str] = ContextVar("actor", default="")
WRITES = frozenset({"put", "delete", "copy", "create_upload", "upload_part", "complete_upload", "abort_upload"})


class Outcome(Enum):
    """What becomes of a request, and what its sender hears of it."""

    DONE = "done"
    LOST = "done, and the answer does not arrive"
    REFUSED = "not done, and the sender hears so"
    LATE = "given up by its sender, and done later"
    TWICE = "done, and done once more later"


_HEARD = (Outcome.DONE, Outcome.TWICE)
_DONE = (Outcome.DONE, Outcome.LOST, Outcome.TWICE)
_LANDS = (Outcome.LATE, Outcome.TWICE)


class Request:
    def __init__(self, client: Client, verb: str, key: str, apply: Callable[[], Awaitable[Any]]) -> None:
        self.client = client
        self.verb = verb
        self.key = key
        self.actor = actor.get()
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.sent = client.network.clock()
        self.taken = False  # has taken effect, and its answer is under way
        self.result: Any = None
        self._apply = apply

    @property
    def writes(self) -> bool:
        return self.verb in WRITES

    async def take(self) -> None:
        """It takes effect."""
        if self.taken:
            return
        self.taken = True
        try:
            self.result = await self._apply()
        except StoreError as error:
            self.result = error
        self.client.network.applied(self)

    def reply(self, error: StoreError | None = None) -> None:
        found = error or self.result
        if self.answer.done():
            return
        if isinstance(found, StoreError):
            self.answer.set_exception(found)
        else:
            self.answer.set_result(found)

    async def land(self) -> None:
        """Once more, or for the first time. Nobody hears of it."""
        self.taken = False
        await self.take()


class Network:
    """``applied`` is told of each request right after it took effect. ``clock`` says when one was sent."""

    def __init__(
        self,
        store: MemoryStore,
        applied: Callable[[Request], None] = lambda _: None,
        clock: Callable[[], int] = lambda: 0,
    ) -> None:
        self.store = store
        self.applied = applied
        self.clock = clock
        self.waiting: list[Request] = []
        self.late: list[Request] = []

    def client(self) -> Client:
        return Client(self)

    async def deliver(self, request: Request, outcome: Outcome = Outcome.DONE) -> None:
        self.waiting.remove(request)
        gone = StoreError(Kind.TIMEOUT, request.verb, self.store.name, request.key, "no answer came")
        if request.taken:  # too late to be refused or delayed
            request.reply(None if outcome in _HEARD else gone)
            return
        if not request.writes and outcome is not Outcome.DONE:
            request.reply(gone)
            return
        if outcome in _DONE:
            await request.take()
        if outcome in _LANDS:
            self.late.append(request)
        request.reply(None if outcome in _HEARD else gone)

    async def land(self, request: Request) -> None:
        self.late.remove(request)
        await request.land()

    async def settle(self) -> None:
        """All that was sent takes effect, and the late ones land: no request is older than this."""
        for request in [one for one in self.waiting if one.writes]:
            await request.take()
        while self.late:
            await self.land(self.late[0])


class Client:
    """A store as one process sees it. ``kill``: it died; what it sent may still be done."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.name = network.store.name
        self.capabilities = network.store.capabilities
        self._store = network.store
        self._dead = False

    def kill(self) -> None:
        self._dead = True
        mine = [request for request in self.network.waiting if request.client is self]
        for request in mine:
            self.network.waiting.remove(request)
            if request.writes and not request.taken:
                self.network.late.append(request)

    async def put(self, key: str, body: Body, *, if_absent: bool = False) -> ObjectMeta:
        data = b"".join([chunk async for chunk in checked(body, "put", self.name, key)])
        return await self._ask("put", key, lambda: self._store.put(key, BytesBody(data), if_absent=if_absent))

    async def get(self, key: str, *, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        async def read() -> list[bytes]:
            return [chunk async for chunk in self._store.get(key, offset=offset, length=length)]

        for chunk in await self._ask("get", key, read):
            yield chunk

    def pour(self, key: str, sink: Sink, *, offset: int = 0, length: int | None = None) -> AsyncIterator[int]:
        return poured(self.get(key, offset=offset, length=length), sink)

    async def head(self, key: str) -> ObjectMeta:
        return await self._ask("head", key, lambda: self._store.head(key))

    async def delete(self, keys: Sequence[str]) -> None:
        await self._ask("delete", keys[0] if keys else "", lambda: self._store.delete(keys))

    async def list(self, prefix: str, *, start_after: str = "") -> AsyncIterator[ObjectMeta]:
        async def read() -> list[ObjectMeta]:
            return [meta async for meta in self._store.list(prefix, start_after=start_after)]

        for meta in await self._ask("list", prefix, read):
            yield meta

    async def copy(self, source: str, target: str) -> ObjectMeta:
        return await self._ask("copy", source, lambda: self._store.copy(source, target))

    async def create_upload(self, key: str) -> str:
        return await self._ask("create_upload", key, lambda: self._store.create_upload(key))

    async def upload_part(self, key: str, upload: str, number: int, body: Body) -> Part:
        data = b"".join([chunk async for chunk in checked(body, "upload part", self.name, key)])
        return await self._ask(
            "upload_part", key, lambda: self._store.upload_part(key, upload, number, BytesBody(data))
        )

    async def list_parts(self, key: str, upload: str) -> Parts:
        return await self._ask("list_parts", key, lambda: self._store.list_parts(key, upload))

    async def complete_upload(
        self, key: str, upload: str, parts: Sequence[Part], *, if_absent: bool = False
    ) -> ObjectMeta:
        return await self._ask(
            "complete_upload", key, lambda: self._store.complete_upload(key, upload, parts, if_absent=if_absent)
        )

    async def abort_upload(self, key: str, upload: str) -> None:
        await self._ask("abort_upload", key, lambda: self._store.abort_upload(key, upload))

    async def list_uploads(self, prefix: str) -> AsyncIterator[Upload]:
        async def read() -> list[Upload]:
            return [upload async for upload in self._store.list_uploads(prefix)]

        for upload in await self._ask("list_uploads", prefix, read):
            yield upload

    async def close(self) -> None:
        pass

    async def _ask(self, verb: str, key: str, apply: Callable[[], Awaitable[Any]]) -> Any:
        if self._dead:
            raise StoreError(Kind.UNAVAILABLE, verb, self.name, key, "the process is dead")
        request = Request(self, verb, key, apply)
        self.network.waiting.append(request)
        return await request.answer
