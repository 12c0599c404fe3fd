"""Where benchmarks keep things: everything below the cache, nothing in the checkout but the report."""

from __future__ import annotations

import socket
from pathlib import Path

from dev.bed.paths import cache

HERE = Path(__file__).resolve().parent
REPO = HERE.parent
RECIPE = "r1"  # a change in what the data sets hold gets another name


def root() -> Path:
    return cache() / "bench"


def sets(*, quick: bool) -> Path:
    return root() / f"{RECIPE}{'-quick' if quick else ''}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
