"""An encrypted object's frames: AES-256-GCM, each bound to its object, its place and to being the last one.

    object key = PRF(key, name of the object)          so no frame is right in another object
    frame      = nonce ‖ AES-256-GCM(object key, nonce, content, place ‖ last)
    nonce      = PRF(GHASH(place ‖ last ‖ content))    12 bytes; two contents never share one

The nonce follows from the content, as in AES-GCM-SIV: the same object is the same bytes whenever it is sent, so what
was half sent goes on, and a retry and a healing send what a checksum was recorded of; bytes that changed under a retry
get another nonce. GHASH costs a quarter of what encrypting does; GCM-SIV itself, as OpenSSL has it, fifteen times as
much. A reader needs none of that: it takes the nonce as it comes, and GCM says whether all is as it was.
"""

from __future__ import annotations

import hashlib
from struct import Struct
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from agent.catalog import FRAME, OVERHEAD, encoded_size, frames
from agent.catalog import Encoding as _Encoding

if TYPE_CHECKING:
    from agent.keys import Key

_NONCE = 12
_NO_NONCE = bytes(_NONCE)
_PLACE = Struct(">Q?")


class BadFrame(Exception):  # noqa: N818  reads as what it is
    """It is not what was written there."""


class Sealer:
    """Of one object of ``size`` bytes content. ``name`` is its key, relative to the node's root. Threads may share it.

    As an Encoder of a FileBody it makes a frame of each chunk.
    """

    def __init__(self, key: Key, name: str, size: int) -> None:
        self.content = size
        self._name = name
        self._encoding = _Encoding(key.id)
        self._last = frames(size) - 1
        whole = name.encode()
        self._cipher = AESGCM(key.derive("frame", whole))
        self._hash = AESGCM(key.derive("hash", whole))
        self._nonce_key = key.derive("nonce", whole)

    def size(self, offset: int, length: int) -> int:
        assert offset % FRAME == 0, offset
        return encoded_size(length, self._encoding)

    def __call__(self, offset: int, data: bytes | memoryview) -> bytes:
        index, rest = divmod(offset, FRAME)
        assert not rest, offset
        assert len(data) == min(FRAME, self.content - offset), (offset, len(data))
        return self.seal(index, data)

    def whole(self, data: bytes) -> bytes:
        """All frames of what is in memory."""
        view = memoryview(data)
        return b"".join([self(begin, view[begin : begin + FRAME]) for begin in range(0, len(data), FRAME)])

    def seal(self, index: int, data: bytes | memoryview) -> bytes:
        place = self._place(index)
        # The tag of no plaintext is GHASH of the rest, masked: it never leaves this function.
        hashed = self._hash.encrypt(_NO_NONCE, b"", b"".join((place, data)))
        nonce = hashlib.blake2b(hashed, digest_size=_NONCE, key=self._nonce_key).digest()
        return nonce + self._cipher.encrypt(nonce, data, place)

    def open(self, index: int, frame: bytes | bytearray | memoryview) -> bytes:
        """BadFrame for any other bytes than those that were written at this place of this object."""
        try:
            return self._cipher.decrypt(frame[:_NONCE], frame[_NONCE:], self._place(index))
        except (InvalidTag, ValueError) as error:
            message = f"its bytes from {index * (FRAME + OVERHEAD)} on are not what was encrypted there"
            raise BadFrame(message) from error

    def _place(self, index: int) -> bytes:
        return _PLACE.pack(index, index == self._last)
