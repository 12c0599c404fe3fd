"""One HTTP request to the API server: log-in, timeout, metrics, and the errors of the tree.

The status is checked in one place, ``checked``; only ``send`` and what is built on it here see an unchecked answer.
"""
# ruff: noqa: ASYNC109  a timeout is part of every request and reaches aiohttp as such

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import aiohttp

from controller import metrics
from controller.errors import ApiError, ConnectionFailed, Timeout, from_status, parse_status
from controller.lines import read_lines

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping

USER_AGENT = "cassandra-operator"
JSON = "application/json"
CONNECT_TIMEOUT = 10.0
IDLE_MARGIN = 5.0  # a watch lasts as long as the server was asked for, and this much longer if it hangs
MAX_BODY = 256 << 20  # a page of 500 objects of 1.5 MiB, etcd's limit, would be three times that; none is


@dataclass
class Transport:
    """``authorization`` gives the header's value, fresh for every request (tokens rotate), or "".

    ``guard``, where set, is asked before every write and may raise NotLeading.
    """

    session: aiohttp.ClientSession
    host: str
    authorization: Callable[[], Awaitable[str]]
    options: Mapping[str, Any] = field(default_factory=dict)
    guard: Callable[[], None] | None = None

    async def checked(
        self,
        verb: str,
        operation: str,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = JSON,
        timeout: float,
    ) -> bytes:
        """The body of a good answer, or an error of the tree."""
        headers = {"Content-Type": content_type} if body is not None else None
        limits = aiohttp.ClientTimeout(total=timeout)
        with translated(operation):
            async with self.send(
                verb, method, path, query=query, body=body, headers=headers, limits=limits
            ) as response:
                data = await read(response, MAX_BODY, operation)
        if not 200 <= response.status < 300:
            raise error(response, data, operation)
        return data

    async def lines(
        self, operation: str, path: str, *, query: Mapping[str, str], timeout: float
    ) -> AsyncGenerator[bytes, None]:
        """Lines of a watch that the server ends after ``timeout``; close the iterator when leaving it early."""
        limits = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT, sock_read=timeout + IDLE_MARGIN)
        with translated(operation):
            async with self.send("watch", "GET", path, query=query, limits=limits) as response:
                if response.status != 200:
                    raise error(response, await response.content.read(1 << 16), operation)
                _keep_alive(response)
                async for line in read_lines(response.content.iter_any()):
                    yield line

    @asynccontextmanager
    async def send(
        self,
        verb: str,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        limits: aiohttp.ClientTimeout,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        all_headers = {"Accept": JSON, "User-Agent": USER_AGENT, **(headers or {})}
        authorization = await self.authorization()
        if authorization:
            all_headers["Authorization"] = authorization
        if self.guard is not None and method != "GET":
            self.guard()  # last, with nothing awaited before the request
        started, code = time.perf_counter(), "0"
        try:
            async with self.session.request(
                method,
                self.host + quote(path, safe="/:%"),
                params=dict(query or {}),
                data=body,
                headers=all_headers,
                timeout=limits,
                allow_redirects=False,
                **self.options,
            ) as response:
                code = str(response.status)
                try:
                    yield response
                finally:
                    if not response.content.at_eof():
                        response.close()
        finally:
            metrics.API_REQUESTS.labels(verb, code).inc()
            if verb != "watch":
                metrics.API_SECONDS.labels(verb).observe(time.perf_counter() - started)


class Answer(aiohttp.ClientResponse):
    """What is given up, before it comes or in the middle of it (a watch, mostly), takes its connection along at once: a
    TLS goodbye would outlive the event loop of a process that is ending.
    """

    def close(self) -> None:
        connection = self.connection
        if connection is not None and connection.transport is not None:
            connection.transport.abort()
        super().close()


class translated:  # noqa: N801  reads as the statement it is
    """What aiohttp raises becomes the error tree; a plain context manager, since generators yield inside it."""

    def __init__(self, operation: str) -> None:
        self._operation = operation

    def __enter__(self) -> None:
        pass

    def __exit__(self, _type: type[BaseException] | None, e: BaseException | None, _traceback: object) -> None:
        if isinstance(e, asyncio.TimeoutError):  # aiohttp's timeouts are ClientErrors too, so this comes first
            raise Timeout("no answer in time", operation=self._operation) from e
        if isinstance(e, (aiohttp.ClientError, OSError)):
            raise ConnectionFailed(str(e) or type(e).__name__, operation=self._operation) from e


async def read(response: aiohttp.ClientResponse, limit: int, operation: str) -> bytes:
    """The whole body; ApiError where it is longer than ``limit`` bytes."""
    parts, size = [], 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > limit:
            raise ApiError(f"the answer is longer than {limit} bytes", status=response.status, operation=operation)
        parts.append(chunk)
    return b"".join(parts)


def error(response: aiohttp.ClientResponse, body: bytes, operation: str) -> ApiError:
    retry_after = None
    with suppress(KeyError, ValueError):  # a date is not what the API server sends
        retry_after = max(0.0, float(response.headers["Retry-After"]))
    return from_status(parse_status(body), http_status=response.status, operation=operation, retry_after=retry_after)


def _keep_alive(response: aiohttp.ClientResponse) -> None:
    """A watch is silent for long: let the kernel notice within a minute that the other side is gone."""
    transport = response.connection.transport if response.connection else None
    sock = transport.get_extra_info("socket") if transport else None
    if sock is None:
        return
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, option):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
