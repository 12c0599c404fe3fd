"""Azure's credentials in a directory (mounted.py): a connection string, or an account with its key or a signature."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from backends.azure_client import Account
    from backends.mounted import Watched

_SPELLINGS = {
    "AZURE_STORAGE_CONNECTION_STRING": ("connection-string",),
    "AZURE_STORAGE_ACCOUNT": ("account",),
    "AZURE_STORAGE_KEY": ("key",),
    "AZURE_STORAGE_SAS_TOKEN": ("sas",),
}
NEEDED = "AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT with AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN"


def settings(found: Mapping[str, str]) -> dict[str, str]:
    """As they would stand in the environment."""
    told = {name: [found[s] for s in (name, *others) if s in found] for name, others in _SPELLINGS.items()}
    return {name: values[0] for name, values in told.items() if values}


class Mounted:
    """As ``Credential``, of what is there now. The account stays the one that the store was opened with."""

    def __init__(self, watched: Watched[Account]) -> None:
        self._watched = watched

    @property
    def query(self) -> str:
        return self._watched.get().credential.query

    async def authorize(self, method: str, path: str, query: str, headers: dict[str, str]) -> None:
        await self._watched.get().credential.authorize(method, path, query, headers)

    async def of_source(self, container: str, key: str) -> tuple[str, dict[str, str]]:
        return await self._watched.get().credential.of_source(container, key)

    async def close(self) -> None:
        await self._watched.get().credential.close()
