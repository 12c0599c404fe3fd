"""A client by the environment: where the server is, whom to trust, which proxy, whose credentials."""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]

import aiohttp

from backends import authorities, mounted
from backends.errors import Kind, StoreError
from backends.gcs_client import Client
from backends.gcs_credentials import find
from backends.gcs_mounted import MountedTokens
from backends.threads import run

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AsyncExitStack

    from backends.base import Endpoint
    from backends.gcs_credentials import Tokens

GOOGLE = "https://storage.googleapis.com"
CONNECT_TIMEOUT = 10.0
KEEP_ALIVE = 60.0  # seconds; Google keeps an idle connection for minutes
BUFFER = 1 << 18  # bytes a response may run ahead of its reader


async def open_client(
    stack: AsyncExitStack,
    bucket: str,
    endpoint: Endpoint,
    query: Mapping[str, str],
    *,
    connections: int,
    stall: float,
    env: Mapping[str, str] = os.environ,
) -> Client:
    """A client that lives as long as ``stack``. Raises CredentialError.

    An endpoint that is not Google's, and STORAGE_EMULATOR_HOST, get no credentials: a token is worth the whole bucket.
    """
    root = (endpoint.url or env.get("STORAGE_EMULATOR_HOST") or GOOGLE).rstrip("/").removesuffix("/storage/v1")
    if "://" not in root:
        root = f"http://{root}"
    store = f"gs://{bucket}"
    trust: ssl.SSLContext | bool = False
    if endpoint.ca_file:
        trust = await run(authorities.context, endpoint.ca_file, store)
    elif not endpoint.insecure_skip_verify:
        trust = await run(_trust, env, store)
    connector = _connector(trust)
    session = await stack.enter_async_context(
        aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT),
            read_bufsize=BUFFER,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
    )
    host = urlsplit(root).hostname or ""
    tokens: Tokens | MountedTokens | None = None
    if root == GOOGLE or (host.endswith(".googleapis.com") and root.startswith("https:")):
        # On the same connections, with the proxies of the environment; those of the store are looked up once. An
        # endpoint's own authorities are not those of who gives tokens.
        other = _connector(await run(_trust, env, store)) if endpoint.ca_file else None
        asking = aiohttp.ClientSession(connector=other or connector, connector_owner=other is not None, trust_env=True)
        asking = await stack.enter_async_context(asking)
        if directory := env.get(mounted.DIRECTORY):
            tokens = await run(MountedTokens, directory, store, asking)
        else:
            tokens = await find(env, asking)
    proxy = _proxy(urlsplit(root).scheme, host, env)
    return Client(
        bucket, root, session, tokens, proxy=proxy, query=query, connections=connections, stall=stall
    )  # fmt: skip


def _connector(trust: ssl.SSLContext | bool) -> aiohttp.TCPConnector:  # noqa: FBT001  False: any certificate
    return aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE, ssl=trust)


def _trust(env: Mapping[str, str], store: str) -> ssl.SSLContext:
    named = env.get("SSL_CERT_FILE") or None
    try:
        return ssl.create_default_context(cafile=named)
    except OSError as error:  # no file, or no certificate in it
        message = f"SSL_CERT_FILE names {named}, which holds no certificates (mount them there, or correct the path)"
        raise StoreError(Kind.INVALID, "open", store, "", message) from error


def _proxy(scheme: str, host: str, env: Mapping[str, str]) -> str | None:
    """By HTTPS_PROXY, HTTP_PROXY and NO_PROXY. aiohttp would ask for them, and for ~/.netrc, with every request."""
    named = env.get(f"{scheme.upper()}_PROXY") or env.get(f"{scheme}_proxy") or None
    excepted = env.get("NO_PROXY") or env.get("no_proxy") or ""
    return None if proxy_bypass_environment(host, {"no": excepted}) else named
