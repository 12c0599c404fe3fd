"""One bucket's requests: the JSON API over aiohttp, with the library's tokens.

gcloud-aio-storage itself is not used: its upload is one PUT under a total time limit, its "resumable" too, it takes no
checksum, generation, storage class or paying project, and its errors are texts. Its sister's credentials are.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlencode

import aiohttp
import msgspec
from yarl import URL

from backends.errors import Kind, StoreError
from backends.gcs_errors import foreign, refusal, said, translate

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping

    from backends.gcs_credentials import Tokens
    from backends.gcs_errors import Place
    from backends.gcs_mounted import MountedTokens

    Stream = AsyncGenerator[bytes, None]
    Pieces = Callable[[], Stream]

PATIENCE = 10  # composing and rewriting may take the server minutes, in which it says nothing


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that was read whole."""

    status: int
    headers: Mapping[str, str]
    data: bytes


@dataclass(frozen=True, slots=True)
class Ask:
    """A request. ``accept``: statuses of 300 and above that are no error. Without a query the url is taken as it is.

    ``patience``: how many times the client's ``stall`` the answer may take.
    """

    operation: str
    key: str
    method: str
    url: str
    query: Mapping[str, str] | None
    headers: Mapping[str, str] = field(default_factory=dict)
    accept: frozenset[int] = frozenset()
    patience: int = 1


T = TypeVar("T", Answer, aiohttp.ClientResponse)
R = TypeVar("R", bound=msgspec.Struct)


