"""Every verb of a store that cannot work, and the error of each."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from backends.base import BytesBody, Part
from backends.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from backends.base import ObjectStore
    from backends.s3 import S3Store

    Calls = dict[str, Callable[[], Awaitable[object]]]

LARGE = 9 << 20  # bytes: a session for GCS, blocks for Azure


async def errors_of(store: ObjectStore, more: Calls, leave_out: str = "") -> dict[str, StoreError]:
    """Of the verbs that all stores have, and ``more``; each is one line that names verb and store. Closes the store."""
    calls: Calls = {
        "put": lambda: store.put("key", BytesBody(b"x")),
        "head": lambda: store.head("key"),
        "get": lambda: anext(aiter(store.get("key"))),
        "list": lambda: anext(aiter(store.list(""))),
        "delete": lambda: store.delete(["key"]),
        "create upload": lambda: store.create_upload("key"),
        **more,
        "put, large": lambda: store.put("key", BytesBody(bytes(LARGE))),
    }
    calls.pop(leave_out, None)
    errors = {}
    try:
        for verb, call in calls.items():
            with pytest.raises(StoreError) as caught:
                await call()
            errors[verb] = caught.value
    finally:
        await store.close()
    for verb, error in errors.items():
        said = verb.partition(",")[0]
        # A copy may have asked for the source first.
        assert str(error).startswith((f"{said} {store.name}", "head " if verb == "copy" else said)), error
        assert "\n" not in str(error)
    return errors


async def refused(store: S3Store) -> dict[str, StoreError]:
    """S3's; all of its connections are closed soon after."""
    before = open_sockets(store)
    errors = await errors_of(
        store,
        {
            "list uploads": lambda: anext(aiter(store.list_uploads(""))),
            "complete upload": lambda: store.complete_upload("key", "upload", [Part(1, 1, "etag")]),
        },
    )
    async with asyncio.timeout(10):  # a body cut short stays in its socket until the server has closed the other end
        while open_sockets(store) > before:  # noqa: ASYNC110  the kernel has no event for it
            await asyncio.sleep(0.01)
    return errors


def open_sockets(store: S3Store) -> int:
    """This process's connections to the store's port."""
    port = f":{urlsplit(store._client.meta.endpoint_url).port or 0:04X}"
    mine = {str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()}
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2].endswith(port) and f"socket:[{row[9]}]" in mine for row in rows)
