"""Every format of a manifest that was ever written is read, and restores.

``golden/format-<n>.json.zst`` are the bytes that the agent of that time wrote of the files below. They never change.
``format-2-lines`` is 2 with a delta, and a line an SSTable; ``format-3`` is encrypted with :data:`KEY`.
"""

from __future__ import annotations

import hashlib
import random
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent import catalog
from agent.catalog import MANIFEST_FORMAT
from agent.coding import Coding
from agent.keys import Key, KeyRing
from agent.protocol import State
from backends.base import BytesBody
from backends.checksums import crc32c
from backends.memory import MemoryStore
from tests.fakes.sstables import live_files, table_id
from tests.unit.agent.backups import PATH
from tests.unit.agent.test_bundle import restored

if TYPE_CHECKING:
    from agent.catalog import Manifest

GOLDEN = sorted(Path(__file__).with_name("golden").glob("*.json.zst"))
GOLDEN_BYTES = {path: path.read_bytes() for path in GOLDEN}
NEWEST = "format-3.json.zst"
NAMES = [path.name.partition(".")[0] for path in GOLDEN]
DIGESTS = {
    "format-1": "a522bede5f6e0675bd98f2f5eac4558f4bc13c7a87d13268a37e42711b726d9a",
    "format-2": "52868112e2ad2df310bf31ef91db01d5f09ba4beab25b8c8fb4a90f3060b62cc",
    "format-3": "ac730f2a20a895f012d10d8fb994831810b9c35e172b7af46f0b008d775ed425",
    "format-2-lines": "61d3fde45ef38f6e715137a587e5307be828fcaac121fd5ddef893b793407ded",
}
KEY = bytes(range(32))
CODING = Coding(KeyRing([Key(KEY)]))
USERS = f"app/users-{table_id(1)}"


def noise(component: str, size: int) -> bytes:
    return random.Random(component).randbytes(size)


def files() -> dict[str, bytes]:
    """Below the data directory."""
    content = noise("Data.db", (1 << 20) + 7)
    found = {
        "Data.db": content,
        "Digest.crc32": str(zlib.crc32(content)).encode(),
        "Index.db": noise("Index.db", 700),
        "Rows.db": b"",
        "Statistics.db": noise("Statistics.db", 80),
        "TOC.txt": b"Data.db\nDigest.crc32\nIndex.db\nRows.db\nStatistics.db\nTOC.txt\n",
    }
    return {f"{USERS}/nb-1-big-{name}": content for name, content in found.items()} | {
        f"{USERS}/.by_name/nb-2-big-{name}": content for name, content in found.items()
    }


def test_there_is_one_of_every_format() -> None:
    formats = {catalog.decode_manifest(path.read_bytes()).format for path in GOLDEN}
    assert formats == set(range(1, MANIFEST_FORMAT + 1))


@pytest.mark.parametrize("path", GOLDEN, ids=NAMES)
def test_they_are_what_they_were(path: Path) -> None:
    assert hashlib.sha256(path.read_bytes()).hexdigest() == DIGESTS[path.name.partition(".")[0]]
    manifest = catalog.decode_manifest(path.read_bytes())
    assert (manifest.tag, manifest.cluster, manifest.node) == ("t1", "my cluster", "c-0")
    assert manifest.tokens == ["-3074457345618258603", "3074457345618258602"]
    assert manifest.settings == {"num_tokens": 16, "uuid_sstable_identifiers_enabled": True, "none": None}
    sizes = {
        f"{table.path.relative}/{catalog.file_name(sstable.name, one.name)}": one.size
        for table in manifest.tables
        for sstable in table.sstables
        for one in sstable.components
    }
    assert sizes == {name: len(content) for name, content in files().items()}


@pytest.mark.parametrize("path", GOLDEN, ids=NAMES)
async def test_they_restore(path: Path, tmp_path: Path) -> None:
    store = MemoryStore()
    data = GOLDEN_BYTES[path]
    manifest = CODING.reveal(catalog.decode_manifest(data))
    for key, content in objects(manifest).items():
        await store.put(PATH.root + key, BytesBody(content))
    await store.put(PATH.manifest("t1"), BytesBody(data))
    operation = await restored(store, catalog.digest(data), tmp_path, codings=lambda: CODING)
    assert operation.state is State.SUCCEEDED, operation.error
    assert live_files(tmp_path / "data") == files()


def objects(manifest: Manifest) -> dict[str, bytes]:
    """Each as the manifest says that it is made up; what it says nothing of is noise."""
    sizes = [catalog.size_in(catalog.split_key(stored.key)[0]) for stored in manifest.objects]
    names = [stored.key for stored in manifest.objects]
    found = [bytearray(random.Random(name).randbytes(size)) for name, size in zip(names, sizes, strict=True)]
    for table in manifest.tables:
        for sstable in table.sstables:
            for one in sstable.components:
                content = files()[f"{table.path.relative}/{catalog.file_name(sstable.name, one.name)}"]
                crc = zlib.crc32(content) if one.name == "Data.db" else crc32c(content)
                assert (one.size, one.crc if one.size else crc) == (len(content), crc)
                if one.size:
                    found[one.object][one.offset : one.offset + one.size] = content
    return {name: encoded(name, bytes(content)) for name, content in zip(names, found, strict=True)}


def encoded(key: str, content: bytes) -> bytes:
    sealer = CODING.sealer(key)
    return content if sealer is None else sealer.whole(content)


def test_an_encrypted_object_is_what_it_was() -> None:
    """The checksums that the manifest has are of bytes that were written then."""
    manifest = CODING.reveal(catalog.decode_manifest(Path(__file__).with_name("golden").joinpath(NEWEST).read_bytes()))
    made = objects(manifest)
    assert [crc32c(made[stored.key]) for stored in manifest.objects] == [one.crc32c for one in manifest.objects]
