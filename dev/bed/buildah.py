"""Building from a Dockerfile without a Docker daemon, into one OCI layout whose layers are plain tar files.

buildah would compress every layer at every export, the base of hundreds of MB included; but it leaves out a layer that
the layout has under the digest of its uncompressed content. So each layer is unpacked once after its first export,
and from then on an export writes only what is new, and containerd need not decompress.
"""

import contextlib
import gzip
import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from dev.bed import fetch
from dev.bed.paths import cache
from dev.bed.say import run_logged

KEEP = 3  # exported versions of one image
GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
PLAIN = "application/vnd.oci.image.layer.v1.tar"
_REF = "org.opencontainers.image.ref.name"


def layout() -> Path:
    return cache() / "images"


def blob(digest: str) -> Path:
    return layout() / "blobs" / digest.replace(":", "/")


def link_blobs(folder: Path) -> None:
    """Put every blob of the layout into another content store, without a copy where that can be."""
    folder.mkdir(parents=True)
    for file in (layout() / "blobs" / "sha256").glob("*"):
        with contextlib.suppress(OSError):  # another file system, or just collected: then it is imported
            os.link(file, folder / file.name)


def _log() -> Path:
    return cache() / "logs" / "buildah.log"


def _argv(*arguments: str | Path) -> list[str]:
    """Run buildah in a mount namespace of its own, so that what it mounts ends with it, however it ends."""
    root = cache() / "buildah"
    fixed = ["--root", root / "storage", "--runroot", root / "run", "--storage-driver", "overlay"]
    return ["unshare", "--mount", "--propagation", "private", "buildah", *map(str, fixed), *map(str, arguments)]


def _output(*arguments: str | Path) -> str:
    return subprocess.run(_argv(*arguments), capture_output=True, text=True, check=False).stdout.strip()


def index() -> dict[str, dict[str, Any]]:
    """Tag -> descriptor of what the layout holds."""
    file = layout() / "index.json"
    manifests = json.loads(file.read_text())["manifests"] if file.exists() else []
    return {one.get("annotations", {}).get(_REF, ""): one for one in manifests}


def base_image() -> str:
    rootfs = fetch.base()
    tag = f"localhost/bed-base:{rootfs.name}"
    if not _output("images", "--quiet", tag):
        script = """set -e
            made=$("$@" from scratch)
            "$@" add --quiet "$made" "$ROOTFS" /
            "$@" commit --quiet --disable-compression --rm "$made" "$TAG"
        """
        argv = ["env", f"ROOTFS={rootfs}/rootfs.tar", f"TAG={tag}", "sh", "-c", script, "sh", *_argv()]
        run_logged("importing the base image", argv, _log())
    return tag


def build(name: str, context: Path, tag: str, *, based: bool) -> None:
    """Build the context's Dockerfile and export it as `tag`. The caller holds the lock."""
    # What an interrupted build counted as mounted was mounted in a namespace that is gone.
    shutil.rmtree(cache() / "buildah" / "run", ignore_errors=True)
    local = f"localhost/bed-{name}:build"
    before = _output("images", "--quiet", "--no-trunc", local)
    argv = _argv("bud", "--layers", "--isolation=chroot", "--pull-never", "--format=oci", "--timestamp=0")
    argv += ["--build-arg", f"BASE_IMAGE={base_image()}"] if based else []
    run_logged(f"building the {name} image", [*argv, "--tag", local, str(context)], _log())
    run_logged(f"exporting the {name} image", _argv("push", "--quiet", local, f"oci:{layout()}:{tag}"), _log())
    _unpack(tag)
    _forget(f"{name}-")
    if before and before != _output("images", "--quiet", "--no-trunc", local):
        _output("rmi", before)


def _unpack(tag: str) -> None:
    """Replace compressed layers by their content, and the manifest by one that names it."""
    descriptor = index()[tag]
    manifest = json.loads(blob(descriptor["digest"]).read_text())
    digests = json.loads(blob(manifest["config"]["digest"]).read_text())["rootfs"]["diff_ids"]
    for layer, digest in zip(manifest["layers"], digests, strict=True):
        if layer["mediaType"] == GZIP and not blob(digest).exists():
            temporary = blob(digest).with_suffix(".making")
            with gzip.open(blob(layer["digest"])) as packed, temporary.open("wb") as plain:
                shutil.copyfileobj(packed, plain, 1 << 20)
            temporary.rename(blob(digest))
        layer.update(mediaType=PLAIN, digest=digest, size=blob(digest).stat().st_size)
    content = json.dumps(manifest).encode()
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    blob(digest).write_bytes(content)
    _write({**index(), tag: {**descriptor, "digest": digest, "size": len(content)}})


def _forget(prefix: str) -> None:
    """Drop old versions of one image, and the blobs that only they named."""
    entries = index()
    old = [tag for tag in entries if tag.startswith(prefix)][:-KEEP]
    entries = {tag: one for tag, one in entries.items() if tag not in old}
    _write(entries)
    used = set()
    for one in entries.values():
        manifest = json.loads(blob(one["digest"]).read_text())
        used |= {one["digest"], manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])}
    for file in (layout() / "blobs" / "sha256").iterdir():
        if f"sha256:{file.name}" not in used:
            file.unlink()


def _write(entries: dict[str, dict[str, Any]]) -> None:
    temporary = layout() / ".index.json"
    temporary.write_text(json.dumps({"schemaVersion": 2, "manifests": list(entries.values())}))
    temporary.replace(layout() / "index.json")
