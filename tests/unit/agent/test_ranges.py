"""Ranges of a file, written past the page cache and through it: every byte, and no page in both ways."""

from __future__ import annotations

import errno
import os
import random
import tempfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from agent import ranges
from agent.integrity import combine
from agent.ranges import Buffers, RangeWriter
from agent.staged import PAGE, Staged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agent.integrity import Sums

    Write = Callable[[int, bytes | memoryview, int], int]

BUFFER = 16 * PAGE
SIZES = (1, PAGE - 1, PAGE, PAGE + 1, BUFFER - 1, BUFFER, BUFFER + 1, 2 * BUFFER + 3 * PAGE + 5)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "BUFFER", BUFFER)


@pytest.fixture(params=["disk", "memory"])
def directory(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """On a file system that writes past the page cache, and on one that has nothing else."""
    if request.param == "disk":
        yield tmp_path
        return
    if not Path("/dev/shm").is_dir():
        pytest.skip("there is no tmpfs")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as made:
        yield Path(made)


class Written:
    """Calls of pwrite: which bytes went past the page cache and which through it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, write: Write = os.pwrite) -> None:
        self.direct: list[range] = []
        self.cached: list[range] = []
        self._write = write
        monkeypatch.setattr("os.pwrite", self._pwrite)

    def _pwrite(self, descriptor: int, data: memoryview, offset: int) -> int:
        direct = is_direct(descriptor)
        count = self._write(descriptor, data, offset)
        (self.direct if direct else self.cached).append(range(offset, offset + count))
        return count

    def pages(self, which: list[range]) -> set[int]:
        return {page for one in which if one for page in range(one.start // PAGE, (one.stop - 1) // PAGE + 1)}


def is_direct(descriptor: int) -> bool:
    return bool(int(fdinfo(descriptor)["flags"], 8) & os.O_DIRECT)


def fdinfo(descriptor: int) -> dict[str, str]:
    lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines()
    return dict(line.split(":\t") for line in lines if ":\t" in line)


def write(file: Staged, content: bytes, length: int, *, step: int = 0, seed: int = 1) -> Sums:
    """In ranges of ``length``, in any order. ``step``: bytes handed over at once; 0: put into the writer's room."""
    offsets = list(range(0, len(content), length))
    random.Random(seed).shuffle(offsets)
    found, buffers = {}, Buffers()
    for offset in offsets:
        data = memoryview(content)[offset : offset + length]
        with buffers.lent() as buffer:
            writer = RangeWriter("Data.db", file, offset, len(data), buffer)
            while data:
                data = data[step_of(writer, data, step) :]
        found[offset] = writer.sums
    return combine([found[offset] for offset in sorted(found)])


def step_of(writer: RangeWriter, data: memoryview, step: int) -> int:
    room = None if step else writer.room()
    if room is None:
        writer(data[: step or 7_001])
        return step or 7_001
    count = min(len(room), len(data), 40_003)
    room[:count] = data[:count]
    writer(room[:count])
    return count


def staged(directory: Path, size: int) -> Staged:
    return Staged(directory / "f", size, large=True)


def needs_direct(file: Staged) -> None:
    if not file.direct:
        file.close()
        pytest.skip("the disk below refuses O_DIRECT")


@pytest.mark.parametrize("step", [0, 7_001, 3 * BUFFER])
@pytest.mark.parametrize("size", SIZES)
def test_every_size_is_written(directory: Path, size: int, step: int) -> None:
    content = random.Random(size).randbytes(size)
    for length in (size, 3 * BUFFER // 2):
        file = staged(directory, size)
        sums = write(file, content, length, step=step)
        file.publish()
        assert (directory / "f").read_bytes() == content
        assert (sums.size, sums.crc32) == (size, zlib.crc32(content))


@pytest.mark.parametrize("step", [0, 5000])
@pytest.mark.parametrize("length", [PAGE, 3 * PAGE, 3 * PAGE + 1, 1000, 2 * PAGE - 1])
def test_no_page_is_written_in_both_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int, step: int
) -> None:
    content = random.Random(length).randbytes(20 * PAGE + 77)
    file = staged(tmp_path, len(content))
    needs_direct(file)
    written = Written(monkeypatch)
    write(file, content, length, step=step)
    assert file.direct, "nothing was asked of the file system that it had to refuse"
    file.publish()
    assert (tmp_path / "f").read_bytes() == content
    direct, cached = written.pages(written.direct), written.pages(written.cached)
    assert not direct & cached
    if length % PAGE == 0:
        assert (len(direct), len(cached)) == (20, 1)


def test_all_but_the_end_goes_past_the_page_cache_in_large_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = random.Random(3).randbytes(4 * BUFFER + 5 * PAGE + 9)
    file = staged(tmp_path, len(content))
    needs_direct(file)
    written = Written(monkeypatch)
    write(file, content, len(content), step=301)
    file.close()
    assert [len(one) for one in written.direct] == [BUFFER] * 4 + [5 * PAGE]
    assert [len(one) for one in written.cached if one] == [9]


def test_a_direct_write_may_take_less_than_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = random.Random(4).randbytes(3 * BUFFER + 9)
    file = staged(tmp_path, len(content))
    needs_direct(file)
    written = Written(monkeypatch, lambda descriptor, data, at, real=os.pwrite: real(descriptor, data[: 3 * PAGE], at))
    write(file, content, BUFFER)
    file.publish()
    assert (tmp_path / "f").read_bytes() == content
    assert not written.pages(written.direct) & written.pages(written.cached)


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EOPNOTSUPP])
def test_a_file_system_may_refuse_to_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """The file goes through the page cache; who asks for debug sees why."""
    real = os.open

    def refusing(path: Path, flags: int, *more: int) -> int:
        if flags & os.O_DIRECT:
            raise OSError(code, os.strerror(code))
        return real(path, flags, *more)

    monkeypatch.setattr("os.open", refusing)
    content = random.Random(5).randbytes(2 * BUFFER + 9)
    before = descriptors()
    with capture_logs() as logs:
        file = staged(tmp_path, len(content))
    assert not file.direct
    assert [(one["log_level"], one["path"]) for one in logs] == [("debug", str(tmp_path / "f"))]
    write(file, content, BUFFER)
    file.publish()
    assert (tmp_path / "f").read_bytes() == content
    assert descriptors() == before


