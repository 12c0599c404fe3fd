"""Google's default credential chain, on gcloud-aio-auth: what is found where, and one token kept fresh.

In order: the JSON text in GOOGLE_APPLICATION_CREDENTIALS_JSON, the file GOOGLE_APPLICATION_CREDENTIALS, the file that
``gcloud auth application-default login`` writes, the metadata server of the machine or of GKE's workload identity.

The library asks for tokens; when to ask is decided here. Its own cache refreshes in a task that nobody awaits, reads
the process's environment, and tries five times over a minute where there is no metadata server.
"""

from __future__ import annotations

import asyncio
import io
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec
from gcloud.aio.auth import Token

from backends.gcs_errors import CREDENTIALS, NO_CREDENTIALS, CredentialError, said
from backends.threads import run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SCOPES = ["https://www.googleapis.com/auth/devstorage.read_write"]
TIMEOUT = 10  # seconds, for a token
METADATA_TIMEOUT = 5  # off the cloud its name does not resolve, or nothing answers
METADATA_HOST = "metadata.google.internal"
MARGIN = 225.0  # seconds; the metadata server hands out a new token four minutes before the old one ends
# What the library can do, and the fields that it takes for granted.
NEEDED: dict[str, tuple[str, ...]] = {
    "service_account": ("client_email", "private_key"),
    "authorized_user": ("client_id", "client_secret", "refresh_token"),
    "external_account": ("audience", "credential_source", "subject_token_type", "token_url"),
    "impersonated_service_account": ("service_account_impersonation_url", "source_credentials"),
}


class Tokens:
    """The access token of one set of credentials. One refresh at a time; the others wait for its token."""

    def __init__(self, token: Token, clock: Callable[[], float] = time.monotonic) -> None:
        self._token = token
        self._clock = clock
        self._lock = asyncio.Lock()
        self._value = ""
        self._until = 0.0

    async def get(self) -> str:
        """A token with some life left."""
        return self._value if self._clock() < self._until else await self.renew(self._value)

    async def renew(self, refused: str) -> str:
        """Another than ``refused``. Raises CredentialError."""
        async with self._lock:
            if self._value == refused:
                await self._ask()
            return self._value

    async def _ask(self) -> None:
        metadata = not self._token.service_data
        asked = self._clock()
        try:
            answer = await self._token.refresh(timeout=METADATA_TIMEOUT if metadata else TIMEOUT)
        except Exception as error:
            raise _refused(error, self._token.token_uri, metadata=metadata) from error
        self._value = answer.value
        self._until = asked + answer.expires_in - min(MARGIN, answer.expires_in / 10)


async def find(env: Mapping[str, str], session: aiohttp.ClientSession) -> Tokens:
    """Raises CredentialError. Asks the network only where the metadata server is the last resort."""
    data = await run(_read, env)
    text = io.StringIO(msgspec.json.encode(data).decode())
    token = Token(service_file=text, session=session, scopes=SCOPES)  # type: ignore[arg-type]  # of aiohttp, here
    tokens = Tokens(token)
    if not data:
        host = env.get("GCE_METADATA_HOST") or env.get("GCE_METADATA_ROOT") or METADATA_HOST
        token.token_uri = f"http://{host}/computeMetadata/v1/instance/service-accounts/default/token"
        await tokens.get()
    return tokens


def _read(env: Mapping[str, str]) -> dict[str, Any]:
    """The credentials' JSON, checked; empty where only the metadata server is left."""
    if text := env.get("GOOGLE_APPLICATION_CREDENTIALS_JSON"):
        return parsed(text.encode(), "GOOGLE_APPLICATION_CREDENTIALS_JSON")
    named = env.get("GOOGLE_APPLICATION_CREDENTIALS")
    home = env.get("CLOUDSDK_CONFIG") or Path(env.get("HOME", "/")) / ".config/gcloud"
    path = Path(named) if named else Path(home) / "application_default_credentials.json"
    try:
        return parsed(path.read_bytes(), f"{'GOOGLE_APPLICATION_CREDENTIALS' if named else 'the file'} {path}")
    except OSError as error:
        if not named:
            return {}
        message = f"GOOGLE_APPLICATION_CREDENTIALS names {path}, which cannot be read: {error.strerror}"
        raise CredentialError(f"{message} (mount the key there, or correct the path)") from error


def parsed(data: bytes, where: str) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(data, type=dict[str, Any])
    except msgspec.DecodeError:
        raise CredentialError(f"{where} holds no JSON object: give the whole file of a key") from None
    kind = str(found.get("type", ""))
    if kind not in NEEDED:
        raise CredentialError(f"{where} holds credentials of type {kind!r}; supported are {', '.join(sorted(NEEDED))}")
    if missing := [name for name in NEEDED[kind] if not found.get(name)]:
        raise CredentialError(f"{where} lacks {', '.join(missing)}: give the whole file of a key")
    if kind == "external_account":
        _check_source(found["credential_source"], where)
    elif kind == "impersonated_service_account" and found["source_credentials"].get("type") != "authorized_user":
        raise CredentialError(f"{where} impersonates from other credentials than a user's, which is not supported")
    return found


def _check_source(source: dict[str, Any], where: str) -> None:
    """Of workload identity federation the library knows tokens in a file, behind a url, and in a variable."""
    if str(source.get("environment_id", "")).startswith("aws"):
        raise CredentialError(f"{where} federates from AWS's own signatures, which is not supported: use a token file")
    if not {"file", "url", "type"} & source.keys():
        named = ", ".join(sorted(source)) or "nothing"
        raise CredentialError(f"{where} has a credential_source with {named}; supported are file and url")


def _refused(error: Exception, uri: str, *, metadata: bool) -> CredentialError:
    """Why there is no token. Never the library's own words: they may quote what it sent."""
    if isinstance(error, aiohttp.ClientResponseError) and error.status >= 400:
        reason, text = said(error.message.partition(": ")[2].encode())
        words = ": ".join(part for part in (reason, text.rstrip(".")) if part) or f"HTTP {error.status}"
        later = error.status in {408, 429} or error.status >= 500
        return CredentialError(f"no token: {words} ({CREDENTIALS})", retryable=later)
    if metadata and isinstance(error, aiohttp.ClientConnectorDNSError):
        return CredentialError(NO_CREDENTIALS)
    if isinstance(error, aiohttp.ClientConnectionError | TimeoutError | OSError):
        said_by = "the metadata server" if metadata else uri.partition("?")[0]
        hint = NO_CREDENTIALS.partition(": ")[2] if metadata else CREDENTIALS
        return CredentialError(f"no token: {said_by} does not answer ({hint})", retryable=True)
    if isinstance(error, ValueError) and "subject token" in str(error):
        return CredentialError(
            "no token: the file that credential_source names cannot be read (mount it, or correct it)"
        )
    if isinstance(error, aiohttp.ClientError | KeyError | TypeError | json.JSONDecodeError):
        return CredentialError(f"no token: {uri.partition('?')[0]} answers something else ({CREDENTIALS})")
    return CredentialError(f"no token: the credentials cannot be used, {type(error).__name__} ({CREDENTIALS})")
