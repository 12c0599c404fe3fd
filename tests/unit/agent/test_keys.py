"""Keys: every way to write one down, which of them writes, and what is said of a file that is none."""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING

import pytest

from agent import keys
from agent.errors import AgentError, Reason

if TYPE_CHECKING:
    from pathlib import Path

SECRET = bytes(range(32))
OTHER = bytes(range(1, 33))


@pytest.mark.parametrize(
    "written",
    [
        SECRET,
        SECRET.hex().encode(),
        SECRET.hex().upper().encode() + b"\n",
        base64.b64encode(SECRET),
        base64.b64encode(SECRET) + b"\r\n",
    ],
    ids=["raw", "hex", "upper", "base64", "base64 of a windows editor"],
)
def test_however_it_is_written_it_is_the_same_key(tmp_path: Path, written: bytes) -> None:
    (tmp_path / "key").write_bytes(written)
    ring = keys.read(tmp_path / "key")
    assert ring.current is not None
    assert ring.current.id == keys.Key(SECRET).id
    assert ring.current.derive("x", b"y") == keys.Key(SECRET).derive("x", b"y")


def test_a_raw_key_may_end_with_what_looks_like_space(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(SECRET[:31] + b"\n")
    ring = keys.read(tmp_path / "key")
    assert ring.current is not None
    assert ring.current.id == keys.Key(SECRET[:31] + b"\n").id


def test_of_a_directory_the_last_by_name_writes_and_all_read(tmp_path: Path) -> None:
    """As a Secret is mounted: links to a hidden directory's files."""
    hidden = tmp_path / "..2026_11"
    hidden.mkdir()
    (tmp_path / "..data").symlink_to(hidden.name)
    for name, secret in (("2026-11", SECRET), ("2026-02", OTHER)):
        (hidden / name).write_bytes(secret.hex().encode())
        (tmp_path / name).symlink_to(f"..data/{name}")
    ring = keys.read(tmp_path)
    assert ring.current is not None
    assert ring.current.id == keys.Key(SECRET).id
    assert ring.find(keys.Key(OTHER).id).id == keys.Key(OTHER).id


@pytest.mark.parametrize(
    "written",
    [
        b"",
        SECRET[:31],
        SECRET + b"\0",
        SECRET.hex().encode()[:63],
        os.urandom(5000),
        b"correct horse battery staple 123",
        SECRET.hex().encode()[:32] + b"\n",
        base64.b64encode(SECRET[:16]),
        b"\0" * 32,
        b"00" * 32,
        "ключ".encode() * 4,
    ],
)
def test_what_is_no_key_is_refused_and_never_told(tmp_path: Path, written: bytes) -> None:
    (tmp_path / "key").write_bytes(written)
    with pytest.raises(AgentError) as caught:
        keys.read(tmp_path / "key")
    assert caught.value.reason is Reason.ENCRYPTION_KEY_INVALID
    assert "openssl rand -hex 32" in caught.value.message
    assert written.strip()[:8].decode("latin-1") not in caught.value.message or not written.strip()


def test_a_path_with_nothing_to_read_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(AgentError) as caught:
            keys.read(path)
        assert caught.value.reason is Reason.ENCRYPTION_KEY_INVALID
        assert str(path) in caught.value.message


def test_a_missing_key_is_said_by_its_id_and_what_there_is(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(SECRET)
    for ring, there in ((keys.read(tmp_path), keys.Key(SECRET).id), (keys.read(None), "given no key")):
        with pytest.raises(AgentError) as caught:
            ring.find("0123456789abcdef")
        assert caught.value.reason is Reason.ENCRYPTION_KEY_MISSING
        assert "0123456789abcdef" in caught.value.message
        assert there in caught.value.message


def test_nothing_shows_the_key() -> None:
    key = keys.Key(SECRET)
    assert repr(key) == f"Key({key.id})"
    assert SECRET.hex()[:8] not in repr(vars(keys.KeyRing([key])))
    assert key.derive("name", b"x") != key.derive("mask", b"x")
