"""For every test: a leaked task fails it; and which tests keep together when several processes share them."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

import pytest
from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Rings(LoadScopeScheduling):
    """A ring whose servers are started once is one process's; of the others each test goes to who is free."""

    def _split_scope(self, nodeid: str) -> str:
        ring = nodeid.split("/")[1]
        return ring if ring in {"contract", "api"} else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Rings:
    return Rings(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where processes share the tests, what is long comes first, so that none of it is waited for at the end."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.get_closest_marker("slow") is None)


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
