"""Processes of a cluster: known by PID and start time, so that a recycled PID is never taken for ours."""

import json
import os
import signal as signals
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from dev.bed.say import BedError, wait_for


def start_time(pid: int, proc: Path = Path("/proc")) -> int | None:
    """In clock ticks since boot, or None if there is no such process."""
    try:
        # The second field is the program's name in brackets and may hold anything, so count from its end.
        return int((proc / str(pid) / "stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError):
        return None


def state(pid: int, proc: Path = Path("/proc")) -> str:
    try:
        return (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""


@dataclass(frozen=True)
class Process:
    """A process as the host sees it."""

    pid: int
    started: int

    def exists(self) -> bool:
        return start_time(self.pid) == self.started

    def alive(self) -> bool:
        return self.exists() and state(self.pid) != "Z"

    def signal(self, number: signals.Signals) -> None:
        if self.alive():
            os.kill(self.pid, number)

    @property
    def proc(self) -> Path:
        """The /proc that this process sees: that of the namespace it is in."""
        return Path(f"/proc/{self.pid}/root/proc")


@dataclass(frozen=True)
class Inside:
    """A way into the namespaces that `holder` holds."""

    holder: Process
    state: Path

    def argv(self, *command: str | Path) -> list[str]:
        enter = ["nsenter", "-t", str(self.holder.pid), "--mount", "--uts", "--net", "--pid", "--"]
        return enter + [str(word) for word in command]

    def run(self, *command: str | Path) -> str:
        done = subprocess.run(self.argv(*command), capture_output=True, text=True, check=False)
        if done.returncode:
            msg = f"{' '.join(map(str, command))}: {done.stderr.strip() or done.stdout.strip()}"
            raise BedError(msg)
        return done.stdout

    def spawn(self, name: str, command: Sequence[str | Path], env: Mapping[str, str] | None = None) -> None:
        """Start a daemon that outlives us: the shell ends at once and process 1 of the namespace adopts its child."""
        log = self.state / "logs" / f"{name}.log"
        script = 'log=$1; shift; setsid "$@" >>"$log" 2>&1 </dev/null & echo $!'
        environment = {**os.environ, **(env or {})}
        argv = self.argv("/bin/sh", "-c", script, "sh", log, *command)
        done = subprocess.run(argv, capture_output=True, text=True, check=True, env=environment, cwd=self.state)
        pid = int(done.stdout)
        wait_for(f"the start of {name}", lambda: start_time(pid, self.holder.proc) is not None, seconds=5, hint=log)
        process = Process(pid, start_time(pid, self.holder.proc) or 0)
        folder = self.state / "processes"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(asdict(process)))

    def running(self, name: str) -> bool:
        """Whether the daemon that was started under this name still runs."""
        try:
            recorded = Process(**json.loads((self.state / "processes" / f"{name}.json").read_text()))
        except (OSError, ValueError, TypeError):
            return False
        proc = self.holder.proc
        return start_time(recorded.pid, proc) == recorded.started and state(recorded.pid, proc) != "Z"

    def daemons(self) -> dict[str, int | None]:
        """Every daemon that was started, with its PID as the host sees it, or None if it has ended."""
        outer = self._outer_pids()
        found: dict[str, int | None] = {}
        for file in sorted((self.state / "processes").glob("*.json")):
            pid = json.loads(file.read_text())["pid"]
            found[file.stem] = outer.get(pid) if self.running(file.stem) else None
        return found

    def _outer_pids(self) -> dict[int, int]:
        namespace = Path(f"/proc/{self.holder.pid}/ns/pid").readlink()
        pids: dict[int, int] = {}
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                if (folder / "ns/pid").readlink() != namespace:
                    continue
                lines = (folder / "status").read_text().splitlines()
            except OSError:
                continue
            levels = next(line for line in lines if line.startswith("NSpid:")).split()
            pids[int(levels[-1])] = int(folder.name)
        return pids
