"""What is remembered of files: right, or not there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from agent.cache import Cache
from agent.sstables import FoundFile

if TYPE_CHECKING:
    from pathlib import Path

OLD = 1_700_000_000


def found(path: Path) -> FoundFile:
    status = path.stat()
    return FoundFile("Index.db", path, status.st_size, status.st_dev, status.st_ino, status.st_mtime_ns)


def written(path: Path, data: bytes, seconds: float = OLD) -> FoundFile:
    path.write_bytes(data)
    os.utime(path, (seconds, seconds))
    return found(path)


def remember(cache: Cache, *files: FoundFile) -> None:
    known = cache.load()
    for number, file in enumerate(files):
        known.add(file, (1 << 32) - 1 - number)
    cache.keep(known)


def test_a_file_is_known_by_its_inode_under_any_name(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "state")
    files = [written(tmp_path / f"f{number}", b"abc") for number in range(5)]
    files.sort(key=lambda file: -file.inode)
    remember(cache, *files)
    os.link(files[3].path, tmp_path / "link")
    known = cache.load()
    assert known.get(found(tmp_path / "link")) == (1 << 32) - 4
    assert [known.get(file) for file in files] == [(1 << 32) - 1 - number for number in range(5)]


def test_one_that_goes_and_one_that_comes_is_a_change(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    remember(cache, written(tmp_path / "gone", b"abc"))
    new = written(tmp_path / "new", b"abc")
    remember(cache, new)
    assert cache.load().get(new) is not None


@pytest.mark.parametrize("field", ["device", "inode", "size", "mtime_ns"])
def test_another_file_is_not_known(tmp_path: Path, field: str) -> None:
    cache = Cache(tmp_path)
    file = written(tmp_path / "f", b"abc")
    remember(cache, file)
    setattr(file, field, getattr(file, field) + 1)
    assert cache.load().get(file) is None


def test_a_replaced_file_of_equal_size_and_time_is_another_one(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    remember(cache, written(tmp_path / "f", b"abc"))
    replacement = written(tmp_path / "tmp", b"xyz")
    (tmp_path / "tmp").replace(tmp_path / "f")
    assert found(tmp_path / "f") == FoundFile("Index.db", tmp_path / "f", *replacement_of(replacement))
    assert cache.load().get(found(tmp_path / "f")) is None


def replacement_of(file: FoundFile) -> tuple[int, int, int, int]:
    return file.size, file.device, file.inode, file.mtime_ns


def test_what_was_just_written_is_not_remembered(tmp_path: Path) -> None:
    """A coarse clock would not show a change after the read."""
    cache = Cache(tmp_path)
    (tmp_path / "new").write_bytes(b"abc")
    remember(cache, found(tmp_path / "new"))
    assert cache.load().get(found(tmp_path / "new")) is None


def test_what_no_backup_sees_any_more_goes(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    kept, gone = written(tmp_path / "kept", b"abc"), written(tmp_path / "gone", b"abc")
    remember(cache, kept, gone)
    before = (tmp_path / "checksums").stat().st_size
    known = cache.load()
    known.get(kept)
    cache.keep(known)
    assert (tmp_path / "checksums").stat().st_size == before - 12
    assert cache.load().get(kept) is not None
    assert cache.load().get(gone) is None


def test_nothing_new_is_nothing_to_write(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    file = written(tmp_path / "f", b"abc")
    remember(cache, file)
    before = (tmp_path / "checksums").stat().st_ino
    known = cache.load()
    known.get(file)
    cache.keep(known)
    assert (tmp_path / "checksums").stat().st_ino == before


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "other", "directory"])
def test_a_damaged_cache_knows_nothing(tmp_path: Path, damage: str) -> None:
    cache = Cache(tmp_path)
    file = written(tmp_path / "f", b"abc")
    remember(cache, file)
    path = tmp_path / "checksums"
    data = path.read_bytes()
    match damage:
        case "empty":
            path.write_bytes(b"")
        case "cut":
            path.write_bytes(data[:-12])
        case "flipped":
            path.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
        case "other":
            path.write_bytes(b"SQLite format 3\0" + data[16:])
        case "directory":
            path.unlink()
            path.mkdir()
    assert cache.load().get(file) is None
    known = cache.load()
    known.add(file, 5)
    cache.keep(known)  # a directory in its place is a disk that takes no more: no failure
    assert cache.load().get(file) == (None if damage == "directory" else 5)


def test_what_lied_is_forgotten(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    file = written(tmp_path / "f", b"abc")
    remember(cache, file)
    cache.forget()
    cache.forget()
    assert cache.load().get(file) is None