@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_file_system_may_refuse_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """One that takes other pieces, say. It is asked once more for no file."""
    left = after

    def refusing(descriptor: int, data: bytes | memoryview, offset: int, real: Write = os.pwrite) -> int:
        nonlocal left
        if is_direct(descriptor):
            left -= 1
            if left < 0:
                raise OSError(errno.EINVAL, "Invalid argument")
        return real(descriptor, data, offset)

    content = random.Random(6).randbytes(5 * BUFFER + 9)
    file = staged(tmp_path, len(content))
    needs_direct(file)
    written = Written(monkeypatch, refusing)
    with capture_logs() as logs:
        write(file, content, 2 * BUFFER)
    file.publish()
    assert (tmp_path / "f").read_bytes() == content
    assert (len(written.direct), left) == (after, -1)
    assert len(logs) == 1


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_another_error_of_a_disk_comes_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def broken(descriptor: int, data: bytes | memoryview, offset: int, real: Write = os.pwrite) -> int:
        if is_direct(descriptor):
            raise OSError(code, os.strerror(code))
        return real(descriptor, data, offset)

    file = staged(tmp_path, 2 * BUFFER)
    needs_direct(file)
    monkeypatch.setattr("os.pwrite", broken)
    with pytest.raises(OSError, match=os.strerror(code)) as caught:
        write(file, bytes(2 * BUFFER), BUFFER)
    assert caught.value.errno == code
    file.close()


@pytest.mark.parametrize("failing", ["fallocate", "open"])
def test_nothing_stays_open_where_it_cannot_be_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    real, before = os.open, descriptors()

    def refusing(path: Path, flags: int, *more: int) -> int:
        if flags & os.O_DIRECT:
            raise OSError(errno.EMFILE, "Too many open files")
        return real(path, flags, *more)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(*(("os.open", refusing) if failing == "open" else ("os.posix_fallocate", full)))
    with pytest.raises(OSError, match="Too many" if failing == "open" else "No space"):
        staged(tmp_path, BUFFER)
    assert descriptors() == before


def test_a_closed_file_has_no_descriptor(tmp_path: Path) -> None:
    before = descriptors()
    file = staged(tmp_path, BUFFER)
    assert descriptors() == before + 1 + file.direct
    file.close()
    file.close()
    assert descriptors() == before


def test_memory_is_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    made = 0

    def counted(*arguments: int, real: Any = ranges.mmap.mmap) -> Any:
        nonlocal made
        made += 1
        return real(*arguments)

    monkeypatch.setattr("agent.ranges.mmap.mmap", counted)
    buffers = Buffers()
    for _ in range(3):
        with buffers.lent() as one, buffers.lent() as other:
            assert one is not other
        with pytest.raises(ZeroDivisionError), buffers.lent():
            raise ZeroDivisionError
    assert made == 2


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
