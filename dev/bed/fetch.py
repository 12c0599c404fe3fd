"""What images are made of, from the package registries and the machine's own apt sources; fetched once, then cached."""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable
from pathlib import Path

from dev.bed.paths import REPO, cache, content_key, locked
from dev.bed.say import BedError, run_logged

# Native libraries of other machines: a third of Cassandra's jars by size.
FOREIGN = ("-osx-", "-windows-", "-riscv64", "-aarch_64" if os.uname().machine == "x86_64" else "-x86_64")
# A quarter of the base: Perl beside dpkg's own, other languages' character sets, what only compilers and screens use.
UNUSED = (
    *("usr/share/perl", "usr/lib/x86_64-linux-gnu/perl", "usr/share/fonts", "usr/share/info", "var/cache/debconf"),
    *("usr/lib/jvm/*/lib/ct.sym", "usr/lib/jvm/*/lib/server/classes_nocoops.jsa"),
)


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
    argv: list[str | Path] = ["mvn", "-B", "-f", pom, "dependency:copy-dependencies", "-DincludeScope=runtime"]
    argv += [f"-DoutputDirectory={target}", f"-DexcludeTransitive={str(not transitive).lower()}"]
    run_logged(f"fetching the jars of {pom.parent.name} (Maven)", argv, _log(f"maven-{pom.parent.name}"))


def jars(name: str) -> Path:
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


def requirements() -> list[str] | None:
    file = REPO / "pyproject.toml"
    if not file.exists():
        return None
    wanted: list[str] = tomllib.loads(file.read_text())["project"].get("dependencies", [])
    return sorted(wanted)


def wheels(requirements: list[str]) -> Path:
    """Wheels for Debian 12's Python, whichever Python runs this."""

    def make(work: Path) -> None:
        (work / "requirements.txt").write_text("\n".join(requirements) + "\n")
        own = [sys.executable, "-m", "pip"] if importlib.util.find_spec("pip") else ["pip3"]
        argv = [*own, "download", "--only-binary=:all:", "--python-version=3.11"]
        argv += ["--implementation=cp", "--abi=cp311", "--abi=abi3", "--abi=none"]
        machine = os.uname().machine
        argv += [f"--platform=manylinux{tag}_{machine}" for tag in ("_2_34", "_2_28", "_2_17", "2014")]
        argv += [f"--platform=linux_{machine}", f"--dest={work}", "pip", f"--requirement={work}/requirements.txt"]
        run_logged("fetching the operator's wheels (pip)", argv, _log("pip"))

    return _cached("wheels", content_key(*requirements), make)


def base() -> Path:
    """A root file system of Debian 12 with a JRE and Python, from the machine's own apt sources."""
    options = ["--variant=minbase", "--include=openjdk-17-jre-headless,python3,ca-certificates"]
    options += [f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in ("doc", "man", "locale")]
    options.append('--essential-hook=mkdir -p "$1/usr/share/man/man1"')  # where Java's packages put links
    options.append(f'--customize-hook=cd "$1" && rm -rf {" ".join(UNUSED)}')

    def make(work: Path) -> None:
        form = "deb $(REPO_URI) $(RELEASE) $(COMPONENT)"
        argv = ["apt-get", "indextargets", "--format", form, "Created-By: Packages", "Origin: Debian"]
        lines = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()
        sources = work / "sources.list"
        sources.write_text("\n".join(line for line in dict.fromkeys(lines) if "bookworm" in line) + "\n")
        build: list[str | Path] = ["mmdebstrap", *options, "bookworm", work / "rootfs.tar", sources]
        run_logged("building the images' base (mmdebstrap)", build, _log("base"))

    return _cached("base", content_key(*options), make)
