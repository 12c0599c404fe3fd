"""The images, and what stands beside each Dockerfile when it is built: all of it, so that no build needs a network."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dev.bed import fetch
from dev.bed.paths import RECIPES, REPO, cache, content_key
from dev.bed.say import BedError

PACKAGES = ("controller", "reconcilers", "agent", "backends")


# Path in the build context -> file or folder to put there.
Parts = dict[str, Path]


@dataclass(frozen=True)
class Image:
    """One image: how its build context is put together, and what it is called in the cluster."""

    name: str
    names: tuple[str, ...]
    parts: Callable[[], Parts | None]
    based: bool = True

    def key(self, parts: Parts) -> str:
        """The hash of what the build reads: of files by content, of cached folders by name, which is a hash already."""
        words = [f"{target} {source.name}" for target, source in parts.items() if source.is_relative_to(cache())]
        words += [fetch.base().name] if self.based else []
        for target, source in parts.items():
            if not source.is_relative_to(cache()):
                files = [path for path in source.rglob("*") if _counts(path)] if source.is_dir() else [source]
                words.append(target + content_key(files=files, base=source if source.is_dir() else source.parent))
        return content_key(*words)

    def stage(self, parts: Parts) -> Path:
        """The build context: a fresh folder with everything in its place."""
        stage = cache() / "contexts" / self.name
        shutil.rmtree(stage, ignore_errors=True)
        stage.mkdir(parents=True)
        for target, source in parts.items():
            copy = _link if source.is_relative_to(cache()) else _copy
            if source.is_dir():
                shutil.copytree(source, stage / target, ignore=_UNUSED, dirs_exist_ok=True, copy_function=copy)
            else:
                (stage / target).parent.mkdir(parents=True, exist_ok=True)
                copy(source, stage / target)
        return stage


_UNUSED = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")


def _counts(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")


def _copy(source: str | Path, target: str | Path) -> None:
    shutil.copy2(source, target)


def _link(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)


def _cassandra() -> Parts:
    return {".": REPO / "images" / "cassandra", "lib": fetch.jars("cassandra")}


def _operator() -> Parts | None:
    requirements = fetch.requirements()
    if requirements is None:
        return None
    parts = {".": REPO / "images" / "operator", "wheels": fetch.wheels(requirements)}
    (jar,) = fetch.jars("operator").glob("jolokia-*.jar")
    parts["lib/jolokia.jar"] = jar
    return parts | {f"app/{name}": REPO / name for name in PACKAGES if (REPO / name).is_dir()}


def _pause() -> Parts:
    busybox = shutil.which("busybox")
    if not busybox:
        msg = "the pause image needs busybox (Debian: busybox-static)"
        raise BedError(msg)
    return {".": RECIPES / "pause", "busybox": Path(busybox)}


PAUSE = Image("pause", ("localhost/pause:bed",), _pause, based=False)
CASSANDRA = Image("cassandra", ("gcr.io/cassandra-operator/cassandra:latest",), _cassandra)
OPERATOR = Image(
    "operator",
    ("docker.io/library/cassandra-operator:dev", "gcr.io/cassandra-operator/cassandra-sidecar:latest"),
    _operator,
)
