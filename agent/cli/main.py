"""The command line: which command, its options, and how the process ends."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import os
import signal
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import structlog
import uvloop

from agent.cli import options
from agent.cli.console import EXIT_CODES, Console, Exit, InterruptedCommand, UsageError
from agent.stores import Stores

if TYPE_CHECKING:
    from argparse import _SubParsersAction
    from collections.abc import Mapping
    from typing import TextIO

    from agent.cli.command import Command
    from agent.stores import Opener


class Parser(ArgumentParser):
    """One sentence in place of the whole usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(Exit.USAGE, f"error: {message}; {self.prog} --help says more\n")


class Known(NamedTuple):
    """A command's line of help, and the module and name that it has in agent/cli."""

    help: str
    module: str
    name: str = "COMMAND"

    def load(self) -> Command:
        found: Command = getattr(importlib.import_module(f"agent.cli.{self.module}"), self.name)
        return found


COMMANDS: dict[str, Known] = {
    "backup": Known("send this node's data to the bucket", "backup"),
    "commit": Known("write the record of a backup of several nodes", "commit"),
    "restore": Known("a node's backup into an empty data directory", "restore"),
    "list": Known("the backups that a bucket holds", "listing", "LIST"),
    "show": Known("the nodes and tables of a backup", "listing", "SHOW"),
    "verify": Known("hold what the bucket has of a node against its manifests", "verify"),
    "gc": Known("free what no backup of a node needs any more", "gc"),
    "forget": Known("delete a backup, but for the data that others share", "forget"),
    "migrate": Known("make a backup of cassandra-medusa into one of ours", "migrate"),
}


class Subparser(Parser):
    """Of one command, which is imported when it is the one: the sidecar starts as fast without them."""

    known: Known | None = None

    def parse_known_args(self, *arguments: Any, **more: Any) -> Any:
        if self.known is not None:
            command, self.known = self.known.load(), None
            self.description = command.about
            command.add_options(self)
            options.add_output(self)
        return super().parse_known_args(*arguments, **more)


def add_to(commands: _SubParsersAction[Subparser]) -> None:
    """Every command as a subparser."""
    for name, known in COMMANDS.items():
        parser = commands.add_parser(
            name, help=known.help, epilog=EXIT_CODES, formatter_class=RawDescriptionHelpFormatter
        )
        parser.known = known


def main(
    arguments: Namespace,
    *,
    out: TextIO | None = None,
    err: TextIO | None = None,
    env: Mapping[str, str] = os.environ,
    open_store: Opener | None = None,
) -> int:
    """The exit code. Owns the process's signals while it runs."""
    console = Console(out or sys.stdout, err or sys.stderr, json=arguments.json, quiet=arguments.quiet)
    _logs(env, err or sys.stderr)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_run(arguments, console, open_store or Stores().opened))
    except InterruptedCommand:
        console.note("stopped; give the same command again to go on")
        return Exit.INTERRUPTED
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:  # whoever read our output has seen enough
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.FAILED
    except UsageError as error:
        console.error(error)
        return Exit.USAGE
    except Exception as error:  # noqa: BLE001  a person reads it: one sentence, whatever it is
        structlog.get_logger("agent").exception("the command met a bug")
        console.error(error)
        return Exit.FAILED


async def _run(arguments: Namespace, console: Console, open_store: Opener) -> int:
    """The first signal stops the work in order, the second one ends the process."""
    from agent.cli import run  # noqa: PLC0415  as commands: not before it is needed

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def told() -> None:
        stop.set()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told)
    command = COMMANDS[arguments.command].load()
    return await run.stoppable(command.run(arguments, console, open_store), stop)


def _logs(env: Mapping[str, str], stream: TextIO) -> None:
    """Silent, unless asked for: what went wrong is said in a sentence."""
    level = logging.getLevelNamesMapping().get(env.get("AGENT_LOG_LEVEL", "").upper(), logging.CRITICAL)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(stream),
    )
    logging.basicConfig(stream=stream, level=level)
