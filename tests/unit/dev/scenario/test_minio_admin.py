"""The encryption of the admin API, read back as the server does it."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from dev.scenario.minio_admin import deny_writes_below, encrypt


def decrypt(password: str, data: bytes) -> bytes:
    salt, algorithm, nonce, ciphertext = data[:32], data[32], data[33:41], data[41:]
    assert algorithm == 2
    cipher = AESGCM(hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 8192, 32))
    tag = cipher.encrypt(nonce + bytes(4), b"", b"")
    return cipher.decrypt(nonce + b"\1\0\0\0", ciphertext, b"\x80" + tag)


def test_it_comes_back_with_the_password_alone() -> None:
    data = encrypt("password", b'{"secretKey": "x"}')
    assert decrypt("password", data) == b'{"secretKey": "x"}'
    with pytest.raises(InvalidTag):
        decrypt("another", data)


def test_more_than_a_fragment_is_refused() -> None:
    with pytest.raises(ValueError, match="fragment"):
        encrypt("password", bytes(20_000))


def test_a_denial_names_the_prefix() -> None:
    denial = deny_writes_below("bucket", "cluster/dc/pod/")[-1]
    assert denial["Effect"] == "Deny"
    assert denial["Resource"] == ["arn:aws:s3:::bucket/cluster/dc/pod/*"]
