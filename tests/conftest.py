"""For every test: a leaked task fails it."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture(autouse=True)
def _no_leaked_tasks(request: pytest.FixtureRequest) -> None:
    # set up first, so torn down last: after the test's own fixtures have ended their tasks
    if inspect.iscoroutinefunction(getattr(request, "function", None)):
        request.getfixturevalue("_leak_check")


@pytest.fixture
async def _leak_check() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    for _ in range(5):  # let what was cancelled end
        await asyncio.sleep(0)
    leaked = asyncio.all_tasks() - before - {asyncio.current_task()}
    for task in leaked:
        task.cancel()
    if leaked:
        await asyncio.wait(leaked, timeout=1)
        pytest.fail(f"leaked tasks: {sorted(str(t.get_coro()) for t in leaked)}")
