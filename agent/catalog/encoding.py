"""How an object is encoded, as its name says it, and what that makes of its size. What does it is agent/coding.py.

An encrypted object is frames, one for each ``FRAME`` bytes of its content and one for the rest: a nonce of 12 bytes,
as many bytes of ciphertext, a tag of 16.
"""

from __future__ import annotations

import re
from typing import NamedTuple

FRAME = 1 << 20  # bytes; a chunk of those that bodies are read in
OVERHEAD = 12 + 16  # bytes of each frame that are none of the content's
_ENCODED = re.compile(r"~[0-9]{1,19}-e(?P<key>[0-9a-f]{16})-[0-9a-f]{32}(?:-[A-Za-z0-9]{1,32})?\Z")


class Encoding(NamedTuple):
    """``key_id`` is empty where an object is not encrypted."""

    key_id: str = ""


PLAIN = Encoding()


def encoding_in(key: str) -> Encoding:
    """Of a key or an identity."""
    found = _ENCODED.search(key)
    return PLAIN if found is None else Encoding(found["key"])


def encoded_identity(identity: str, encoding: Encoding, hashed: str) -> str:
    """The identity of what is plain, as that of the encoded object: size and place stay, ``hashed`` is its keyed hash
    (32 hex digits).
    """
    head, _, _ = identity.rpartition("-")
    return f"{head}-e{encoding.key_id}-{hashed}"


def encoded_size(content: int, encoding: Encoding) -> int:
    """Bytes of the object."""
    return content + OVERHEAD * frames(content) if encoding.key_id else content


def frames(content: int) -> int:
    return -(-content // FRAME)
