"""A Google key file in a directory (mounted.py)."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import msgspec
from gcloud.aio.auth import Token

from backends import mounted
from backends.gcs_credentials import SCOPES, Tokens, parsed
from backends.gcs_errors import CredentialError

if TYPE_CHECKING:
    import aiohttp

_NAMES = ("GOOGLE_APPLICATION_CREDENTIALS_JSON", "GOOGLE_APPLICATION_CREDENTIALS", "key", "key.json")


class MountedTokens:
    """As ``Tokens``, of the key that is there now."""

    def __init__(self, directory: str, store: str, session: aiohttp.ClientSession) -> None:
        """UNAUTHENTICATED where there is none."""
        self._session = session
        self._watched = mounted.Watched(directory, store, self._tokens)

    async def get(self) -> str:
        return await self._watched.get().get()

    async def renew(self, refused: str) -> str:
        """Of a key that has changed since it is the first one."""
        tokens = self._watched.get()
        return await tokens.renew(refused) or await tokens.get()

    def _tokens(self, found: dict[str, str]) -> Tokens:
        try:
            data = parsed(_key_file(found).encode(), "the key file")
        except CredentialError as error:
            raise ValueError(str(error)) from None
        text = io.StringIO(msgspec.json.encode(data).decode())
        return Tokens(Token(service_file=text, session=self._session, scopes=SCOPES))  # type: ignore[arg-type]  # of aiohttp, here


def _key_file(found: dict[str, str]) -> str:
    """By its name, or the only one that looks like one."""
    named = [found[name] for name in _NAMES if name in found]
    others = named or [text for name, text in found.items() if name.endswith(".json")]
    if not others:
        raise ValueError(f"the Secret needs a key file, as {_NAMES[1]} or NAME.json{mounted.others(found)}")
    if not named and len(others) > 1:
        raise ValueError(f"there are {len(others)} files NAME.json: call the one that is meant {_NAMES[1]}")
    return others[0]
