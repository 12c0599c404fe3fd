"""What a command is. Which there are says main.py, which imports one only when it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Awaitable, Callable

    from agent.cli.console import Console
    from agent.stores import Opener


class Command(NamedTuple):
    """``about`` is its help. ``run`` returns the exit code; what it raises becomes a sentence and another one."""

    about: str
    add_options: Callable[[ArgumentParser], None]
    run: Callable[[Namespace, Console, Opener], Awaitable[int]]
