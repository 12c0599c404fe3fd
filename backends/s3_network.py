"""What breaks between us and a store: names, connections, TLS, proxies, and what does not speak HTTP.

The SDK's and aiohttp's own words are left out where they come with code, bytes and URLs in them.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import aiohttp
from aiohttp import http_exceptions
from botocore import exceptions as sdk
from botocore.parsers import ResponseParserError

from backends import authorities
from backends.errors import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

CORRECT_ENDPOINT = "correct endpoint.url, or AWS_ENDPOINT_URL in spec.env"


class Fault(NamedTuple):
    kind: Kind
    message: str
    retryable: bool | None = None  # None: as the kind says


_TIMEOUTS: tuple[type[Exception], ...] = (
    sdk.ConnectTimeoutError, sdk.ReadTimeoutError, TimeoutError, aiohttp.ServerTimeoutError,
)  # fmt: skip
_PROXY: tuple[type[Exception], ...] = (
    sdk.ProxyConnectionError, aiohttp.ClientProxyConnectionError, aiohttp.ClientHttpProxyError,
)  # fmt: skip
_NETWORK: tuple[type[Exception], ...] = (
    sdk.HTTPClientError, sdk.ConnectionError, sdk.IncompleteReadError, sdk.ResponseStreamingError,
    aiohttp.ClientError, OSError,
)  # fmt: skip
_TLS: tuple[type[Exception], ...] = (sdk.SSLError, aiohttp.ClientSSLError, ssl.SSLError)


def of_network(error: Exception, *, seen: bool) -> Fault | None:
    """None where it is something else. ``seen``: the endpoint has answered as S3 before."""
    chain = list(causes(error))
    if _first(chain, *_PROXY) is not None:
        return _of_proxy(chain)
    if isinstance(error, _TLS) or _first(chain, ssl.SSLError, aiohttp.ClientConnectorCertificateError) is not None:
        return _of_tls(error, chain, seen=seen)
    if isinstance(error, _TIMEOUTS):
        return Fault(Kind.TIMEOUT, f"no answer in time{_from(chain)}")
    if isinstance(error, sdk.FlexibleChecksumError):
        return Fault(Kind.CORRUPT, words_of(error))
    if isinstance(error, ResponseParserError):
        said = "what answered is not S3's XML"
        return Fault(Kind.UNAVAILABLE, said) if seen else Fault(Kind.INVALID, f"{said} ({CORRECT_ENDPOINT})")
    broken = _first(chain, http_exceptions.BadHttpMessage)
    if broken is not None and not isinstance(broken, http_exceptions.PayloadEncodingError):
        said = f"what answers{_from(chain)} does not speak HTTP"
        return Fault(Kind.UNAVAILABLE, said) if seen else Fault(Kind.INVALID, f"{said} ({CORRECT_ENDPOINT})")
    if isinstance(error, _NETWORK):
        return Fault(Kind.UNAVAILABLE, f"{_why(chain)}{_from(chain)}")
    return None


def _of_proxy(chain: list[BaseException]) -> Fault:
    refused = _first(chain, aiohttp.ClientHttpProxyError)
    if isinstance(refused, aiohttp.ClientHttpProxyError):
        if refused.status == 407:
            return Fault(Kind.FORBIDDEN, "the proxy wants a name and a password: set them in HTTPS_PROXY")
        said = f"the proxy of HTTPS_PROXY answered {refused.status} to the request for a tunnel"
        if refused.status < 500:
            return Fault(Kind.FORBIDDEN, f"{said}: let it pass there, or name the store in NO_PROXY")
        return Fault(Kind.UNAVAILABLE, said)
    proxy = ""
    for found in chain:
        if isinstance(found, sdk.ProxyConnectionError):
            proxy = f" {found.kwargs['proxy_url']}"  # the SDK has masked its password
    return Fault(
        Kind.UNAVAILABLE, f"the proxy{proxy} does not answer: correct HTTPS_PROXY, or name the store in NO_PROXY"
    )


# OpenSSL's codes of a refused certificate (x509_vfy.h).
_HOST = {62, 63, 64}
_TIME = {9: "is not valid yet", 10: "has expired"}
_PLAIN = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNEXPECTED_MESSAGE", "RECORD_LAYER_FAILURE"}
_TRUST = authorities.advice("AWS_CA_BUNDLE or AWS_CA_BUNDLE_PEM")


def _of_tls(error: Exception, chain: list[BaseException], *, seen: bool) -> Fault:
    """A refusal stands until somebody changes something; a handshake that broke may do next time."""
    where = _from(chain)
    codes = [getattr(found, "verify_code", None) for found in chain if isinstance(found, ssl.SSLCertVerificationError)]
    said = ""
    if codes:
        code = next((code for code in codes if code is not None), 0)  # aiohttp's own has none, its cause has
        if code in _HOST:
            said = f"the certificate{where} is another host's ({CORRECT_ENDPOINT})"
        elif code in _TIME:
            said = f"the certificate{where} {_TIME[code]}: renew it, or set the clock of this node"
        else:
            said = f"the certificate{where} is from an authority that is not trusted ({_TRUST})"
    elif not seen and any(_openssl(found) in _PLAIN for found in chain):
        said = f"the endpoint speaks http, not https ({CORRECT_ENDPOINT})"
    if said:
        return Fault(Kind.UNAVAILABLE, said, retryable=False)
    reason = next(filter(None, map(_openssl, chain)), "").lower().replace("_", " ")
    return Fault(Kind.UNAVAILABLE, f"the TLS handshake broke{where}: {reason or type(error).__name__}")


def _openssl(error: BaseException) -> str:
    """OpenSSL's word for it, such as WRONG_VERSION_NUMBER. aiohttp's own SSLError has none."""
    return getattr(error, "reason", None) or "" if isinstance(error, ssl.SSLError) else ""


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what lies behind it, as the SDK and Python keep it."""
    known: set[int] = set()
    while error is not None and id(error) not in known:
        known.add(id(error))
        yield error
        inner = getattr(error, "kwargs", {}).get("error") if isinstance(error, sdk.BotoCoreError) else None
        if inner is None:
            inner = getattr(error, "certificate_error", None) or getattr(error, "os_error", None)
        error = inner if isinstance(inner, BaseException) else error.__cause__ or error.__context__


