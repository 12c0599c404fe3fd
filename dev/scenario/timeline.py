"""Steps with their time: printed as they begin and end, and as a table when all is done."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass
class Step:
    title: str
    began: float  # seconds since the scenario's start
    seconds: float = 0.0
    detail: str = ""
    failed: bool = False


@dataclass
class Timeline:
    """Steps may run at the same time; the table has them in the order of their start."""

    steps: list[Step] = field(default_factory=list)
    _start: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """The block may set ``detail``: what the table says beside the time."""
        step = Step(title, self.elapsed())
        with self._lock:
            self.steps.append(step)
        self._say(f"{title} ...")
        try:
            yield step
        except BaseException:
            step.failed = True
            raise
        finally:
            step.seconds = self.elapsed() - step.began
            end = "FAILED after" if step.failed else "done in"
            self._say(f"{title}: {end} {step.seconds:.1f} s{f' ({step.detail})' if step.detail else ''}")

    def elapsed(self) -> float:
        return time.monotonic() - self._start

    def table(self) -> str:
        width = max((len(step.title) for step in self.steps), default=0)
        rows = [f"{'step':{width}}  {'start':>7}  {'time':>7}  "]
        for step in self.steps:
            detail = "FAILED" if step.failed else step.detail
            rows.append(f"{step.title:{width}}  {step.began:6.1f}s  {step.seconds:6.1f}s  {detail}".rstrip())
        rows.append(f"{'in all':{width}}  {'':7}  {self.elapsed():6.1f}s")
        return "\n".join(rows)

    def _say(self, text: str) -> None:
        sys.stderr.write(f"[{self.elapsed():6.1f} s] {text}\n")  # one write: steps talk at the same time


def together(*tasks: Callable[[], object]) -> None:
    """Runs them at the same time and waits for all; the first failure is raised when the others have ended."""
    with ThreadPoolExecutor(max_workers=len(tasks)) as pool:
        for future in [pool.submit(task) for task in tasks]:
            future.result()
