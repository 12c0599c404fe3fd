"""Which store a user's backup type and target mean."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Protocol

from backends.base import Endpoint, ObjectStore
from backends.errors import Kind, StoreError
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


# Opens what a target without scheme means: the bare store, and the prefix below it that the user asked for.
Opener = Callable[[str, Endpoint, Mapping[str, str]], Awaitable[tuple[ObjectStore, str]]]


async def _open_s3(target: str, endpoint: Endpoint, env: Mapping[str, str]) -> tuple[ObjectStore, str]:
    from backends.s3 import S3Store  # noqa: PLC0415  the SDK costs 0.3 s and is not everybody's

    bucket, _, prefix = target.strip("/").partition("/")
    return await S3Store.open(bucket, endpoint, env=env), prefix


async def _open_file(target: str, _endpoint: Endpoint, _env: Mapping[str, str]) -> tuple[ObjectStore, str]:
    from backends.file import FileStore  # noqa: PLC0415  as above

    if not target.startswith("/"):
        raise StoreError(Kind.INVALID, "open", "file://", target, "a FILE target is an absolute path or file:///path")
    return await FileStore.open(Path(target)), ""


async def _not_yet(target: str, _endpoint: Endpoint, _env: Mapping[str, str]) -> tuple[ObjectStore, str]:
    raise StoreError(Kind.NOT_SUPPORTED, "open", target, "", "this backup type is not supported yet")


# Backup type -> its URI schemes and opener. Tests put their own store in (monkeypatch.setitem, "MEMORY").
OPENERS: dict[str, tuple[tuple[str, ...], Opener]] = {
    "AWS_S3": (("s3",), _open_s3),
    "FILE": (("file",), _open_file),
    "GCP_BLOB": (("gs", "gcs", "gcp"), _not_yet),
    "AZURE_BLOB": (("azure", "https"), _not_yet),
}


async def open_store(
    backup_type: str,
    target: str,
    endpoint: EndpointLike | None = None,
    *,
    env: Mapping[str, str] = os.environ,
    statistics: Statistics | None = None,
    policy: Policy | None = None,
) -> ObjectStore:
    """The store of a target, ready: observed, retried, below the target's prefix.

    ``target`` is ``bucket``, ``bucket/prefix``, an absolute path or a URI; a URI's scheme must agree with the type.
    Raises INVALID for a target that makes no sense, NOT_SUPPORTED, UNAUTHENTICATED where there are no credentials.
    Nothing is asked of the store itself. ``env`` is where settings are read; credentials are the SDK's matter.
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
    if not place.strip("/"):
        raise StoreError(Kind.INVALID, "open", target, "", "the target names no bucket or directory")
    bare, prefix = await opener(place, _endpoint(endpoint), env)
    try:
        store: ObjectStore = RetryStore(ObserveStore(bare, statistics), policy)
        return PrefixStore(store, prefix) if prefix else store
    except BaseException:
        await bare.close()
        raise


def _endpoint(given: EndpointLike | None) -> Endpoint:
    if given is None:
        return Endpoint()
    return Endpoint(given.url or None, given.region or None, given.path_style, given.insecure_skip_verify)