def _first(chain: list[BaseException], *kinds: type[BaseException]) -> BaseException | None:
    return next((found for found in chain if isinstance(found, kinds)), None)


def _from(chain: list[BaseException]) -> str:
    """`` from https://host:port``, without path and query; empty where no error names it."""
    for found in chain:
        url = found.kwargs.get("endpoint_url") if isinstance(found, sdk.BotoCoreError) else None
        if url:
            parts = urlsplit(str(url))
            return f" from {parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        host = getattr(found, "host", None)
        if isinstance(host, str):
            return f" from {host}:{getattr(found, 'port', '')}"
    return ""


def _why(chain: list[BaseException]) -> str:
    """What the connection died of."""
    for found in chain:
        if isinstance(found, socket.gaierror):
            return "the name of the endpoint is not known: no answer"
        if isinstance(found, ConnectionRefusedError):
            return "connection refused: no answer"
        if isinstance(found, ConnectionResetError | BrokenPipeError | aiohttp.ServerDisconnectedError):
            return "the connection was closed: no whole answer"
        if isinstance(found, asyncio.IncompleteReadError | aiohttp.ClientPayloadError | sdk.IncompleteReadError):
            return "the connection was closed: no whole answer"
    last = chain[-1]
    if isinstance(last, OSError) and last.strerror:
        return f"{last.strerror}: no answer"
    return f"{type(chain[0]).__name__}: no answer"


def words_of(error: BaseException) -> str:
    """Its message in one line; validation errors come in several."""
    return " ".join(str(error).split())[:300] or type(error).__name__
