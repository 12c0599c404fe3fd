"""Requests to one container: which account, with which credentials, streamed both ways, within their time.

The connections are our own (aiohttp), so that bodies stream as rule 12 of the design wants it; nothing is retried.
"""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from contextlib import asynccontextmanager, suppress
from email.utils import formatdate
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn
from urllib.parse import quote, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import yarl

from backends import authorities, azure_mounted, mounted
from backends.azure_answer import Answer
from backends.azure_credentials import NO_CREDENTIALS, Credential, SharedSignature, from_env, shared_key
from backends.azure_errors import is_azure, refused, translate
from backends.errors import Kind, StoreError
from backends.threads import run

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping

    from backends.base import Endpoint

VERSION = "2023-11-03"  # everything used here is in it but ``startFrom`` of List Blobs, and every cloud has it
CONNECT_TIMEOUT = 10.0
IN_PATHS = "/!$&'()*,;=:@"  # what the SDK sends as it is, so that both sign the same
KEEP_ALIVE = 4.0  # below the 5 s after which Azurite hangs up, whatever its options say
READ_BUFFER = 1 << 20
MAX_ERROR = 64 << 10  # bytes of an error's body that are read
_CONTAINER = re.compile(r"[a-z0-9](?!.*--)[a-z0-9-]{1,61}[a-z0-9]")
_SUFFIX = "blob.core.windows.net"


class Account(NamedTuple):
    """``url`` without a slash at its end; ``name`` is what keys sign for."""

    url: str
    name: str
    credential: Credential


async def account(container: str, endpoint: Endpoint, env: Mapping[str, str]) -> Account:
    """Credentials by env in the order: connection string, key, SAS, azure-identity. UNAUTHENTICATED for none."""
    store = f"azure://{container}"
    if not _CONTAINER.fullmatch(container):
        message = "a container's name has 3 to 63 small letters, digits and single hyphens: correct the target"
        raise StoreError(Kind.INVALID, "open", store, "", message)
    name = env.get("AZURE_STORAGE_ACCOUNT", "").strip()
    url = (endpoint.url or "").rstrip("/")
    if url and (urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).hostname):
        raise StoreError(Kind.INVALID, "open", store, "", "the endpoint is no http:// or https:// URL")
    if directory := env.get(mounted.DIRECTORY):
        watched = await asyncio.to_thread(mounted.Watched, directory, store, partial(_of_files, url, name, store))
        first = watched.get()
        return Account(first.url, first.name, azure_mounted.Mounted(watched))
    if text := env.get("AZURE_STORAGE_CONNECTION_STRING", "").strip():
        return _of_connection_string(text, url, store)
    if not url and not name:
        raise StoreError(Kind.UNAUTHENTICATED, "open", store, "", NO_CREDENTIALS)
    url = url or f"https://{name}.{_SUFFIX}"
    name = _agreed(name, url, store)
    return Account(url, name, await from_env(env, name, store))


def _of_files(url: str, name: str, store: str, found: dict[str, str]) -> Account:
    """``url`` and ``name`` where the endpoint and the environment say them. ValueError for what is no credential."""
    told = azure_mounted.settings(found)
    if text := told.get("AZURE_STORAGE_CONNECTION_STRING"):
        return _of_connection_string(text, url, store)
    key, signature = told.get("AZURE_STORAGE_KEY"), told.get("AZURE_STORAGE_SAS_TOKEN")
    if key is None and signature is None:
        raise ValueError(f"the Secret needs {azure_mounted.NEEDED}{mounted.others(found)}")
    name = told.get("AZURE_STORAGE_ACCOUNT") or name
    if not url and not name:
        raise ValueError("AZURE_STORAGE_ACCOUNT is missing or empty")
    url = url or f"https://{name}.{_SUFFIX}"
    name = _agreed(name, url, store)
    return Account(url, name, shared_key(name, key, store) if key is not None else SharedSignature(signature or ""))


