"""Images: built where their content changed, and put into containerd where it has them not.

An image is called after the hash of its build context, so asking whether it has been built is looking up a name.
"""

import io
import json
import subprocess
import tarfile
from collections.abc import Sequence
from typing import Any

from dev.bed import buildah
from dev.bed.contexts import CASSANDRA, OPERATOR, PAUSE, Image
from dev.bed.paths import locked
from dev.bed.say import BedError, note
from dev.bed.settings import Settings

GROUPS = {"cassandra": (CASSANDRA,), "operator": (OPERATOR,), "all": (PAUSE, CASSANDRA, OPERATOR)}


def build(image: Image) -> dict[str, Any] | None:
    """The descriptor of the built image, or None where there is nothing to build it from yet."""
    parts = image.parts()
    if parts is None:
        return None
    tag = f"{image.name}-{image.key(parts)}"
    if tag not in buildah.index():
        with locked("buildah"):
            if tag not in buildah.index():
                buildah.build(image.name, image.stage(parts), tag, based=image.based)
    return buildah.index()[tag]


def _ctr(bed: Settings, *arguments: str) -> list[str]:
    return ["ctr", "--address", str(bed.containerd_socket), "--namespace", "k8s.io", *arguments]


def _output(argv: Sequence[str]) -> list[str]:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()


def loaded(bed: Settings) -> dict[str, str]:
    """Name -> digest of the images that containerd has."""
    rows = [line.split() for line in _output(_ctr(bed, "images", "list"))[1:]]
    return {row[0]: row[2] for row in rows if len(row) > 2}


def load(bed: Settings, image: Image, descriptor: dict[str, Any] | None) -> None:
    """Import a built image, unless containerd has it under all its names already."""
    if descriptor is None:
        note(f"  {image.name}: left out, there is no pyproject.toml yet")
        return
    with locked(f"load-{bed.name}"):
        have = loaded(bed)
        if all(have.get(name) == descriptor["digest"] for name in image.names):
            note(f"  {image.name}: loaded already")
        else:
            _import(bed, image, descriptor)
            note(f"  {image.name}: loaded as {', '.join(image.names)}")


def _import(bed: Settings, image: Image, descriptor: dict[str, Any]) -> None:
    """Stream an OCI archive to containerd, with only those blobs in it that containerd lacks."""
    present = set(_output(_ctr(bed, "content", "list", "--quiet")))
    manifest = json.loads(buildah.blob(descriptor["digest"]).read_text())
    blobs = [descriptor["digest"], manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])]
    missing = [digest for digest in dict.fromkeys(blobs) if digest not in present]
    names = [{**descriptor, "annotations": {"io.containerd.image.name": name}} for name in image.names]
    argv = _ctr(bed, "images", "import", "-")
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as ctr:
        assert ctr.stdin
        try:
            with tarfile.open(fileobj=ctr.stdin, mode="w|", bufsize=1 << 20) as tar:
                _add(tar, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
                _add(tar, "index.json", json.dumps({"schemaVersion": 2, "manifests": names}).encode())
                for digest in missing:
                    tar.add(buildah.blob(digest), f"blobs/{digest.replace(':', '/')}")
        except BrokenPipeError:
            pass  # its message says why
        _, error = ctr.communicate()
    if ctr.returncode:
        msg = f"containerd refused the {image.name} image: {error.decode().strip()}"
        raise BedError(msg)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))
