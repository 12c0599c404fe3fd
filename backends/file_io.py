"""The blocking half of the file store: names, atomic publication, walking in key order. Runs in threads."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import time
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from backends.base import ObjectMeta, check_key
from backends.errors import Kind, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

RESERVED = ".store"  # below the root: temporary files and parts, on the same file system as what they become
ABANDONED = 24 * 3600.0  # a temporary file this old belongs to a process that is gone

ERRORS: dict[int, Kind] = {
    errno.ENOENT: Kind.NOT_FOUND,
    errno.EEXIST: Kind.ALREADY_EXISTS,
    errno.ENOSPC: Kind.STORE_FULL,
    errno.EDQUOT: Kind.STORE_FULL,
    errno.EACCES: Kind.FORBIDDEN,
    errno.EPERM: Kind.FORBIDDEN,
    errno.EROFS: Kind.FORBIDDEN,
    errno.ENAMETOOLONG: Kind.INVALID,
    errno.ELOOP: Kind.INVALID,  # a symbolic link where an object should be
    errno.ENOTDIR: Kind.INVALID,
    errno.EISDIR: Kind.INVALID,
    errno.ENOTEMPTY: Kind.INVALID,
}
HINTS: dict[Kind, str] = {
    Kind.NOT_FOUND: "there is no such object",
    Kind.ALREADY_EXISTS: "the object is there already",
    Kind.STORE_FULL: "the file system is full: make room, or delete old backups",
    Kind.FORBIDDEN: "the directory must be writable by this process",
    Kind.INVALID: "a key cannot be another key's directory, a link, or have names over 255 bytes",
}


def translate(error: Exception, operation: str, store: str, key: str) -> StoreError:
    """The StoreError for an OSError; what is not known may pass (a network file system's trouble)."""
    if isinstance(error, StoreError):
        return error
    number = error.errno if isinstance(error, OSError) else None
    kind = ERRORS.get(number or 0, Kind.UNAVAILABLE)
    words = os.strerror(number) if number else f"{type(error).__name__}: {error}"
    hint = HINTS.get(kind)
    return StoreError(kind, operation, store, key, f"{words} ({hint})" if hint else words)


@contextmanager
def translated(operation: str, store: str, key: str) -> Iterator[None]:
    try:
        yield
    except (OSError, StoreError) as error:
        raise translate(error, operation, store, key) from error


class Tree:
    """A directory as a set of keys."""

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.realpath(root))
        self.name = f"file://{self.root}"
        self.temporary = self.root / RESERVED / "tmp"
        self.uploads = self.root / RESERVED / "uploads"

    def path(self, key: str, operation: str) -> Path:
        """Where the object is. INVALID when the key, or a link on its way, leads out of the root or into our own."""
        check_key(key, operation, self.name)
        path = self.root / key
        parent = Path(os.path.realpath(path.parent))
        if key.partition("/")[0] == RESERVED or not parent.is_relative_to(self.root):
            raise StoreError(Kind.INVALID, operation, self.name, key, "the key leads out of the store")
        return path

    def meta(self, key: str, operation: str) -> ObjectMeta:
        try:
            found = os.lstat(self.path(key, operation))
        except NotADirectoryError:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from None
        return _meta(key, found)

    def open(self, key: str, operation: str) -> int:
        """To read. What is no file is not there."""
        path = self.path(key, operation)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except NotADirectoryError:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from None
        try:
            _meta(key, os.fstat(descriptor))
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def create(self) -> tuple[int, Path]:
        """A temporary file, to be published or removed."""
        self.temporary.mkdir(parents=True, exist_ok=True)
        path = self.temporary / uuid4().hex
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644), path

    def publish(self, descriptor: int, temporary: Path, key: str, operation: str, *, if_absent: bool) -> ObjectMeta:
        """The object appears whole, and stays after a power cut. FileExistsError when ``if_absent`` and it is there."""
        os.fsync(descriptor)
        path = self.path(key, operation)
        for last in (False, False, True):
            try:
                self._make_directories(path.parent)
                if if_absent:
                    os.link(temporary, path)
                    temporary.unlink()
                else:
                    temporary.replace(path)
                break
            except FileNotFoundError:  # a delete pruned the directory meanwhile
                if last:
                    raise
        sync_directory(path.parent)
        return _meta(key, os.fstat(descriptor))

    def _make_directories(self, directory: Path) -> None:
        if directory.is_dir():
            return
        if directory == self.root:
            directory.mkdir(parents=True, exist_ok=True)
            return
        self._make_directories(directory.parent)
        with suppress(FileExistsError):
            directory.mkdir()
        sync_directory(directory.parent)

    def remove(self, key: str) -> None:
        """Absent is fine; directories that it leaves empty go too."""
        path = self.path(key, "delete")
        try:
            path.unlink()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return
        for parent in path.parents:
            if parent == self.root:
                return
            try:
                parent.rmdir()
            except OSError:
                return

    def walk(self, prefix: str, start_after: str) -> Iterator[ObjectMeta]:
        yield from self._walk("", prefix, start_after)

    def _walk(self, directory: str, prefix: str, start_after: str) -> Iterator[ObjectMeta]:
        """A directory sorts as its name with the slash, so that keys come in order over all levels."""
        try:
            with os.scandir(self.root / directory) as entries:
                found = {
                    directory + entry.name + ("/" if entry.is_dir(follow_symlinks=False) else ""): entry
                    for entry in entries
                    if directory or entry.name != RESERVED
                }
        except (FileNotFoundError, NotADirectoryError):
            return
        for key in sorted(found):
            if key.endswith("/"):
                related = key.startswith(prefix) or prefix.startswith(key)
                if related and (key > start_after or start_after.startswith(key)):
                    yield from self._walk(key, prefix, start_after)
            elif key.startswith(prefix) and key > start_after:
                with suppress(FileNotFoundError):  # deleted meanwhile, or no file
                    yield _meta(key, found[key].stat(follow_symlinks=False))

    def sweep(self) -> None:
        """Removes temporary files that nobody will publish any more."""
        with suppress(FileNotFoundError), os.scandir(self.temporary) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    if entry.stat().st_mtime < time.time() - ABANDONED:
                        Path(entry.path).unlink()

    def drop(self, upload: str) -> None:
        shutil.rmtree(self.uploads / upload, ignore_errors=True)


def discard(made: tuple[int, Path]) -> None:
    descriptor, path = made
    os.close(descriptor)
    path.unlink(missing_ok=True)


def page(found: Iterator[ObjectMeta], size: int = 1000) -> list[ObjectMeta]:
    return list(islice(found, size))


def write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _meta(key: str, found: os.stat_result) -> ObjectMeta:
    if not stat.S_ISREG(found.st_mode):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    return ObjectMeta(key, found.st_size, f"{found.st_ino:x}-{found.st_mtime_ns:x}", found.st_mtime)
