"""The hot requests of one bucket: addressed by the SDK's endpoint rules, signed with its keys, sent by ourselves.

The SDK's own way costs 1 to 2 ms CPU a request and copies every byte; ours a tenth. Everything that is no data (list,
delete, copy, create and complete) stays the SDK's. Where a proxy is set, the SDK's HTTP session sends.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from backends import s3_client, s3_errors, s3_faults
from backends.errors import Kind, StoreError
from backends.s3_direct import Direct
from backends.s3_http import Server
from backends.s3_proxied import Proxied
from backends.s3_sign import UNSIGNED, Signer, query_of, quoted

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping

    from backends.s3_direct import Answer

_ERROR = 64 << 10  # bytes of an error's XML, at most
_NO_KEY = "-"
_NAMED = {"PUT": "PutObject", "GET": "GetObject"}


class Place(NamedTuple):
    """Where a bucket is, by the SDK's rules: ``prefix`` stands before a key in the path."""

    scheme: str
    host: str  # as the header has it
    prefix: str
    region: str
    service: str
    agent: str


class Refused(Exception):  # noqa: N818  reads as what it is
    """The store said no: ``error`` in our words, ``code`` in its own."""

    def __init__(self, error: StoreError, code: str, status: int) -> None:
        super().__init__(code, status)
        self.error = error
        self.code = code
        self.status = status


class Wire:
    """Raises Refused, or what the SDK raises where nothing came back. Starts with the first request."""

    def __init__(self, client: Any, bucket: str, *, connections: int, stall: float) -> None:
        self._client = client
        self._bucket = bucket
        self._connections = connections
        self._stall = stall
        self._keys = s3_client.keys_of(client)
        self._opening = asyncio.Lock()
        self._opened: tuple[Place, Signer, Direct | Proxied] | None = None
        self.seen = False  # that the endpoint answers as S3 does

    @asynccontextmanager
    async def request(
        self,
        method: str,
        key: str,
        query: Iterable[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        body: AsyncGenerator[bytes, None] | None = None,
        *,
        names: tuple[str, str],
        sends: str = UNSIGNED,
    ) -> AsyncIterator[Answer]:
        """``names``: operation and store, for errors. ``sends`` is x-amz-content-sha256; header names in lower case."""
        place, signer, transport = self._opened or await self._open()
        stamp = self._keys.stamp
        keys = await self._keys.get_frozen_credentials()
        path, pairs = place.prefix + quoted(key), query_of(query)
        signed = {"host": place.host, "x-amz-content-sha256": sends, **(headers or {})}
        if not all(map(str.isprintable, signed.values())):
            raise s3_faults.Unusable("an option or credential has a character that no header may have")
        signer.sign(method, path, pairs, signed, keys, time.time())
        signed |= {"user-agent": place.agent, "accept-encoding": "identity"}
        target = f"{path}?{pairs}" if pairs else path
        async with transport.request(method, target, signed, body) as answer:
            if answer.status >= 300:
                raise await self._refused(answer, key, names, stamp)
            listing = method == "GET" and bool(pairs)  # has no ETag, and its words tell whether it is S3's
            named = "" if listing else _NAMED.get(method, "")
            strange = s3_faults.not_s3(answer.status, answer.headers, b"", object_of=named, seen=self.seen)
            if strange is not None:
                raise strange
            self.seen = self.seen or not listing
            yield answer

    async def close(self) -> None:
        if self._opened is not None:
            await self._opened[2].close()

    async def _refused(self, answer: Answer, key: str, names: tuple[str, str], stamp: int) -> Exception:
        body = b""
        async for piece in answer.chunks():
            body += piece
            if len(body) > _ERROR:
                break
        code, to = s3_errors.code_of_body(body), answer.headers.get("location")
        if answer.status < 400 and to and not code:
            scheme, host, *_ = urlsplit(to)
            return s3_faults.Redirected(
                f"the endpoint redirects to {f'{scheme}://{host}' if host else 'another path'}: set endpoint.url "
                "(or AWS_ENDPOINT_URL in spec.env), or AWS_REGION for a bucket in another region"
            )
        error = s3_errors.refusal(answer.status, answer.headers, body, *names, key, seen=self.seen)
        if await self._keys.refused(code, stamp):
            error.retryable = True
        return Refused(error, code, answer.status)

    async def _open(self) -> tuple[Place, Signer, Direct | Proxied]:
        async with self._opening:
            if self._opened is None:
                place = await resolve(self._client, self._bucket)
                url = f"{place.scheme}://{place.host}"
                signer = Signer(place.region, place.service)
                if s3_client.proxy_of(self._client, url):
                    self._opened = place, signer, Proxied(self._client, url, self._stall)
                else:
                    tls = await s3_client.tls_context(self._client) if place.scheme == "https" else None
                    parts = urlsplit(url)
                    port = parts.port or (443 if tls else 80)
                    server = Server(url, parts.hostname or "", port, tls, s3_client.CONNECT_TIMEOUT, self._stall)
                    self._opened = place, signer, Direct(server, self._connections)
            return self._opened


class _Signed(Exception):  # noqa: N818  no failure
    def __init__(self, request: Any) -> None:
        self.request = request


async def resolve(client: Any, bucket: str) -> Place:
    """The SDK makes and signs a request for the bucket, which is looked at in place of being sent."""

    def look(request: Any, **_: object) -> None:
        raise _Signed(request)

    client.meta.events.register_first("before-send.s3.PutObject", look)
    try:
        await client.put_object(Bucket=bucket, Key=_NO_KEY)
    except _Signed as found:
        request = found.request
    finally:
        client.meta.events.unregister("before-send.s3.PutObject", look)
    parts = urlsplit(request.url)
    signature, _, rest = _text(request.headers.get("Authorization", "")).partition(" ")
    scope = rest.partition("Credential=")[2].partition(",")[0].split("/")
    if signature != "AWS4-HMAC-SHA256" or scope[-2:-1] == ["s3express"]:
        message = f"only SigV4 is known here, this bucket's requests are signed with {signature or 'nothing'}"
        raise StoreError(Kind.NOT_SUPPORTED, "open", f"s3://{bucket}", "", message)
    prefix = parts.path.removesuffix(_NO_KEY)
    return Place(parts.scheme, parts.netloc, prefix, scope[-3], scope[-2], _text(request.headers["User-Agent"]))


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
