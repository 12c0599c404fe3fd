"""Where the bed keeps what it made: one cache for everything that survives, one folder per running cluster."""

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent.parent
RECIPES = REPO / "dev" / "recipes"


def cache() -> Path:
    """The root of the cache. Everything below it can be deleted while no cluster is up."""
    if own := os.environ.get("CASSANDRA_OPERATOR_CACHE"):
        return Path(own).absolute()
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home).absolute() / "cassandra-operator"


def content_key(*parts: str, files: Iterable[Path] = (), base: Path | None = None) -> str:
    """A short hash over `parts` and over names and contents of `files`: what a cache entry is called after."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() + b"\0")
    for file in sorted(files):
        name = file.relative_to(base) if base else Path(file.name)
        mode = "x" if os.access(file, os.X_OK) else "-"
        digest.update(f"{name}\0{mode}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:12]


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold a lock of this machine, so that two callers do not make the same thing twice."""
    path = cache() / "locks" / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
