"""What an object's name says of its encoding, done: the one place between what is on a node and what is in a bucket.

The name tells which key, so whoever reads or sends an object asks for its name and cannot take another encoding. What a
new backup writes is decided by ``Coding.name``: the current key's, or none.

Names and manifests hold no checksum of a content that is encrypted. A name has a keyed hash of it; a manifest's ``crc``
is masked with a number that only the key tells, another one for each component and content.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from agent import catalog, keys
from agent.catalog import MANIFEST_FORMAT, PLAIN_FORMAT, Encoding
from agent.frames import Sealer
from agent.keys import KeyRing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from agent.catalog import Manifest, StoredObject
    from agent.keys import Key

    Sums = Callable[[str, int], int]


Codings: TypeAlias = "Callable[[], Coding]"  # what handlers get: keys are read when a piece of work begins


class Coding:
    """Of one piece of work: keys that are added meanwhile are the next one's."""

    def __init__(self, ring: KeyRing | None = None) -> None:
        self.ring = ring or KeyRing()

    @property
    def format(self) -> int:
        """Of a manifest that is written: the lowest that says it, so that older agents read what they can."""
        return PLAIN_FORMAT if self.ring.current is None else MANIFEST_FORMAT

    @property
    def key_ids(self) -> list[str]:
        """What is written now needs them."""
        return [self.ring.current.id] if self.ring.current is not None else []

    def name(self, identity: str) -> str:
        """The identity of what would have this one plain, as it is written now."""
        key = self.ring.current
        if key is None:
            return identity
        hashed = key.derive("name", identity.encode(), 16).hex()
        return catalog.encoded_identity(identity, Encoding(key.id), hashed)

    def size(self, content: int) -> int:
        """Bytes of an object that has so many, as it is written now."""
        return catalog.encoded_size(content, Encoding(self.key_ids[0])) if self.ring.current else content

    def writes(self, identity: str) -> bool:
        """An object of that name has today's encoding."""
        key = self.ring.current
        return catalog.encoding_in(identity).key_id == ("" if key is None else key.id)

    def sums(self, identity: str) -> Sums:
        """(component, its ``crc``) -> what a manifest has as its ``crc``, and back: it is its own inverse.

        EncryptionKeyMissing.
        """
        key_id = catalog.encoding_in(identity).key_id
        return _masked(self.ring.find(key_id), identity) if key_id else _same

    def sealer(self, key: str) -> Sealer | None:
        """For the object of that key, relative to the node's root; None for a plain one. EncryptionKeyMissing."""
        identity, _ = catalog.split_key(key)
        key_id = catalog.encoding_in(identity).key_id
        return Sealer(self.ring.find(key_id), key, catalog.size_in(identity)) if key_id else None

    def has(self, key: str) -> bool:
        """The key of this object is here, or it needs none."""
        key_id = catalog.encoding_in(key).key_id
        return not key_id or key_id in self.ring

    def check(self, objects: Iterable[StoredObject]) -> None:
        """EncryptionKeyMissing where one of them cannot be read."""
        for key_id in sorted({catalog.encoding_in(one.key).key_id for one in objects} - {""}):
            self.ring.find(key_id)

    def reveal(self, manifest: Manifest) -> Manifest:
        """It, with the checksums as they are; masked ones stay where the key is not here. Blocks."""
        if manifest.format < MANIFEST_FORMAT:
            return manifest
        known: list[Sums | None] = [
            self.sums(catalog.split_key(one.key)[0]) if self.has(one.key) else None for one in manifest.objects
        ]
        for table in manifest.tables:
            for sstable in table.sstables:
                components = list(sstable.components)
                for one in components:
                    if one.size and (sums := known[one.object]) is not None:
                        one.crc = sums(one.name, one.crc)
                sstable.components = catalog.like(sstable.components, components)
        return manifest


def from_files(path: Path | None) -> Codings:
    """Of what :func:`keys.read` says. The call blocks."""
    return lambda: Coding(keys.read(path))


def _masked(key: Key, identity: str) -> Sums:
    def sums(component: str, crc: int) -> int:
        return crc ^ int.from_bytes(key.derive("mask", f"{identity}\n{component}".encode(), 4))

    return sums


def _same(_component: str, crc: int) -> int:
    return crc
