"""``python -m agent …`` inside the test's process: what it prints, and how it ends."""

from __future__ import annotations

import io
import json
from contextlib import asynccontextmanager, redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from agent.__main__ import parser
from agent.cli import main as cli
from agent.cli import options
from agent.cli.console import Console
from backends.memory import MemoryStore
from backends.prefix import PrefixStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from agent.protocol import Location
    from agent.stores import Opener
    from backends.base import ObjectStore


class Ended(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Buckets:
    """Stores in memory by the bucket of a target, each with its prefix."""

    def __init__(self) -> None:
        self.stores: dict[str, ObjectStore] = {}

    @asynccontextmanager
    async def opened(self, location: Location) -> AsyncIterator[ObjectStore]:
        place = options.place(location.target)
        store = self.stores.setdefault(place.root, MemoryStore(place.root))
        yield PrefixStore(store, place.prefix) if place.prefix else store


def agent(*arguments: object, open_store: Opener | None = None, log: str = "") -> Ended:
    """To its end. Not for a test that is a coroutine: it has a loop of its own."""
    out, err = io.StringIO(), io.StringIO()
    try:
        with redirect_stdout(out), redirect_stderr(err):
            parsed = parser().parse_args([str(one) for one in arguments])
            code = cli.main(parsed, out=out, err=err, env={"AGENT_LOG_LEVEL": log}, open_store=open_store)
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        structlog.reset_defaults()
    return Ended(code, out.getvalue(), err.getvalue())


async def agent_here(*arguments: object, open_store: Opener) -> Ended:
    """On the test's own loop, beside its servers; errors come as they are."""
    out, err = io.StringIO(), io.StringIO()
    parsed = parser().parse_args([str(one) for one in arguments])
    console = Console(out, err, json=parsed.json, quiet=parsed.quiet)
    code = await cli.COMMANDS[parsed.command].load().run(parsed, console, open_store)
    return Ended(code, out.getvalue(), err.getvalue())
