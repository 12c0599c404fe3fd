"""The command line: which command, its options, and how the process ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import structlog
import uvloop

from agent.cli import backup, commit, listing, options, restore
from agent.cli.by_handler import WORK
from agent.cli.console import EXIT_CODES, Console, Exit, InterruptedCommand, UsageError
from agent.cli.run import stoppable
from agent.stores import Stores

if TYPE_CHECKING:
    from argparse import _SubParsersAction
    from collections.abc import Awaitable, Callable, Mapping
    from typing import TextIO

    from agent.stores import Opener

    Work = Callable[[Namespace, Console, Opener], Awaitable[int]]


class Parser(ArgumentParser):
    """One sentence in place of the whole usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(Exit.USAGE, f"error: {message}; {self.prog} --help says more\n")


class Command(NamedTuple):
    """``run`` returns the exit code; what it raises becomes a sentence and another one."""

    help: str
    about: str
    add_options: Callable[[ArgumentParser], None]
    run: Work


COMMANDS: dict[str, Command] = {
    "backup": Command(backup.HELP, backup.ABOUT, backup.add_options, backup.run),
    "commit": Command(commit.HELP, commit.ABOUT, commit.add_options, commit.run),
    "restore": Command(restore.HELP, restore.ABOUT, restore.add_options, restore.run),
    "list": Command(listing.LIST_HELP, listing.LIST_ABOUT, listing.add_list_options, listing.run_list),
    "show": Command(listing.SHOW_HELP, listing.SHOW_ABOUT, listing.add_show_options, listing.run_show),
    **{name: Command(one.help, one.about, one.add_options, one.run) for name, one in WORK.items()},
}


def add_to(commands: _SubParsersAction[Parser]) -> None:
    """Every command as a subparser."""
    for name, command in COMMANDS.items():
        parser = commands.add_parser(
            name,
            help=command.help,
            description=command.about,
            epilog=EXIT_CODES,
            formatter_class=RawDescriptionHelpFormatter,
        )
        command.add_options(parser)
        options.add_output(parser)


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
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def told() -> None:
        stop.set()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told)
    return await stoppable(COMMANDS[arguments.command].run(arguments, console, open_store), stop)


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
