"""An S3 client by the SDK's default chain: environment, profile, web identity, container and instance roles.

None of the settings here is a credential. Measured (docs/design/agent.md §12): unsigned payloads with a checksum header
of our own are what keeps hashing and ``aws-chunked`` copies off the event loop, on https and on http alike.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from botocore.configprovider import ConfiguredEndpointProvider
from botocore.exceptions import NoCredentialsError
from botocore.loaders import create_loader

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AsyncExitStack

    from backends.base import Endpoint

CONNECT_TIMEOUT = 10.0
READ_TIMEOUT = 60.0


async def open_client(
    stack: AsyncExitStack, endpoint: Endpoint, *, connections: int, env: Mapping[str, str] = os.environ
) -> Any:
    """A client that lives as long as ``stack``. Raises what the SDK raises, NoCredentialsError for none at all."""
    session: Any = AioSession()  # type: ignore[no-untyped-call]
    session.register_component("data_loader", _loader(session.get_config_variable("data_path")))
    if await session.get_credentials() is None:
        raise NoCredentialsError
    client = await stack.enter_async_context(
        session.create_client(
            "s3",
            endpoint_url=endpoint.url,
            # AWS_REGION is what the other SDKs read, and what users set; botocore only knows AWS_DEFAULT_REGION.
            region_name=endpoint.region or env.get("AWS_REGION") or None,
            verify=False if endpoint.insecure_skip_verify else None,
            config=AioConfig(
                retries={"mode": "standard", "total_max_attempts": 1},  # RetryStore is the only layer that retries
                connect_timeout=CONNECT_TIMEOUT,
                read_timeout=READ_TIMEOUT,
                max_pool_connections=connections,
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                s3={"payload_signing_enabled": False, "addressing_style": _addressing(session, endpoint)},
                warm_up_loader_caches=True,
            ),
        )
    )
    # With it each put waits a round trip for "100 Continue", and without end where something in between swallows that.
    client.meta.events.register_last("before-call.s3", _drop_expect)
    return client


@lru_cache(maxsize=1)
def _loader(path: str | None) -> Any:
    """The SDK's service descriptions, read once a process: they are most of what opening a store costs."""
    return create_loader(path)  # type: ignore[no-untyped-call]


def _drop_expect(params: dict[str, Any], **_: object) -> None:
    params["headers"].pop("Expect", None)


def _addressing(session: Any, endpoint: Endpoint) -> str:
    """Path style where the caller or a custom endpoint asks for it: such servers seldom have wildcard DNS."""
    if endpoint.path_style is not None:
        return "path" if endpoint.path_style else "virtual"
    scoped = session.get_scoped_config()
    configured = (scoped.get("s3") or {}).get("addressing_style")
    if configured:
        return str(configured)
    return "path" if endpoint.url or _configured_url(session, scoped) else "auto"


def _configured_url(session: Any, scoped: dict[str, Any]) -> str | None:
    """AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, or the profile's."""
    if session.get_config_variable("ignore_configured_endpoint_urls"):
        return None
    provider: Any = ConfiguredEndpointProvider(  # type: ignore[no-untyped-call]
        full_config=session.full_config, scoped_config=scoped, client_name="s3", environ=os.environ
    )
    url: str | None = provider.provide()
    return url
