"""What stands beside each Dockerfile when an image is built: fetched and copied here, so that no build needs a network."""

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dev.bed.paths import RECIPES, REPO, cache, content_key, locked
from dev.bed.say import BedError, run_logged

# Native libraries of other machines: a third of Cassandra's jars by size.
FOREIGN = ("-osx-", "-windows-", "-riscv64", "-aarch_64" if os.uname().machine == "x86_64" else "-x86_64")
PACKAGES = ("controller", "reconcilers", "agent", "backends")


# Path in the build context -> file or folder to put there.
Parts = dict[str, Path]


# A quarter of the base: Perl beside dpkg's own, other languages' character sets, what only compilers and screens use.
UNUSED = (
    *("usr/share/perl", "usr/lib/x86_64-linux-gnu/perl", "usr/share/fonts", "usr/share/info", "var/cache/debconf"),
    *("usr/lib/jvm/*/lib/ct.sym", "usr/lib/jvm/*/lib/server/classes_nocoops.jsa"),
)


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
        words += [base().name] if self.based else []
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
            copy = _link if source.is_relative_to(cache()) else shutil.copy2
            if source.is_dir():
                shutil.copytree(source, stage / target, ignore=_UNUSED, dirs_exist_ok=True, copy_function=copy)
            else:
                (stage / target).parent.mkdir(parents=True, exist_ok=True)
                copy(source, stage / target)
        return stage


_UNUSED = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")


def _counts(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)


def _cached(kind: str, key: str, make: Callable[[Path], None]) -> Path:
    """The folder of that key, made by `make` in a temporary place and renamed."""
    final = cache() / kind / key
    if final.exists():
        return final
    with locked(f"{kind}-{key}"):
        if not final.exists():
            final.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".making-", dir=final.parent) as temporary:
                work = Path(temporary) / "made"
                work.mkdir()
                make(work)
                work.rename(final)
    return final


def _log(name: str) -> Path:
    return cache() / "logs" / f"{name}.log"


def _maven(pom: Path, target: Path, *, transitive: bool) -> None:
    if not shutil.which("mvn"):
        msg = "fetching jars from Maven Central needs mvn on the PATH"
        raise BedError(msg)
    argv = ["mvn", "-B", "-f", pom, "dependency:copy-dependencies", "-DincludeScope=runtime"]
    argv += [f"-DoutputDirectory={target}", f"-DexcludeTransitive={str(not transitive).lower()}"]
    run_logged(f"fetching the jars of {pom.parent.name} (Maven)", argv, _log(f"maven-{pom.parent.name}"))


def _jars(name: str) -> Path:
    source = REPO / "images" / name / "pom.xml"

    def make(work: Path) -> None:
        with tempfile.TemporaryDirectory(prefix=f"{name}-") as temporary:  # Maven writes beside the pom
            pom = Path(temporary) / name / "pom.xml"
            pom.parent.mkdir()
            shutil.copy(source, pom)
            _maven(pom, work, transitive=name == "cassandra")
        for jar in work.iterdir():
            if any(mark in jar.name for mark in FOREIGN):
                jar.unlink()

    return _cached("jars", f"{name}-{content_key(*FOREIGN, files=[source])}", make)


def _requirements() -> list[str] | None:
    file = REPO / "pyproject.toml"
    if not file.exists():
        return None
    wanted: list[str] = tomllib.loads(file.read_text())["project"].get("dependencies", [])
    return sorted(wanted)


def _wheels(requirements: list[str]) -> Path:
    """Wheels for Debian 12's Python, whichever Python runs this."""

    def make(work: Path) -> None:
        (work / "requirements.txt").write_text("\n".join(requirements) + "\n")
        argv = [sys.executable, "-m", "pip", "download", "--only-binary=:all:", "--python-version=3.11"]
        argv += ["--implementation=cp", "--abi=cp311", "--abi=abi3", "--abi=none"]
        machine = os.uname().machine
        argv += [f"--platform=manylinux{tag}_{machine}" for tag in ("_2_34", "_2_28", "_2_17", "2014")]
        argv += [f"--platform=linux_{machine}", f"--dest={work}", "pip", f"--requirement={work}/requirements.txt"]
        run_logged("fetching the operator's wheels (pip)", argv, _log("pip"))

    return _cached("wheels", content_key(*requirements), make)


def _cassandra() -> Parts:
    return {".": REPO / "images" / "cassandra", "lib": _jars("cassandra")}


def _operator() -> Parts | None:
    requirements = _requirements()
    if requirements is None:
        return None
    parts = {".": REPO / "images" / "operator", "wheels": _wheels(requirements)}
    (jar,) = _jars("operator").glob("jolokia-*.jar")
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


def base() -> Path:
    """A root file system of Debian 12 with a JRE and Python, from the machine's own apt sources."""
    options = ["--variant=minbase", "--include=openjdk-17-jre-headless,python3,ca-certificates"]
    for folder in ("doc", "man", "locale"):
        options.append(f"--dpkgopt=path-exclude=/usr/share/{folder}/*")
    options.append('--essential-hook=mkdir -p "$1/usr/share/man/man1"')  # where Java's packages put links
    options.append(f'--customize-hook=cd "$1" && rm -rf {" ".join(UNUSED)}')

    def make(work: Path) -> None:
        form = "deb $(REPO_URI) $(RELEASE) $(COMPONENT)"
        argv = ["apt-get", "indextargets", "--format", form, "Created-By: Packages", "Origin: Debian"]
        lines = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()
        sources = work / "sources.list"
        sources.write_text("\n".join(line for line in dict.fromkeys(lines) if "bookworm" in line) + "\n")
        build = ["mmdebstrap", *options, "bookworm", work / "rootfs.tar", sources]
        run_logged("building the images' base (mmdebstrap)", build, _log("base"))

    return _cached("base", content_key(*options), make)
