"""``python -m agent serve | init | inspect``, and the commands of agent/cli."""

from __future__ import annotations

import gc

if __name__ == "__main__":
    gc.disable()  # what imports make is no garbage, and looking for some is an eighth of the start; main() enables it

import asyncio
import os
import signal
import sys

import structlog
import uvloop

from agent import init, logs
from agent.cli import main as cli
from agent.errors import AgentError, Reason, failure
from agent.serve import Agent, inspect
from agent.settings import VERSION, Settings

log = structlog.get_logger("agent")


async def _run(command: str, settings: Settings) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if command == "init":
        return await init.run(settings, stop)
    if command == "inspect":
        await inspect(settings, stop)
    else:
        await Agent(settings).run(stop)
    return 0


def parser() -> cli.Parser:
    made = cli.Parser(prog="agent", description="The backup agent beside a Cassandra node.")
    made.add_argument("--version", action="version", version=VERSION)
    commands = made.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", help="the sidecar: snapshots, backups, the API")
    commands.add_parser(
        "init", help="the init container: Cassandra's configuration, and a restore where one is planned"
    )
    commands.add_parser(
        "inspect", help="the API of a bucket alone, without a Cassandra: its catalog, forget, collect, verify"
    )
    cli.add_to(commands)
    return made


def main() -> int:
    arguments = parser().parse_args()
    gc.freeze()  # what was imported stays, and need not be looked through again and again
    gc.enable()
    if arguments.command in cli.COMMANDS:
        return cli.main(arguments)
    logs.setup(os.environ.get("AGENT_LOG_LEVEL", "INFO").upper())
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_run(arguments.command, Settings.from_env(os.environ)))
    except (AgentError, OSError) as error:  # one line: it becomes the container's termination message
        found = failure(error)
        message = str(error) if found.reason == Reason.INTERNAL else found.message
        log.error("the agent cannot go on", reason=found.reason, message=message)  # noqa: TRY400
        return 1


if __name__ == "__main__":
    sys.exit(main())