def _of_connection_string(text: str, url: str, store: str) -> Account:
    from azure.storage.blob.aio import BlobServiceClient  # noqa: PLC0415  0.5 s, and most clusters set a key

    try:
        client: Any = BlobServiceClient.from_connection_string(text)
    except ValueError:  # its words may hold what it could not read
        message = "AZURE_STORAGE_CONNECTION_STRING is not one: copy it again, whole"
        raise StoreError(Kind.UNAUTHENTICATED, "open", store, "", message) from None
    there, _, query = client.primary_endpoint.partition("?")
    url = url or there.rstrip("/")
    name = _agreed(client.account_name or "", url, store)
    if client.credential is None and query:
        return Account(url, name, SharedSignature(query))
    if client.credential is None:
        raise StoreError(Kind.UNAUTHENTICATED, "open", store, "", NO_CREDENTIALS)
    return Account(url, name, shared_key(name, client.credential.account_key, store))


def _agreed(name: str, url: str, store: str) -> str:
    """The account that is signed for. INVALID where the URL is plainly another's; one's own domain tells nothing."""
    parts = urlsplit(url)
    first, _, rest = (parts.hostname or "").partition(".")
    if rest.startswith("blob."):
        if name and first != name:
            message = f"the endpoint is of the account {first}, AZURE_STORAGE_ACCOUNT says {name}: correct one of them"
            raise StoreError(Kind.INVALID, "open", store, "", message)
        return first
    return name or parts.path.strip("/").partition("/")[0]


