"""Copies of objects over 5 GiB, S3's limit for one request: in parts, none of which comes through us."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from backends.base import ObjectMeta, ObjectStore, Part

MAX_COPY = 5 << 30
PART = 512 << 20  # bytes; grows where 10,000 of them are not enough
PARALLEL = 4


class CopyPart(Protocol):
    async def __call__(self, source: ObjectMeta, key: str, upload: str, number: int, span: tuple[int, int], /) -> Part:
        """``span``: the first and the last byte, as in HTTP."""


async def copy_in_parts(
    store: ObjectStore, copy_part: CopyPart, source: ObjectMeta, target: str, upload: str
) -> ObjectMeta:
    """Completes ``upload``; a copy that fails or is cancelled is aborted."""
    size = max(PART, -(-source.size // store.capabilities.max_parts))
    slots = asyncio.Semaphore(PARALLEL)

    async def one(number: int, first: int) -> Part:
        async with slots:
            return await copy_part(source, target, upload, number, (first, min(first + size, source.size) - 1))

    try:
        async with asyncio.TaskGroup() as group:
            starts = enumerate(range(0, source.size, size), start=1)
            tasks = [group.create_task(one(number, first)) for number, first in starts]
        return await store.complete_upload(target, upload, [task.result() for task in tasks])
    except BaseException as error:
        await store.abort_upload(target, upload)
        if isinstance(error, BaseExceptionGroup):  # one part's failure says it; the others were cancelled for it
            raise error.exceptions[0] from error
        raise
