"""What a command says: results on standard output, the rest on standard error; and how it ends."""

from __future__ import annotations

import re
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import msgspec

from agent.errors import AgentError, failure
from backends.errors import StoreError
from backends.redact import redact

if TYPE_CHECKING:
    from typing import TextIO

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


class Exit(IntEnum):
    """The process's exit codes."""

    DONE = 0
    FAILED = 1
    USAGE = 2  # the command line is wrong: nothing was begun
    FINDINGS = 3  # done, and there is something to look at; or there was nothing to do
    INTERRUPTED = 130  # Ctrl-C or SIGTERM: the same command goes on


EXIT_CODES = """exit codes:
  0    done
  1    failed: one sentence on standard error says why
  2    the command line is wrong, nothing was begun
  3    done, and there is something to look at (damage, a broken record), or there was nothing to do
  130  stopped by Ctrl-C or SIGTERM; the same command goes on where it was"""


class UsageError(Exception):
    """The command line asks for what makes no sense. The text is for the user."""


class InterruptedCommand(Exception):  # noqa: N818  it is no error
    """Stopped from outside, with everything left as it stands."""


class Console:
    """``json``: one document on standard output, no lines. ``quiet``: no notes. Text from a bucket is made harmless."""

    def __init__(self, out: TextIO, err: TextIO, *, json: bool = False, quiet: bool = False) -> None:
        self.out = out
        self.err = err
        self.json = json
        self.quiet = quiet
        self._items = -1  # of the array under way; none

    def line(self, text: str = "") -> None:
        """For people. Whoever wants JSON gets :meth:`value`."""
        if not self.json:
            self.out.write(printable(text) + "\n")
            self.out.flush()

    def value(self, value: Any) -> None:
        if self.json:
            self.out.write(_encode(value) + "\n")
            self.out.flush()

    def item(self, value: Any) -> None:
        """One of an array that is written as it comes; ended by :meth:`end_items`."""
        if self.json:
            self.out.write("[" if self._items < 0 else ",\n ")
            self.out.write(_encode(value))
            self.out.flush()
            self._items = max(self._items, 0) + 1

    def end_items(self) -> None:
        if self.json:
            self.out.write("[]\n" if self._items < 0 else "]\n")
            self.out.flush()
            self._items = -1

    def note(self, text: str) -> None:
        if not self.quiet:
            self.err.write(printable(text) + "\n")
            self.err.flush()

    def error(self, error: BaseException) -> None:
        """One sentence, always."""
        self.err.write(f"error: {sentence(error)}\n")
        self.err.flush()


def sentence(error: BaseException) -> str:
    """For people: no reason's name, no trace, no secret."""
    match error:
        case AgentError():
            text = error.message
        case UsageError() | StoreError():
            text = str(error)
        case OSError() if error.strerror and error.filename:
            text = f"{error.filename}: {error.strerror}"
        case _:
            text = failure(error).message
    return printable(redact(text.replace("the agent's log has the trace", "AGENT_LOG_LEVEL=ERROR shows where")))


def printable(text: str) -> str:
    """Nothing that a terminal would take for an order, and no second line."""
    return _CONTROL.sub("?", text)


def size(count: float) -> str:
    """``1.5 GiB``."""
    for unit in _UNITS:
        if count < 1024 or unit == _UNITS[-1]:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError


def files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"


def _encode(value: Any) -> str:
    return msgspec.json.encode(value).decode()
