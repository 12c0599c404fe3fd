"""A real server of a test: a process on a free port of loopback."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import pytest

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[2]


def program(tool: str) -> str:
    """Its path; built where it is missing."""
    found = subprocess.run([sys.executable, ROOT / "dev/tool", tool], check=True, capture_output=True, text=True)
    return found.stdout.strip()


def answers(url: str, trust: ssl.SSLContext | None = None) -> Callable[[], None]:
    """For ``started``: OSError until the url is answered with a 200."""

    def ask() -> None:
        with urllib.request.urlopen(url, timeout=10, context=trust):
            pass

    return ask


@contextmanager
def started(
    command: Sequence[str], environment: Mapping[str, str], directory: Path, ask: Callable[[], None], *, patience: float
) -> Iterator[None]:
    """Runs it until the end of the block, which begins when ``ask`` raises no OSError. Its log is in ``directory``."""
    directory.mkdir(exist_ok=True)
    log = directory / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env={**environment, "HOME": str(directory)}, stdout=output, stderr=subprocess.STDOUT
        )
    deadline = time.monotonic() + patience
    try:
        while True:
            try:
                ask()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{Path(command[0]).name} does not start: {log.read_text()}") from None
                time.sleep(0.05)  # another process: there is nothing to wait on
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def server(
    name: str, running: Callable[[Path], AbstractContextManager[T]], scope: Literal["module", "session"]
) -> Callable[..., Iterator[T]]:
    """A fixture of that name: a server that ``running`` starts on a directory of its own."""

    @pytest.fixture(scope=scope, name=name)
    def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[T]:
        with running(tmp_path_factory.mktemp(name) / "server") as made:
            yield made

    return serve
