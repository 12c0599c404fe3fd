"""Commands that are one operation: a handler, its spec, what its result means."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.cli import options, progress
from agent.cli.command import Command
from agent.cli.console import UsageError
from agent.cli.run import Run, Runs, locked, running

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable

    from agent.cli.console import Console, Exit
    from agent.operations import Handler
    from agent.protocol import Kind
    from agent.stores import Opener


@dataclass(frozen=True)
class Work:
    """``spec`` makes the handler's spec of the options; the run has the id and the epoch that stay over a stop.

    ``tell`` prints the result for people and says how the command ends. ``options`` adds what is the command's own:
    where the backups are, whose, how hard to work, the state directory and ``--dry-run`` are there already. A dry run
    has its journal in a directory that is thrown away.
    """

    kind: Kind
    about: str
    handler: Callable[[Opener, Namespace, Path], Handler]
    spec: Callable[[Namespace, Run], Any]
    tell: Callable[[Console, Namespace, dict[str, Any]], Exit]
    options: Callable[[ArgumentParser], None] = lambda _: None

    def command(self) -> Command:
        return Command(self.about, self.add_options, self.run)

    def add_options(self, parser: ArgumentParser) -> None:
        self.options(parser)
        options.add_dry_run(parser)
        options.add_location(parser)
        options.add_scope(parser)
        options.add_state(parser)
        options.add_transfer(parser)

    async def run(self, arguments: Namespace, console: Console, open_store: Opener) -> int:
        with ExitStack() as stack:
            if arguments.dry_run:
                state_dir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cassandra-agent-")))
            else:
                state_dir = options.state_dir(arguments)
            stack.enter_context(locked(state_dir))
            runs = Runs(state_dir)
            what = _meaning(arguments)
            name = f"{self.kind}-{hashlib.sha256(what.encode()).hexdigest()[:16]}"
            run, _ = await asyncio.to_thread(runs.begin, name, [what])
            try:
                spec, handler = self.spec(arguments, run), self.handler(open_store, arguments, state_dir)
            except UsageError:
                await asyncio.to_thread(runs.end, name)
                raise
            operation_id = f"{run.id}-{self.kind}"
            async with running(state_dir, {self.kind: handler}, progress.choose(console)) as runner:
                operation = await runner.do(operation_id, self.kind, spec)
                await runner.forget(operation_id)
            await asyncio.to_thread(runs.end, name)
        console.value(operation.result)
        return self.tell(console, arguments, operation.result)


def _meaning(arguments: Namespace) -> str:
    """What makes two commands the same work: all options but those of how it is shown, and how fast."""
    other = {"json", "quiet", "bandwidth", "concurrent_transfers", "state_dir", "command", "work"}
    return "\n".join(f"{key}={value}" for key, value in sorted(vars(arguments).items()) if key not in other)
