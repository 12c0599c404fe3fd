"""What the real cassandra-medusa 0.31.0 wrote, put into a store: see ``medusa/make.py``."""

from __future__ import annotations

import hashlib
import json
import tarfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.sstables import SKIPPED
from backends.base import BytesBody
from tests.fakes.sstables import live_files

if TYPE_CHECKING:
    from backends.base import ObjectStore

PREFIX = "some-prefix"  # of every key


@cache
def archive() -> dict[str, bytes]:
    found = {}
    with tarfile.open(Path(__file__).parent / "medusa" / "objects.tar.xz") as opened:
        for entry in opened:
            file = opened.extractfile(entry)
            assert file is not None
            found[entry.name] = file.read()
    return found


def expected(backup: str, node: str) -> dict[str, str]:
    """Path below the data directory -> SHA-256, of all that a restore brings back."""
    files: dict[str, str] = json.loads(archive()["expected.json"])[backup][node]
    return {path: digest for path, digest in files.items() if path.partition("/")[0] not in SKIPPED}


def hashes(data_dir: Path) -> dict[str, str]:
    return {path: hashlib.sha256(data).hexdigest() for path, data in live_files(data_dir).items()}


async def fill(store: ObjectStore, below: str = "") -> None:
    """As Medusa did: what its manifests say went up in parts goes up in parts, so S3 gives the same ETags."""
    in_parts: set[str] = set()
    for key, data in archive().items():
        if key.endswith("/meta/manifest.json"):
            sections: list[dict[str, Any]] = json.loads(data)
            in_parts |= {one["path"] for section in sections for one in section["objects"] if "-" in one["MD5"]}
    for key, data in archive().items():
        if key == "expected.json":
            continue
        target = f"{below}{key}"
        if key in in_parts:
            upload = await store.create_upload(target)
            part = await store.upload_part(target, upload, 1, BytesBody(data))
            await store.complete_upload(target, upload, [part])
        else:
            await store.put(target, BytesBody(data))
