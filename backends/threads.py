"""The process's threads for file I/O, shared by upload bodies and the file store."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 4  # a disk gains nothing from more, and each may hold a chunk


@lru_cache(maxsize=1)
def pool() -> ThreadPoolExecutor:
    """Jobs are short, about a chunk, and never wait for one another."""
    return ThreadPoolExecutor(THREADS, thread_name_prefix="backends-io")


async def acquire(release: Callable[[T], object], function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """``run`` for what must be given back: ``release`` gets the result when the caller was cancelled meanwhile."""
    future = asyncio.wrap_future(pool().submit(function, *args, **kwargs))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        if not future.cancelled() and future.exception() is None:
            release(future.result())
        raise


async def run(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Runs in the pool. A cancelled caller still waits for the job, so that cleaning up never races with it."""
    return await acquire(lambda _: None, function, *args, **kwargs)