class Client:
    """``root`` is the server's url, ``query`` goes with every request. At most ``connections`` requests at once.

    A request that makes no progress for ``stall`` seconds ends with TIMEOUT; waiting for its turn is not counted. A
    token that is refused (401) is renewed and the request sent once more.
    """

    def __init__(
        self,
        bucket: str,
        root: str,
        session: aiohttp.ClientSession,
        tokens: Tokens | MountedTokens | None,
        *,
        proxy: str | None = None,
        query: Mapping[str, str],
        connections: int,
        stall: float,
    ) -> None:
        self.name = f"gs://{bucket}"
        self.root = root
        self.bucket = f"{root}/storage/v1/b/{quote(bucket, safe='')}"
        self.uploads = f"{root}/upload/storage/v1/b/{quote(bucket, safe='')}/o"
        self.query = query
        self._session = session
        self._tokens = tokens
        self._proxy = proxy
        self._slots = asyncio.Semaphore(connections)
        self._stall = stall
        self._bucket_seen = False

    def object(self, key: str) -> str:
        return f"{self.bucket}/o/{quote(key, safe='')}"

    async def call(self, ask: Ask, body: Any = None) -> Answer:
        """A small request, ``body`` as JSON. Raises a StoreError for 300 and above, but those it accepts."""
        if isinstance(body, bytes) or body is None:
            return await self._answer(ask, dict(ask.headers), body)
        headers = {"Content-Type": "application/json", **ask.headers}
        return await self._answer(ask, headers, msgspec.json.encode(body))

    async def send(self, ask: Ask, pieces: Pieces) -> Answer:
        """A request with a streamed body, whose length its headers say. Each piece taken gives it more time."""
        return await self._answer(ask, dict(ask.headers), pieces)

    @asynccontextmanager
    async def stream(self, ask: Ask) -> AsyncIterator[tuple[aiohttp.ClientResponse, Stream] | None]:
        """A download: its answer and its bytes as stored. None for a range past the end."""
        async with AsyncExitStack() as held:
            await held.enter_async_context(self._slots)

            async def once(headers: dict[str, str]) -> aiohttp.ClientResponse:
                return await self._request(ask, headers, None, raw=True)

            async with self._guard(ask):
                response = await self._authorized(once, dict(ask.headers))
            held.callback(response.close)
            if response.status == 416:
                yield None
                return
            if response.status >= 300:
                async with self._guard(ask):
                    answer = Answer(response.status, response.headers, await response.read())
                await held.aclose()
                raise await self._refused(answer, ask)
            self._bucket_seen = True
            yield response, self._pieces(ask, response)

    async def _pieces(self, ask: Ask, response: aiohttp.ClientResponse) -> Stream:
        while True:
            async with self._guard(ask):
                piece = await response.content.readany()
            if not piece:
                return
            yield piece

    def decode(self, answer: Answer, kind: type[R], ask: Ask) -> R:
        """The answer's JSON. INVALID where something else than Cloud Storage answers."""
        try:
            return msgspec.json.decode(answer.data, type=kind, strict=False)  # numbers come as texts
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise foreign(answer.status, answer.headers, self.place(ask)) from error

    def place(self, ask: Ask) -> Place:
        return ask.operation, self.name, ask.key

    async def _refused(self, answer: Answer, ask: Ask) -> StoreError:
        """Google says of a 404 whether it is the bucket. Emulators are asked: until the bucket has been seen, and where
        no object was named, so that nothing else can be missing.
        """
        error = refusal(answer.status, answer.headers, answer.data, self.place(ask))
        unclear = not self._bucket_seen or ask.url in {f"{self.bucket}/o", self.uploads}
        if error.kind is Kind.NOT_FOUND and unclear and said(answer.data)[1] in {"", "Not Found"}:
            bucket = Ask(ask.operation, "", "GET", self.bucket, {"fields": "name"}, accept=frozenset({404}))
            with suppress(StoreError):
                if (await self.call(bucket)).status == 404:
                    message = f"there is no bucket {self.name} (create it, or correct the target)"
                    return StoreError(Kind.NO_BUCKET, *self.place(ask), message)
        return error

    async def _answer(self, ask: Ask, headers: dict[str, str], data: bytes | Pieces | None) -> Answer:
        async with self._slots, self._guard(ask) as deadline:

            async def once(headers: dict[str, str]) -> Answer:
                if data is None or isinstance(data, bytes):
                    return await self._read(await self._request(ask, headers, data))
                passing = _Passing(data(), lambda: self._progress(deadline))
                try:
                    return await self._read(await self._request(ask, headers, passing))
                except Exception:
                    if passing.failure is not None:
                        raise _BodyFailed(passing.failure) from None
                    raise
                finally:
                    await passing.close()

            answer = await self._authorized(once, headers)
        if answer.status < 300:
            self._bucket_seen = True
        elif answer.status not in ask.accept:
            raise await self._refused(answer, ask)
        return answer

    async def _authorized(self, once: Callable[[dict[str, str]], Awaitable[T]], headers: dict[str, str]) -> T:
        if self._tokens is None:
            return await once(headers)
        token = await self._tokens.get()
        answer = await once(headers | {"Authorization": f"Bearer {token}"})
        if answer.status == 401:
            if isinstance(answer, aiohttp.ClientResponse):
                answer.close()
            token = await self._tokens.renew(token)
            answer = await once(headers | {"Authorization": f"Bearer {token}"})
        return answer

    async def _request(
        self, ask: Ask, headers: dict[str, str], data: bytes | _Passing | None, *, raw: bool = False
    ) -> aiohttp.ClientResponse:
        return await self._session.request(
            ask.method,
            self._url(ask),
            headers=headers,
            data=data,
            proxy=self._proxy,
            allow_redirects=False,
            auto_decompress=not raw,
        )

    @staticmethod
    async def _read(response: aiohttp.ClientResponse) -> Answer:
        try:
            return Answer(response.status, response.headers, await response.read())
        finally:
            response.close()  # only where something is left: of the answer, or of a body that nobody wants any more

    def _progress(self, deadline: asyncio.Timeout) -> None:
        with suppress(RuntimeError):  # over already; aiohttp's writer is about to be told
            deadline.reschedule(asyncio.get_running_loop().time() + self._stall)

    @asynccontextmanager
    async def _guard(self, ask: Ask) -> AsyncIterator[asyncio.Timeout]:
        """The time limit, and StoreErrors in place of aiohttp's."""
        try:
            async with asyncio.timeout(ask.patience * self._stall) as deadline:
                yield deadline
        except _BodyFailed as error:
            raise error.failure from None
        except Exception as error:
            raise translate(error, self.place(ask)) from error

    def _url(self, ask: Ask) -> URL:
        if ask.query is None:
            return URL(ask.url, encoded=True)
        return URL(f"{ask.url}?{urlencode({**ask.query, **self.query}, quote_via=quote)}", encoded=True)


class _BodyFailed(Exception):  # noqa: N818  carries an error, is none itself
    def __init__(self, failure: Exception) -> None:
        super().__init__(str(failure))
        self.failure = failure


class _Passing:
    """A body on its way: aiohttp streams ``__aiter__``, and hides why a body failed; ``failure`` keeps it."""

    def __init__(self, pieces: Stream, progress: Callable[[], None]) -> None:
        self._pieces = pieces
        self._progress = progress
        self.failure: Exception | None = None

    async def __aiter__(self) -> Stream:
        try:
            async for piece in self._pieces:
                self._progress()
                yield piece
        except Exception as error:
            self.failure = error
            raise
        self._progress()

    async def close(self) -> None:
        with suppress(RuntimeError):  # it runs: aiohttp is just cancelling it
            await self._pieces.aclose()
