"""The keys that backups are encrypted with: one file, or a directory of several, of which the last by name writes.

A key is 32 random bytes, as they are or as 64 hex digits or base64. Its id is made of it, so a key that is renamed is
the same key, and another one under its name is another. Whoever has a key reads what it wrote; so a rotation is a
second file beside the first. Nothing here says a key in a message, a log or a ``repr``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import TYPE_CHECKING

from agent.errors import AgentError, Reason

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

SIZE = 32  # bytes
_LONGEST = 4096  # bytes of a file; what is longer is no key
_HEX = re.compile(rb"[0-9a-fA-F]{64}\Z")


class Key:
    """One, which gives out only what was derived from it."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self.id = self.derive("id", b"", 8).hex()

    def derive(self, purpose: str, data: bytes, size: int = SIZE) -> bytes:
        """A pseudorandom function of ``data``, another one for each purpose (at most 11 characters)."""
        person = b"cas-" + purpose.encode()
        return hashlib.blake2b(data, digest_size=size, key=self._secret, person=person).digest()

    def __repr__(self) -> str:
        return f"Key({self.id})"


class KeyRing:
    """``current`` writes; None: nothing is encrypted. ``where`` is for messages."""

    def __init__(self, keys: Iterable[Key] = (), where: str = "") -> None:
        ordered = list(keys)
        self.current = ordered[-1] if ordered else None
        self._keys = {key.id: key for key in ordered}
        self._where = where

    def __contains__(self, key_id: str) -> bool:
        return key_id in self._keys

    def find(self, key_id: str) -> Key:
        """EncryptionKeyMissing where it is not here."""
        if (key := self._keys.get(key_id)) is not None:
            return key
        there = f"{self._where} has {', '.join(self._keys)}" if self._keys else "this agent was given no key"
        message = f"this is encrypted with the key {key_id}, and {there}: add the file of that key"
        raise AgentError(Reason.ENCRYPTION_KEY_MISSING, message)


def read(path: Path | None) -> KeyRing:
    """Blocks. EncryptionKeyInvalid for what cannot be read as a key; None is a ring without keys."""
    if path is None:
        return KeyRing()
    try:
        files = _files(path) if path.is_dir() else [path]
        keys = [Key(_parse(file, _content(file))) for file in files]
    except OSError as error:
        where = error.filename or path
        raise _invalid(f"{where} cannot be read ({error.strerror or error}): mount the Secret there") from error
    if not keys:
        raise _invalid(f"{path} is a directory without a key: put a file of 32 random bytes into it")
    return KeyRing(keys, str(path))


def _files(directory: Path) -> list[Path]:
    """A mounted Secret has links beside a hidden directory of what they point to."""
    return sorted(file for file in directory.iterdir() if not file.name.startswith(".") and not file.is_dir())


def _content(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(_LONGEST + 1)


def _parse(file: Path, data: bytes) -> bytes:
    text = data.strip()
    if _HEX.match(text):
        secret = bytes.fromhex(text.decode())
    elif len(data) == SIZE and not _is_text(data):
        secret = data
    else:
        secret = _base64(text)
    if len(secret) != SIZE:
        raise _invalid(
            f"{file} has {len(data)} bytes and is no key of {SIZE} random ones, plain, hex or base64: {_MAKE}"
        )
    if len(set(secret)) == 1:
        raise _invalid(f"{file} is one byte {SIZE} times, which is no key: {_MAKE}")
    return secret


def _is_text(data: bytes) -> bool:
    """As random bytes never are: a password is no key."""
    try:
        return data.decode().isprintable()
    except UnicodeDecodeError:
        return False


def _base64(text: bytes) -> bytes:
    """Empty for what is none."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return b""


_MAKE = "make one with `openssl rand -hex 32`"


def _invalid(what: str) -> AgentError:
    return AgentError(Reason.ENCRYPTION_KEY_INVALID, f"the encryption key cannot be used: {what}")
