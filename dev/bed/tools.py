"""Programs that the bed runs and that no package registry offers ready made: built once, then cached.

An entry of the cache is called after its version and a hash over its recipe, is built in a folder of its own and
renamed into place, so that a reader sees a whole program or none. One lock per recipe: the second caller waits
and finds the first one's work. To add a program, add one line to TOOLS (and, for Go, a go.mod in dev/recipes/).
"""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dev.bed.paths import RECIPES, cache, content_key, locked
from dev.bed.say import BedError, note, run_logged

KUBERNETES = "1.34.4"
_STAMP = "-X k8s.io/component-base/version."  # without it kubectl cannot parse the server's version
_KUBE_FLAGS = f"{_STAMP}gitVersion=v{KUBERNETES} {_STAMP}gitMajor=1 {_STAMP}gitMinor=34"


@dataclass(frozen=True)
class Go:
    """A program of a Go module, pinned by go.mod and go.sum of a recipe folder. One recipe is one invocation."""

    recipe: str
    package: str
    version: str
    ldflags: str = ""

    def key(self) -> str:
        folder = RECIPES / self.recipe
        files = [f for f in folder.iterdir() if f.suffix in {".go", ".mod", ".sum"}]
        return content_key(self.package, self.ldflags, platform.machine(), files=files)


@dataclass(frozen=True)
class Debian:
    """A program out of a Debian package, unpacked and not installed: no root, no service started."""

    recipe: str
    path: str
    version: str = "debian"

    def key(self) -> str:
        return content_key(self.recipe, self.path, platform.machine())


@dataclass(frozen=True)
class Npm:
    """A program of an npm package."""

    recipe: str
    path: str
    version: str

    def key(self) -> str:
        return content_key(self.recipe, self.path)


def _kube(name: str) -> Go:
    return Go("kubernetes", f"k8s.io/kubernetes/cmd/{name}", KUBERNETES, _KUBE_FLAGS)


TOOLS: dict[str, Go | Debian | Npm] = {
    "etcd": Debian("etcd-server", "usr/bin/etcd"),
    "kube-apiserver": _kube("kube-apiserver"),
    "kube-controller-manager": _kube("kube-controller-manager"),
    "kube-scheduler": _kube("kube-scheduler"),
    "kubelet": _kube("kubelet"),
    "kube-proxy": _kube("kube-proxy"),
    "kubectl": _kube("kubectl"),
    "coredns": Go("coredns", ".", "1.15.0"),
    "minio": Go("minio", "github.com/minio/minio", "20260212"),
    "fake-gcs-server": Go("fake-gcs-server", "github.com/fsouza/fake-gcs-server", "1.56.1"),
    "s5cmd": Go("s5cmd", "github.com/peak/s5cmd/v2", "2.3.0"),
    "azurite": Npm("azurite", "node_modules/.bin/azurite-blob", "3.37.0"),
}


def location(name: str) -> Path:
    """Where the cache has this program, or will have it."""
    tool = TOOLS[name]
    entry = cache() / "tools" / f"{name}-{tool.version}-{tool.key()}"
    return entry / (name if isinstance(tool, Go) else tool.path)


def ensure(names: Sequence[str]) -> dict[str, Path]:
    """Paths of these programs, each built if the cache has it not; programs of one recipe in one go."""
    paths = {name: location(name) for name in names}
    for recipe in dict.fromkeys(TOOLS[name].recipe for name in names):
        wanted = [name for name in names if TOOLS[name].recipe == recipe]
        if all(paths[name].exists() for name in wanted):
            continue
        with locked(f"tool-{recipe}"):
            missing = [name for name in wanted if not paths[name].exists()]
            if missing:
                _make(recipe, missing, paths)
    return paths


def _make(recipe: str, names: Sequence[str], paths: dict[str, Path]) -> None:
    root = cache() / "tools"
    root.mkdir(parents=True, exist_ok=True)
    log = cache() / "logs" / f"build-{recipe}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=root) as temporary:
        work = Path(temporary)
        tool = TOOLS[names[0]]
        if isinstance(tool, Go):
            entries = _go(recipe, names, work, log)
        elif isinstance(tool, Debian):
            entries = {name: _debian(recipe, work / name, log) for name in names}
        else:
            entries = {name: _npm(recipe, tool.version, work / name, log) for name in names}
        for name, made in entries.items():
            final = root / paths[name].relative_to(root).parts[0]
            shutil.rmtree(final, ignore_errors=True)
            made.rename(final)


def _go(recipe: str, names: Sequence[str], work: Path, log: Path) -> dict[str, Path]:
    if not shutil.which("go"):
        msg = f"building {', '.join(names)} needs Go (https://go.dev/dl) on the PATH"
        raise BedError(msg)
    tools = {name: tool for name in names if isinstance(tool := TOOLS[name], Go)}
    ldflags = f"-s -w {next(iter(tools.values())).ldflags}".rstrip()
    out = work / "out"
    packages = [tool.package for tool in tools.values()]
    # -v prints each package as it is compiled, which is what the progress line counts.
    target = [f"{out}/"] if packages != ["."] else [str(out / names[0])]
    argv = ["go", "build", "-v", "-trimpath", "-buildvcs=false", "-ldflags", ldflags, "-o", *target, *packages]
    run_logged(
        f"building {', '.join(names)} (Go, minutes where nothing is cached)",
        argv,
        log,
        cwd=RECIPES / recipe,
        env={**os.environ, "CGO_ENABLED": "0"},
        progress=_count_packages,
    )
    entries = {}
    for name in names:
        entries[name] = work / name
        entries[name].mkdir()
        (out / name).rename(entries[name] / name)
    return entries


def _count_packages(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    downloads = sum(line.startswith("go: downloading") for line in lines)
    return f"({downloads} modules fetched, {len(lines) - downloads} packages compiled)"


def _debian(package: str, work: Path, log: Path) -> Path:
    if not shutil.which("apt-get"):
        msg = f"fetching {package} needs apt-get; elsewhere put the program on the PATH"
        raise BedError(msg)
    work.mkdir(mode=0o755)
    simulated = ["apt-get", "download", "--print-uris", package]
    if subprocess.run(simulated, capture_output=True, check=False).returncode:
        run_logged("apt-get update", ["apt-get", "update"], log)
    # As root apt drops to a user of its own, who may not write here.
    fetch = ["apt-get", "-o", "APT::Sandbox::User=root", "download", package]
    run_logged(f"fetching {package} (apt)", fetch, log, cwd=work)
    (archive,) = work.glob("*.deb")
    run_logged(f"unpacking {package}", ["dpkg-deb", "-x", archive, work], log)
    archive.unlink()
    return work


def _npm(package: str, version: str, work: Path, log: Path) -> Path:
    argv = ["npm", "install", "--prefix", str(work), "--no-audit", "--no-fund", f"{package}@{version}"]
    run_logged(f"fetching {package} (npm)", argv, log)
    return work


def main(names: Sequence[str]) -> int:
    unknown = [name for name in names if name not in TOOLS]
    if unknown or not names:
        note(f"usage: dev/tool NAME...   NAME is one of: {' '.join(TOOLS)}")
        return 2
    try:
        paths = ensure(names)
    except BedError as error:
        note(str(error))
        return 1
    for name in names:
        print(paths[name])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
