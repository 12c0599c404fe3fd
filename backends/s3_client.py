"""An S3 client by the SDK's default chain: environment, profile, web identity, SSO, container and instance roles.

None of the settings here is a credential. Measured (docs/design/agent.md §12): unsigned payloads with a checksum header
of our own are what keeps hashing and ``aws-chunked`` copies off the event loop, on https and on http alike.
"""

from __future__ import annotations

import asyncio
import os
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from botocore.configprovider import ConfiguredEndpointProvider
from botocore.loaders import create_loader

from backends import authorities, mounted, s3_hooks, s3_trust
from backends.s3_credentials import Keys
from backends.s3_faults import Unusable
from backends.s3_mounted import MountedKeys

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping
    from contextlib import AsyncExitStack

    from backends.base import Endpoint

CONNECT_TIMEOUT = 10.0
READ_TIMEOUT = 60.0


async def open_client(
    stack: AsyncExitStack,
    endpoint: Endpoint,
    *,
    connections: int,
    env: Mapping[str, str] = os.environ,
    store: str = "s3://",
) -> Any:
    """A client that lives as long as ``stack``. Raises what the SDK raises, NoCredentialsError for none at all.

    ``Unusable`` for a URL or certificates that cannot work. The client signs with ``keys_of`` it. ``store`` is for
    messages.
    """
    region = endpoint.region or env.get("AWS_REGION") or None
    pem = s3_trust.from_environment(stack, env)

    def session() -> Any:
        """Each reads the shared files anew, which is what finds rotated keys."""
        made: Any = AioSession()  # type: ignore[no-untyped-call]
        made.register_component("data_loader", _loader(made.get_config_variable("data_path")))
        for name, value in (("region", region), ("ca_bundle", pem)):
            if value:  # the chain's own requests, to STS and SSO, need both too
                made.set_config_variable(name, value)
        return made

    chosen = session()
    _check_url(endpoint.url or _configured_url(chosen))
    if endpoint.ca_file:
        await asyncio.to_thread(authorities.context, endpoint.ca_file, store)
    elif not endpoint.insecure_skip_verify:
        s3_trust.check(chosen.get_config_variable("ca_bundle"))
    if directory := env.get(mounted.DIRECTORY):
        found = await asyncio.to_thread(MountedKeys, directory, store)
        keys = Keys(partial(asyncio.sleep, 0, found))
    else:
        keys = Keys(lambda: session().get_credentials())
    await keys.load()
    chosen.get_credentials = _Always(keys)
    client = await stack.enter_async_context(
        chosen.create_client(
            "s3",
            endpoint_url=endpoint.url,
            # AWS_REGION is what the other SDKs read, and what users set; botocore only knows AWS_DEFAULT_REGION.
            region_name=region,
            verify=endpoint.ca_file or (False if endpoint.insecure_skip_verify else None),
            config=AioConfig(
                retries={"mode": "standard", "total_max_attempts": 1},  # RetryStore is the only layer that retries
                connect_timeout=CONNECT_TIMEOUT,
                read_timeout=READ_TIMEOUT,
                max_pool_connections=connections,
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                s3={"payload_signing_enabled": False, "addressing_style": _addressing(chosen, endpoint)},
                warm_up_loader_caches=True,
                http_session_cls=s3_hooks.HttpSession,
            ),
        )
    )
    s3_hooks.register(client, keys)
    return client


def keys_of(client: Any) -> Keys:
    """What ``client`` signs with, for requests that are signed by hand."""
    keys: Keys = client._request_signer._credentials  # noqa: SLF001  the SDK has no other way to them
    return keys


def proxy_of(client: Any, url: str) -> str | None:
    """The proxy for requests to ``url``, by HTTPS_PROXY and its kin; NO_PROXY was asked when the client was made."""
    proxy: str | None = client._endpoint.http_session._proxy_config.proxy_url_for(url)  # noqa: SLF001  as above
    return proxy


async def tls_context(client: Any) -> ssl.SSLContext:
    """A context that trusts as ``client`` does. Reading the authorities takes 20 ms, so in a thread."""
    build = client._endpoint.http_session._build_verify_context  # noqa: SLF001  as above
    context: ssl.SSLContext = await asyncio.to_thread(build)
    return context


class _Always:
    """In place of a session's ``get_credentials``: the same keys object for each client."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    async def __call__(self) -> Keys:
        return self._keys


@lru_cache(maxsize=1)
def _loader(path: str | None) -> Any:
    """The SDK's service descriptions, read once a process: they are most of what opening a store costs."""
    return create_loader(path)  # type: ignore[no-untyped-call]


def _check_url(url: str | None) -> None:
    if url is None:
        return
    parts = urlsplit(url)
    try:
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        usable = False
    if not usable or parts.username or parts.query or parts.fragment:
        raise Unusable("the endpoint's URL is not http://host[:port] or https://host[:port]: correct endpoint.url")


def _addressing(session: Any, endpoint: Endpoint) -> str:
    """Path style where the caller or a custom endpoint asks for it: such servers seldom have wildcard DNS."""
    if endpoint.path_style is not None:
        return "path" if endpoint.path_style else "virtual"
    configured = (session.get_scoped_config().get("s3") or {}).get("addressing_style")
    if configured:
        return str(configured)
    return "path" if endpoint.url or _configured_url(session) else "auto"


def _configured_url(session: Any) -> str | None:
    """AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, or the profile's."""
    if session.get_config_variable("ignore_configured_endpoint_urls"):
        return None
    provider: Any = ConfiguredEndpointProvider(  # type: ignore[no-untyped-call]
        full_config=session.full_config,
        scoped_config=session.get_scoped_config(),
        client_name="s3",
        environ=os.environ,
    )
    url: str | None = provider.provide()
    return url
