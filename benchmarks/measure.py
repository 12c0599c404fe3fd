"""What a program costs, seen from outside: wall time, CPU of its whole process tree, peak memory.

CPU is user and system time: of a program that ends, what the kernel charged it and the children it waited for
(wait4); of one that stays, the difference of ``/proc/<pid>/stat``, in steps of 10 ms. Memory is VmHWM, the most that
was resident, file pages that are mapped included; of several processes at once the sum. It is read every 50 ms, so
that what a program touches in its last 50 ms may be missed, the same for all.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_EVERY = 0.05
_TICKS = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


@dataclass(slots=True)
class Usage:
    """Seconds and bytes of one step. ``extra`` has what only some tools can tell."""

    wall: float = 0.0
    cpu: float = 0.0
    memory: int = 0
    extra: dict[str, float] = field(default_factory=dict)


def program(command: Sequence[str | Path], environment: Mapping[str, str], log: Path, cwd: Path | None = None) -> Usage:
    """Runs it to its end. RuntimeError with the end of its output when it fails."""
    with log.open("ab") as output:
        began = time.monotonic()
        process = subprocess.Popen(
            command, env=environment, cwd=cwd, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        try:
            with _peak(process.pid) as peak:
                _, status, usage = os.wait4(process.pid, 0)
                wall = time.monotonic() - began
        except BaseException:  # we are to end, and it must not go on
            process.kill()
            process.wait()
            raise
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        tail = log.read_text(errors="replace")[-3000:]
        raise RuntimeError(f"{Path(command[0]).name} ended with {process.returncode}:\n{tail}")
    return Usage(wall, usage.ru_utime + usage.ru_stime, max(peak))


@contextmanager
def resident(pid: int) -> Iterator[Usage]:
    """What a process that stays needs while the block runs. The kernel's mark of its peak is set back first."""
    (_PROC / str(pid) / "clear_refs").write_text("5")
    usage = Usage()
    before, began = cpu(pid), time.monotonic()
    with _peak(pid) as peak:
        yield usage
        usage.wall, usage.cpu = time.monotonic() - began, cpu(pid) - before
        peak.append(_memory(pid))
    usage.memory = max(peak)


def cpu(pid: int) -> float:
    """Seconds of a process, its threads, and the children it has waited for."""
    fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return sum(int(ticks) for ticks in fields[11:15]) / _TICKS


@contextmanager
def _peak(pid: int) -> Iterator[list[int]]:
    """Samples of the tree's memory, in bytes."""
    samples, stop = [0], threading.Event()

    def watch() -> None:
        while not stop.wait(_EVERY):
            samples[0] = max(samples[0], _memory(pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield samples
    finally:
        stop.set()
        watcher.join()


def _memory(pid: int) -> int:
    """VmHWM of a process and all below it, as they are now; 0 of what is gone."""
    try:
        status = (_PROC / str(pid) / "status").read_text()
        children = [
            int(child)
            for task in (_PROC / str(pid) / "task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return high_water(status) + sum(_memory(child) for child in children)


def high_water(status: str) -> int:
    """Bytes, of a ``/proc/<pid>/status``; a zombie has none."""
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
