"""What is built on the verbs, the same for every store."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from backends.errors import Kind, StoreError
from backends.streams import closing

if TYPE_CHECKING:
    from backends.base import ObjectMeta, ObjectStore, Part, SliceableBody

PART_SIZE = 16 << 20
PARALLEL = 4


async def upload(
    store: ObjectStore,
    key: str,
    body: SliceableBody,
    *,
    part_size: int = PART_SIZE,
    if_absent: bool = False,
    parallel: int = PARALLEL,
) -> ObjectMeta:
    """One put up to ``2 * part_size`` bytes, parts above; ``part_size`` grows where the store's limits demand it.

    A multipart upload that fails or is cancelled is aborted.
    """
    limits = store.capabilities
    if not limits.multipart or body.size <= min(2 * part_size, limits.max_put):
        return await store.put(key, body, if_absent=if_absent)
    size = max(part_size, limits.min_part, -(-body.size // limits.max_parts))
    upload_id = await store.create_upload(key)
    slots = asyncio.Semaphore(parallel)

    async def send(number: int, offset: int) -> Part:
        async with slots:
            return await store.upload_part(key, upload_id, number, body.part(offset, min(size, body.size - offset)))

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(send(number, offset))
                for number, offset in enumerate(range(0, body.size, size), start=1)
            ]
        return await store.complete_upload(key, upload_id, [task.result() for task in tasks], if_absent=if_absent)
    except BaseException as error:
        await store.abort_upload(key, upload_id)
        if isinstance(error, BaseExceptionGroup):  # one part's failure says it; the others were cancelled for it
            raise error.exceptions[0] from error
        raise


async def read_all(store: ObjectStore, key: str, limit: int) -> bytes:
    """The whole object; INVALID when it is larger than ``limit`` bytes, before more than that is held."""
    data = bytearray()
    async with closing(store.get(key, length=limit + 1)) as stream:
        async for chunk in stream:
            data += chunk
    if len(data) > limit:
        raise StoreError(Kind.INVALID, "get", store.name, key, f"the object is larger than {limit} bytes")
    return bytes(data)
