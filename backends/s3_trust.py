"""Whom TLS trusts: AWS_CA_BUNDLE (a path) as the SDK reads it, or AWS_CA_BUNDLE_PEM (the certificates themselves).

The second is ours: a pod gets a key of a Secret as a variable, without a volume. It counts before the first. Both
replace the authorities that come with the SDK, for the store and for the credentials' own requests.
"""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING

from backends.s3_faults import Unusable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AsyncExitStack

PEM = "AWS_CA_BUNDLE_PEM"


def from_environment(stack: AsyncExitStack, env: Mapping[str, str]) -> str | None:
    """A path with the certificates of AWS_CA_BUNDLE_PEM while ``stack`` is open; None where it is not set.

    The SDK takes paths only. This one is in memory: no other process reads it, and no disk need be writable.
    """
    pem = env.get(PEM, "").strip()
    if not pem:
        return None
    try:
        ssl.create_default_context(cadata=pem)
    except (ssl.SSLError, ValueError) as error:  # ValueError: not ASCII
        raise Unusable(f"{PEM} holds no certificates: it is PEM, from -----BEGIN CERTIFICATE----- on") from error
    descriptor = os.memfd_create("ca-bundle")
    stack.callback(os.close, descriptor)
    os.write(descriptor, pem.encode())
    return f"/proc/self/fd/{descriptor}"


def check(path: str | None) -> None:
    """Unusable for a bundle that is not there or holds no certificates. The SDK would say so at the first request."""
    if not path:
        return
    try:
        ssl.create_default_context(cafile=path)
    except ssl.SSLError as error:
        raise Unusable(f"AWS_CA_BUNDLE {path} holds no certificates in PEM") from error
    except OSError as error:
        raise Unusable(f"AWS_CA_BUNDLE {path} cannot be read: {error.strerror}") from error
