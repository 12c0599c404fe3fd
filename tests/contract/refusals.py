"""Every verb of a store that cannot work, and the error of each."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

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
    """Of the verbs that all stores have, and ``more``; each is one line that names verb and store.

    The store is closed, and so are its connections soon after: a body cut short stays in its socket until the server
    has closed the other end.
    """
    before = open_sockets()
    calls: Calls = {
        "put": lambda: store.put("key", BytesBody(b"x")),
        "put, large": lambda: store.put("key", BytesBody(bytes(LARGE))),
        "head": lambda: store.head("key"),
        "get": lambda: anext(aiter(store.get("key"))),
        "list": lambda: anext(aiter(store.list(""))),
        "delete": lambda: store.delete(["key"]),
        "create upload": lambda: store.create_upload("key"),
        **more,
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
    async with asyncio.timeout(30):
        while open_sockets() > before:  # noqa: ASYNC110  the kernel has no event for it
            await asyncio.sleep(0.01)
    for verb, error in errors.items():
        said = verb.partition(",")[0]
        # A copy may have asked for the source first.
        assert str(error).startswith((f"{said} {store.name}", "head " if verb == "copy" else said)), error
        assert "\n" not in str(error)
    return errors


async def refused(store: S3Store) -> dict[str, StoreError]:
    """S3's."""
    more: Calls = {
        "list uploads": lambda: anext(aiter(store.list_uploads(""))),
        "complete upload": lambda: store.complete_upload("key", "upload", [Part(1, 1, "etag")]),
    }
    return await errors_of(store, more)


def open_sockets() -> int:
    """This process's TCP connections."""
    mine = {str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()}
    tables = (Path(f"/proc/net/{name}").read_text().splitlines()[1:] for name in ("tcp", "tcp6"))
    return sum(f"socket:[{row.split()[9]}]" in mine for rows in tables for row in rows)
