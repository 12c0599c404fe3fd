"""How far an operation is: a bar on a terminal, a line every ten seconds elsewhere, nothing where it would disturb."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING, Protocol

from agent.cli.console import printable, size

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from agent.cli.console import Console
    from agent.protocol import Operation, Progress

EVERY = 10.0  # seconds between two lines
_BAR, _SHORTEST = 24, 5  # characters
_CLEAR = "\r\x1b[K"


class Display(Protocol):
    def show(self, operation: Operation) -> None:
        """As it stands now; often."""

    def end(self) -> None:
        """The operation is over: nothing of a bar stays."""


class Silent:
    def show(self, operation: Operation) -> None:
        pass

    def end(self) -> None:
        pass


class Bar:
    """One line that is written over."""

    def __init__(self, stream: TextIO, columns: Callable[[], int] | None = None) -> None:
        self._stream = stream
        self._columns = columns or (lambda: shutil.get_terminal_size().columns)
        self._drawn = False

    def show(self, operation: Operation) -> None:
        self._stream.write(_CLEAR + bar(operation, self._columns() - 1))
        self._stream.flush()
        self._drawn = True

    def end(self) -> None:
        if self._drawn:
            self._stream.write(_CLEAR)
            self._stream.flush()
            self._drawn = False


class Lines:
    """For logs: a line for every phase, and every ten seconds within it."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._phase = ""
        self._next = 0.0

    def show(self, operation: Operation) -> None:
        now = self._clock()
        if not operation.phase or (operation.phase == self._phase and now < self._next):
            return
        self._phase, self._next = operation.phase, now + EVERY
        self._stream.write(line(operation) + "\n")
        self._stream.flush()

    def end(self) -> None:
        self._phase = ""


def choose(console: Console) -> Display:
    if console.quiet or console.json:
        return Silent()
    return Bar(console.err) if console.err.isatty() else Lines(console.err)


def line(operation: Operation) -> str:
    """``Uploading: 1.0 GiB of 4.0 GiB (25%), 52.1 MiB/s, 0:59 left, 3 of 12 files``."""
    parts = _parts(operation.progress)
    return printable(f"{operation.phase}: {', '.join(parts)}" if parts else operation.phase)


def bar(operation: Operation, columns: int) -> str:
    """As :func:`line`, with a bar of what is left of the terminal's width."""
    share = done(operation.progress)
    if share is None:
        return printable(operation.phase)[: max(1, columns)]
    texts = printable(operation.phase), ", ".join(_parts(operation.progress))
    width = min(_BAR, columns - len(texts[0]) - len(texts[1]) - 4)
    drawn = f"[{'#' * round(share * width)}{'-' * (width - round(share * width))}] " if width >= _SHORTEST else ""
    return f"{texts[0]} {drawn}{texts[1]}"[: max(1, columns)]


def done(progress: Progress) -> float | None:
    """0 to 1; by bytes where there are any. None where it is not known how much there is."""
    if progress.bytes:
        return min(1.0, max(0.0, progress.bytes_done / progress.bytes))
    if progress.files:
        return min(1.0, max(0.0, progress.files_done / progress.files))
    return None


def seconds_left(progress: Progress) -> float | None:
    """At the rate of the last seconds; None while nothing moves."""
    left = progress.bytes - progress.bytes_done
    return left / progress.rate if progress.rate > 0 and left > 0 else None


def duration(seconds: float) -> str:
    """``1:02:03``, or ``2:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _parts(progress: Progress) -> list[str]:
    parts = []
    share = done(progress)
    if progress.bytes and share is not None:
        parts.append(f"{size(progress.bytes_done)} of {size(progress.bytes)} ({share * 100:.0f}%)")
    if progress.rate > 0:
        parts.append(f"{size(progress.rate)}/s")
    if (left := seconds_left(progress)) is not None:
        parts.append(f"{duration(left)} left")
    if progress.files:
        parts.append(f"{progress.files_done} of {progress.files} files")
    return parts
