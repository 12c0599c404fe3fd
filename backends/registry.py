"""Which store a user's backup type and target mean."""

from __future__ import annotations

import asyncio
import importlib
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Protocol

import msgspec

from backends import mounted
from backends.base import Endpoint, ObjectStore, Options
from backends.errors import Kind, StoreError
from backends.file import FileStore
from backends.observe import ObserveStore, Statistics
from backends.prefix import PrefixStore
from backends.retry import Policy, RetryStore


class EndpointLike(Protocol):
    """``base.Endpoint``, or the agent's own with the same fields."""

    @property
    def url(self) -> str | None: ...
    @property
    def region(self) -> str | None: ...
    @property
    def path_style(self) -> bool | None: ...
    @property
    def insecure_skip_verify(self) -> bool: ...
    @property
    def ca_file(self) -> str: ...


# Opens what a target without scheme means: the bare store, and the prefix below it that the user asked for.
Opener = Callable[[str, Endpoint, Options, Mapping[str, str]], Awaitable[tuple[ObjectStore, str]]]


def _cloud(module: str, store: str) -> Opener:
    """Targets ``bucket/prefix`` of a class that is imported when it is asked for: an SDK costs 0.3 s.

    In a thread, for the event loop's sake.
    """

    async def opener(
        target: str, endpoint: Endpoint, options: Options, env: Mapping[str, str]
    ) -> tuple[ObjectStore, str]:
        opened = getattr(await asyncio.to_thread(importlib.import_module, module), store)
        bucket, _, prefix = target.strip("/").partition("/")
        return await opened.open(bucket, endpoint, options, env=env), prefix

    return opener


async def _open_file(
    target: str, _endpoint: Endpoint, _options: Options, _env: Mapping[str, str]
) -> tuple[ObjectStore, str]:
    if not target.startswith("/"):
        raise StoreError(Kind.INVALID, "open", "file://", target, "a FILE target is an absolute path or file:///path")
    return await FileStore.open(Path(target)), ""


# Backup type -> its URI schemes and opener. Tests put their own store in (monkeypatch.setitem, "MEMORY").
OPENERS: dict[str, tuple[tuple[str, ...], Opener]] = {
    "AWS_S3": (("s3",), _cloud("backends.s3", "S3Store")),
    "FILE": (("file",), _open_file),
    "GCP_BLOB": (("gs", "gcs", "gcp"), _cloud("backends.gcs", "GcsStore")),
    "AZURE_BLOB": (("azure", "https"), _cloud("backends.azure", "AzureStore")),
}


async def open_store(
    backup_type: str,
    target: str,
    endpoint: EndpointLike | None = None,
    options: Options | None = None,
    *,
    env: Mapping[str, str] = os.environ,
    credentials: str = "",
    statistics: Statistics | None = None,
    policy: Policy | None = None,
) -> ObjectStore:
    """The store of a target, ready: observed, retried, below the target's prefix.

    ``target`` is ``bucket``, ``bucket/prefix``, an absolute path or a URI; a URI's scheme must agree with the type.
    Raises INVALID for a target that makes no sense, NOT_SUPPORTED, UNAUTHENTICATED where there are no credentials.
    Nothing is asked of the store itself. ``env`` is where settings are read. Credentials are the SDK's matter, or in
    the directory ``credentials`` alone (mounted.py).
    """
    entry = OPENERS.get(backup_type)
    if entry is None:
        known = ", ".join(sorted(OPENERS))
        raise StoreError(Kind.NOT_SUPPORTED, "open", target, "", f"there is no backup type {backup_type}, only {known}")
    schemes, opener = entry
    scheme, separator, rest = target.partition("://")
    if separator and scheme not in schemes:
        message = f"the target's scheme {scheme}:// does not agree with the backup type {backup_type}"
        raise StoreError(Kind.INVALID, "open", target, "", message)
    place = rest if separator else target
    where = _endpoint(endpoint)
    if scheme == "https":  # https://account.blob.core.windows.net/container/prefix
        host, _, place = rest.partition("/")
        where = msgspec.structs.replace(where, url=where.url or f"https://{host}")
    if not place.strip("/"):
        raise StoreError(Kind.INVALID, "open", target, "", "the target names no bucket or directory")
    bare, prefix = await opener(place, where, options or Options(), mounted.settings(env, credentials))
    try:
        store: ObjectStore = RetryStore(ObserveStore(bare, statistics), policy)
        return PrefixStore(store, prefix) if prefix else store
    except BaseException:
        await bare.close()
        raise


def _endpoint(given: EndpointLike | None) -> Endpoint:
    if given is None:
        return Endpoint()
    return Endpoint(
        given.url or None, given.region or None, given.path_style, given.insecure_skip_verify, given.ca_file
    )
