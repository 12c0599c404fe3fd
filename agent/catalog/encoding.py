"""How an object is encoded, as its name says it, and what that makes of its size. What does it is agent/coding.py.

An encrypted object is frames, one for each ``FRAME`` bytes of its content and one for the rest: a nonce of 12 bytes,
as many bytes of ciphertext, a tag of 16. A compressed one is segments of its content, after a header that has the size
of each: agent/segments.py. One that is both has the header, and each segment, as frames of their own.
"""

from __future__ import annotations

import re
from typing import NamedTuple

FRAME = 1 << 20  # bytes; a chunk of those that bodies are read in
OVERHEAD = 12 + 16  # bytes of each frame that are none of the content's
SEGMENT = 16 << 20  # bytes of content, the least
SEGMENTS = 900  # the most; a store takes 1,000 parts and more
_ENCODED = re.compile(
    r"~[0-9]{1,19}-(?P<packed>z?)(?:e(?P<key>[0-9a-f]{16}))?-(?:[0-9a-f]{32}|[0-9a-f]{8})(?:-[A-Za-z0-9]{1,32})?\Z"
)


class Encoding(NamedTuple):
    """``key_id`` is empty where an object is not encrypted."""

    key_id: str = ""
    compressed: bool = False

    def __str__(self) -> str:
        """As names have it."""
        return f"{'z' if self.compressed else ''}{f'e{self.key_id}' if self.key_id else ''}"


PLAIN = Encoding()


def encoding_in(key: str) -> Encoding:
    """Of a key or an identity."""
    found = _ENCODED.search(key)
    return PLAIN if found is None else Encoding(found["key"] or "", bool(found["packed"]))


def encoded_identity(identity: str, encoding: Encoding, hashed: str) -> str:
    """The identity of what is plain, as that of the encoded object: size and place stay, ``hashed`` is its keyed hash
    (32 hex digits); empty: the checksum stays too, as nothing is encrypted.
    """
    head, _, crc = identity.rpartition("-")
    return f"{head}-{encoding}-{hashed or crc}"


def encoded_size(content: int, encoding: Encoding) -> int:
    """Bytes of the object; -1 for a compressed one, which has to be made or asked for."""
    if encoding.compressed:
        return -1
    return content + OVERHEAD * frames(content) if encoding.key_id else content


def frames(content: int) -> int:
    return -(-content // FRAME)


def segment_size(content: int) -> int:
    """Bytes of content of each segment but the last."""
    return max(SEGMENT, -(-content // (SEGMENTS * FRAME)) * FRAME)


def unit(key: str, content: int) -> int:
    """Bytes of content that are read at once, whatever part of them is asked for."""
    encoding = encoding_in(key)
    if encoding.compressed:
        return segment_size(content)
    return FRAME if encoding.key_id else 1