class Wire:
    """One container's requests. A request that makes no progress for ``stall`` seconds ends with TIMEOUT."""

    def __init__(self, container: str, where: Account, endpoint: Endpoint, *, connections: int, stall: float) -> None:
        self.store = f"azure://{container}"
        self.container = container
        self.credential = where.credential
        self.stall = stall
        self._base = urlsplit(f"{where.url}/{container}")
        self._endpoint = endpoint
        self._slots = asyncio.Semaphore(connections)
        self._session: aiohttp.ClientSession | None = None
        self._proxy: str | None = None

    async def connect(self) -> None:
        logging.getLogger("azure").setLevel(logging.CRITICAL)  # what azure-identity has to say, our errors say
        context: ssl.SSLContext | bool = False
        if self._endpoint.ca_file:
            context = await run(authorities.context, self._endpoint.ca_file, self.store)
        elif not self._endpoint.insecure_skip_verify:
            context = await run(ssl.create_default_context)  # reads the authorities; SSL_CERT_FILE counts
        connector = aiohttp.TCPConnector(ssl=context, limit=0, keepalive_timeout=KEEP_ALIVE)
        self._session = aiohttp.ClientSession(
            connector=connector, response_class=Answer, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=READ_BUFFER, skip_auto_headers=("Accept-Encoding", "Content-Type"),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT),
        )  # fmt: skip
        self._session._retry_connection = False  # noqa: SLF001  RetryStore is the only layer that sends again
        if not proxy_bypass(self._base.netloc):
            self._proxy = getproxies().get(self._base.scheme)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
        await self.credential.close()

    def path(self, key: str) -> str:
        """Of a blob, or of the container for no key; encoded as it goes out and as it is signed."""
        return f"{self._base.path}/{quote(key, safe=IN_PATHS)}" if key else self._base.path

    def url(self, key: str) -> str:
        return f"{self._base.scheme}://{self._base.netloc}{self.path(key)}"

    @asynccontextmanager
    async def request(
        self,
        operation: str,
        method: str,
        key: str = "",
        *,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        data: bytes | Outgoing = b"",
        named: str | None = None,
        expected: tuple[int, ...] = (200, 201, 202, 206),
        patience: int = 1,
        kinds: Mapping[str, Kind] | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer, when its status is one of ``expected``; else a StoreError about ``named`` or ``key``.

        ``kinds``: of Azure's codes that mean something else for this request. The time limit holds until the headers
        are there; ``pieces`` reads a body with its own.
        """
        about = key if named is None else named
        async with self._slots:
            try:
                async with asyncio.timeout(patience * self.stall) as deadline:
                    if isinstance(data, Outgoing):
                        data.watch(deadline, self.stall)
                    answer = await self._exchange(method, key, query, dict(headers or {}), data)
                    if answer.status not in expected or not is_azure(answer.headers):
                        await self._refuse(answer, operation, about, _meant(headers or {}) | dict(kinds or {}))
            except Exception as error:
                if isinstance(data, Outgoing) and data.failure is not None:
                    raise data.failure from None  # the body's own error, as it was raised
                raise translate(error, operation, self.store, about) from error
            finally:
                if isinstance(data, Outgoing):
                    await data.close()
            try:
                yield answer
            finally:
                answer.close() if not answer.content.at_eof() else answer.release()

    async def _exchange(
        self, method: str, key: str, query: str, headers: dict[str, str], data: bytes | Outgoing
    ) -> aiohttp.ClientResponse:
        assert self._session is not None
        headers.setdefault("x-ms-version", VERSION)
        headers["x-ms-date"] = formatdate(usegmt=True)
        if method not in {"GET", "HEAD"}:
            headers["Content-Length"] = str(len(data) if isinstance(data, bytes) else data.size)
        asked = "&".join(part for part in (query, self.credential.query) if part)
        await self.credential.authorize(method, self.path(key), asked, headers)
        url = yarl.URL(f"{self.url(key)}?{asked}" if asked else self.url(key), encoded=True)
        return await self._session.request(
            method, url, headers=headers, data=data or None, allow_redirects=False, proxy=self._proxy
        )

    async def _refuse(
        self, answer: aiohttp.ClientResponse, operation: str, about: str, kinds: dict[str, Kind]
    ) -> NoReturn:
        try:
            text = (await answer.content.read(MAX_ERROR)).decode(errors="replace")
        except aiohttp.ClientError:  # the status and the headers are enough
            text = ""
        answer.close()
        raise refused(answer.status, answer.headers, text, operation, self.store, about, kinds=kinds)

    async def call(self, operation: str, method: str, key: str = "", **wanted: Any) -> tuple[Mapping[str, str], bytes]:
        """A request whose answer is read whole: headers and body."""
        async with self.request(operation, method, key, **wanted) as answer:
            named = wanted.get("named")
            body = [piece async for piece in self.pieces(answer, operation, key if named is None else named)]
            return answer.headers, b"".join(body)

    async def alone(self, method: str, key: str) -> tuple[str, dict[str, str]]:
        """A request that travels in another's body: its path and query, its headers."""
        headers = {"x-ms-date": formatdate(usegmt=True)}
        query = self.credential.query
        await self.credential.authorize(method, self.path(key), query, headers)
        return f"{self.path(key)}?{query}" if query else self.path(key), headers

    async def pieces(self, answer: aiohttp.ClientResponse, operation: str, about: str) -> AsyncIterator[bytes]:
        """The answer's body as it comes; an error where it ends too early, or nothing comes for ``stall`` seconds."""
        while True:
            try:
                async with asyncio.timeout(self.stall):
                    piece = await answer.content.readany()
            except Exception as error:
                raise translate(error, operation, self.store, about) from error
            if not piece:
                return
            yield piece


def _meant(headers: Mapping[str, str]) -> dict[str, Kind]:
    """A failed condition says that the blob is there, where that was the condition."""
    return {"ConditionNotMet": Kind.ALREADY_EXISTS} if "If-None-Match" in headers else {}


class Outgoing:
    """A body that aiohttp streams. What is taken counts as progress; why it failed is kept; its request closes it."""

    def __init__(self, chunks: AsyncGenerator[bytes, None], size: int) -> None:
        self.size = size
        self.failure: Exception | None = None
        self._chunks = chunks
        self._deadline: asyncio.Timeout | None = None
        self._stall = 0.0
        self._running: Any = None

    def watch(self, deadline: asyncio.Timeout, stall: float) -> None:
        self._deadline, self._stall = deadline, stall

    def _progress(self) -> None:
        assert self._deadline is not None
        with suppress(RuntimeError):  # over already; aiohttp's writer is about to be told
            self._deadline.reschedule(asyncio.get_running_loop().time() + self._stall)

    def __aiter__(self) -> AsyncIterator[bytes]:
        self._running = self._run()
        return self._running  # type: ignore[no-any-return]

    async def _run(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._chunks:
                self._progress()
                yield chunk
            self._progress()
        except Exception as error:
            self.failure = error
            raise

    async def close(self) -> None:
        for stream in (self._running, self._chunks):
            if stream is not None:
                with suppress(RuntimeError):  # a step of it runs still, and ends by its cancellation
                    await stream.aclose()
