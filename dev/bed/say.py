"""Progress on stderr: what is being done, how far it is, how long it took."""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

EVERY = 10.0


class BedError(Exception):
    """Something that the user can act upon: printed without a traceback."""


def note(text: str) -> None:
    sys.stderr.write(f"{text}\n")  # one write: threads report too


def run_logged(
    title: str,
    argv: Sequence[str | Path],
    log: Path,
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    progress: Callable[[Path], str] = lambda _log: "",
) -> None:
    """Run a long command with its output in `log`, and say every ten seconds that it is still at work."""
    log.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    note(f"  {title} ...")
    with (
        log.open("ab") as out,
        subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, cwd=cwd, env=env
        ) as child,
    ):
        while True:
            try:
                code = child.wait(EVERY)
                break
            except subprocess.TimeoutExpired:
                note(f"  {title}: {time.monotonic() - began:.0f} s {progress(log)}".rstrip())
            except BaseException:
                child.terminate()
                raise
    if code:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        msg = f"{title} failed with code {code} after {time.monotonic() - began:.0f} s; log: {log}\n{tail}"
        raise BedError(msg)
    note(f"  {title}: done in {time.monotonic() - began:.1f} s")


class Steps:
    """Numbered steps of one verb, with the time since its start."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0
        self.began = time.monotonic()

    def __call__(self, text: str) -> None:
        self.done += 1
        note(f"[{self.done}/{self.total} {self.elapsed():5.1f} s] {text}")

    def elapsed(self) -> float:
        return time.monotonic() - self.began


def wait_for(what: str, ready: Callable[[], bool], *, seconds: float = 60.0, hint: Path | None = None) -> None:
    """Wait for a condition of the real thing, asking ten times a second."""
    until = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > until:
            where = f"; see {hint}" if hint else ""
            msg = f"{what} did not happen within {seconds:.0f} s{where}"
            raise BedError(msg)
        time.sleep(0.1)
