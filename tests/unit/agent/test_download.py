"""Files from objects: how many requests, what a damage says, and what stands on the disk whenever it ends."""

from __future__ import annotations

import asyncio
import os
import random
import resource
import subprocess
import sys
import time
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agent import ranges, staged
from agent.bandwidth import Direction
from agent.catalog import Component
from agent.download import TOGETHER, Downloader, Wanted, divide
from agent.errors import AgentError, Reason, failure
from agent.flow import Flow
from agent.lag import Lag
from backends.base import BytesBody
from backends.checksums import crc32c
from backends.file import FileStore
from backends.memory import MemoryStore
from tests.fakes.faulty_store import FaultyStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backends.base import ObjectStore

CHANCE = random.Random(5)
ROOT = Path(__file__).parents[3]


@dataclass(repr=False)  # megabytes
class Backup:
    """Objects in a store, and the files that they become."""

    store: ObjectStore
    directory: Path
    files: list[Wanted] = field(default_factory=list)
    content: dict[Path, bytes] = field(default_factory=dict)
    counted: int = 0
    named: int = 0

    async def put(self, key: str, *members: tuple[str, int], before: int = 0) -> None:
        """An object of (component's name, size) one after the other, ``before`` bytes into it."""
        whole = CHANCE.randbytes(before)
        for name, size in members:
            data = CHANCE.randbytes(size)
            crc = zlib.crc32(data) if name == "Data.db" else crc32c(data)
            path = self.directory / f"{key}-{name}"
            self.files.append(Wanted(Component(name, size, crc, 0, len(whole)), key if size else "", path))
            self.content[path] = data
            whole += data
        await self.store.put(f"root/{key}", BytesBody(whole))

    async def fetch(self, *, slots: int = 4, part: int = 1 << 20, store: ObjectStore | None = None) -> None:
        """Of what is missing."""
        missing = [file for file in self.files if not file.path.exists()]
        flow = Flow.of(slots, 0, direction=Direction.RECEIVE)
        downloader = Downloader(store or self.store, "root/", flow, count=self._count, done=self._done, part=part)
        await downloader.fetch(*divide(missing))

    def _count(self, size: int) -> None:
        self.counted += size

    def _done(self, files: int) -> None:
        self.named += files

    def there(self) -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in self.directory.iterdir()}

    @property
    def size(self) -> int:
        return sum(map(len, self.content.values()))


@pytest.fixture
def backup(tmp_path: Path) -> Backup:
    (tmp_path / "files").mkdir()
    return Backup(FaultyStore(MemoryStore()), tmp_path / "files")


def gets(backup: Backup) -> list[str]:
    assert isinstance(backup.store, FaultyStore)
    return [key for verb, key in backup.store.keys if verb == "get"]


SMALL = (("Data.db", 4000), ("Digest.crc32", 9), ("Empty.db", 0), ("Index.db", 700_000), ("TOC.txt", 90))


async def test_what_lies_in_one_object_comes_with_one_request(backup: Backup) -> None:
    for number in range(5):
        await backup.put(f"b{number}", *SMALL)
    await backup.fetch()
    assert backup.there() == backup.content
    assert sorted(gets(backup)) == [f"root/b{number}" for number in range(5)]
    assert (backup.counted, backup.named) == (backup.size, 25)


async def test_large_files_come_in_ranges_and_share_one_queue(backup: Backup) -> None:
    await backup.put("large", ("Data.db", 5_500_000))
    await backup.put("other", ("Index.db", 4_000_001))
    await backup.put("single", ("Index.db", 2 << 20))
    await backup.put("bundle", *SMALL)
    await backup.fetch()
    assert backup.there() == backup.content
    found = gets(backup)
    assert [found.count(f"root/{key}") for key in ("large", "other", "single", "bundle")] == [6, 4, 1, 1]
    assert found.index("root/bundle") < 4, "small ones wait for answers while the large ones wait for bytes"
    assert found.index("root/large") < found.index("root/other") < 8, "the largest first, and no barrier between"
    assert (backup.counted, backup.named) == (backup.size, 8)


async def test_of_a_bundle_only_what_is_missing_comes(backup: Backup) -> None:
    await backup.put("b", ("A.db", 1000), ("B.db", 500_000), ("C.db", 10), ("D.db", 20), before=77)
    by_name = {file.component.name: file for file in backup.files}
    for name in ("A.db", "B.db", "D.db"):
        by_name[name].path.write_bytes(backup.content[by_name[name].path])
    await backup.fetch()
    assert backup.there() == backup.content
    assert backup.counted == 10


def test_what_one_request_fetches_is_bounded(tmp_path: Path) -> None:
    size = 1 << 20
    files = [Wanted(Component(f"{n}", size, 0, 0, n * size), "key", tmp_path / f"{n}") for n in range(20)]
    large, small = divide(reversed(files))
    assert not large
    once, twice = TOGETHER, 2 * TOGETHER
    assert [(run.begin, run.end) for run in small] == [(0, once), (once, twice), (twice, 20 << 20)]
    assert [file for run in small for file in run.files] == files


def test_a_hole_is_not_fetched(tmp_path: Path) -> None:
    far = 100 * TOGETHER
    files = [Wanted(Component(f"{at}", 10, 0, 0, at), "key", tmp_path / f"{at}") for at in (0, far)]
    assert [(run.begin, run.end) for run in divide(files)[1]] == [(0, 10), (far, far + 10)]


async def test_every_wrong_member_is_named_and_none_is_there(backup: Backup) -> None:
    await backup.put("b", *SMALL)
    whole = bytearray(b"".join(backup.content[file.path] for file in backup.files))
    whole[1] ^= 1
    whole[-1] ^= 1
    await backup.store.put("root/b", BytesBody(bytes(whole)))
    with pytest.raises(AgentError) as caught:
        await backup.fetch()
    assert caught.value.reason == Reason.CORRUPT
    assert all(text in caught.value.message for text in ("root/b ", "b-Data.db is", "b-TOC.txt is"))
    assert "Index" not in caught.value.message
    assert not [path for path in backup.there() if path.read_bytes()]
    assert backup.counted == 0


@pytest.mark.parametrize("members", [SMALL, (("Data.db", 3_000_000),)], ids=["a bundle", "a large file"])
async def test_an_object_that_is_too_short_is_damaged(backup: Backup, members: tuple[tuple[str, int], ...]) -> None:
    await backup.put("b", *members)
    whole = b"".join(backup.content[file.path] for file in backup.files)
    await backup.store.put("root/b", BytesBody(whole[:-1]))
    with pytest.raises(AgentError, match="the store gave") as caught:
        await backup.fetch()
    assert caught.value.reason == Reason.CORRUPT
    assert backup.named == 0
    assert backup.counted == 0


async def test_a_large_file_with_a_wrong_byte_gets_no_name(backup: Backup) -> None:
    await backup.put("b", ("Data.db", 3_000_000))
    await backup.store.put("root/b", BytesBody(b"\0" * 3_000_000))
    with pytest.raises(AgentError, match=r"the checksum of b-Data\.db is"):
        await backup.fetch()
    assert not (backup.directory / "b-Data.db").exists()
    assert backup.counted == 0


async def test_a_full_disk_is_told_before_a_large_file_is_fetched(
    backup: Backup, monkeypatch: pytest.MonkeyPatch
) -> None:
    await backup.put("b", ("Data.db", 3_000_000))

    def full(_descriptor: int, _offset: int, _size: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(OSError, match="No space left") as caught:
        await backup.fetch()
    assert failure(caught.value).reason == Reason.DISK_FULL
    assert not gets(backup)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A real one, of a mebibyte."""
    directory = tmp_path / "disk"
    directory.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(directory)]
    if os.geteuid() or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("mounting a tmpfs needs root and CAP_SYS_ADMIN")
    yield directory
    subprocess.run(["umount", "--lazy", str(directory)], check=True)  # also where a test left a file open


@pytest.mark.parametrize("members", [SMALL, (("Data.db", 1_500_000),)], ids=["small files", "a large file"])
async def test_a_disk_that_fills_up(backup: Backup, tiny_disk: Path, members: tuple[tuple[str, int], ...]) -> None:
    backup.directory = tiny_disk
    before = descriptors()
    for number in range(3):
        await backup.put(f"b{number}", *members)
    with pytest.raises(OSError, match="No space left") as caught:
        await backup.fetch(slots=1)
    assert failure(caught.value).reason == Reason.DISK_FULL
    assert descriptors() == before
    whole = {path: data for path, data in backup.there().items() if path.suffix != ".part"}
    assert whole == {path: backup.content[path] for path in whole}


async def test_a_disk_that_fills_up_under_what_was_reserved(
    backup: Backup, tiny_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one may that cannot reserve."""
    monkeypatch.setattr("os.posix_fallocate", lambda *_: None)
    backup.directory = tiny_disk
    before = descriptors()
    await backup.put("b", ("Data.db", 3_000_000))
    with pytest.raises(OSError, match="No space left") as caught:
        await backup.fetch(slots=2)
    assert failure(caught.value).reason == Reason.DISK_FULL
    assert descriptors() == before
    assert {path.suffix for path in backup.there()} == {".part"}
    assert backup.counted == 0


@pytest.mark.parametrize("slots", [1, 3])
async def test_memory_for_writing_is_that_of_the_slots(
    backup: Backup, monkeypatch: pytest.MonkeyPatch, slots: int
) -> None:
    made: list[ranges.Buffers] = []

    class Kept(ranges.Buffers):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)

    monkeypatch.setattr("agent.download.Buffers", Kept)
    for number in range(3):
        await backup.put(f"b{number}", ("Data.db", 4_000_000))
    await backup.fetch(slots=slots)
    (buffers,) = made
    assert backup.there() == backup.content
    assert len(buffers._free) <= slots


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("after", [0, 1, 3, 6])
async def test_whoever_is_cancelled_leaves_nothing_open(backup: Backup, after: int) -> None:
    """What was whole by then has its name."""
    await backup.put("large", ("Data.db", 3_000_000), before=1)
    for number in range(4):
        await backup.put(f"b{number}", *SMALL)
    before = descriptors()
    held = Held(backup.store, after)
    task = asyncio.create_task(backup.fetch(slots=2, store=held))
    await held.holding.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert descriptors() == before
    named = {path: data for path, data in backup.there().items() if path.suffix != ".part"}
    assert named == {path: backup.content[path] for path in named}
    assert len(named) == backup.named
    await backup.fetch()
    assert backup.there() == backup.content
    assert backup.counted == backup.size


class Held(FaultyStore):
    """The request after ``left`` others never gets an answer."""

    def __init__(self, store: ObjectStore, left: int) -> None:
        super().__init__(store)
        self.left = left
        self.holding = asyncio.Event()

    async def get(self, key: str, **more):
        if not self.left:
            self.holding.set()
            await asyncio.Event().wait()
        self.left -= 1
        async for chunk in super().get(key, **more):
            yield chunk


async def test_a_name_comes_after_the_bytes_are_on_the_disk(backup: Backup, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[tuple[str, str]] = []
    real = Path.replace

    def replace(path: Path, target: Path) -> Path:
        done.append(("named", path.name))
        return real(path, target)

    def fsync(descriptor: int) -> None:
        done.append(("synced", Path(f"/proc/self/fd/{descriptor}").readlink().name))

    monkeypatch.setattr(Path, "replace", replace)
    monkeypatch.setattr("os.fsync", fsync)
    await backup.put("large", ("Data.db", 3_000_000))
    await backup.put("b", *SMALL)
    await backup.fetch()
    assert len(done) == 2 * len(backup.files)
    for file in backup.files:
        name = f"{file.path.name}.part"
        assert done.index(("synced", name)) < done.index(("named", name))


async def test_a_write_may_take_less_than_it_was_given(backup: Backup, monkeypatch: pytest.MonkeyPatch) -> None:
    """As pwrite may; the rest is written behind it."""
    real = os.pwrite
    monkeypatch.setattr("os.pwrite", lambda descriptor, data, offset: real(descriptor, data[:100_000], offset))
    await backup.put("large", ("Data.db", 3_000_000))
    await backup.put("b", ("Index.db", 250_000))
    await backup.fetch()
    assert backup.there() == backup.content


async def test_a_sync_that_fails_ends_it(backup: Backup, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error of a disk is the restore's, however late it is told."""

    def broken(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("os.fsync", broken)
    before = descriptors()
    await backup.put("b", *SMALL)
    with pytest.raises(OSError, match="Input/output"):
        await backup.fetch()
    assert backup.named == 0
    assert descriptors() == before


KILLED = """
import asyncio, os, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from agent import ranges, staged
from tests.unit.agent.test_download import Backup, resumed
left = {left}
real = staged.Staged.publish
def publish(self):
    global left
    left -= 1
    if left < 0:
        os._exit(9)
    real(self)
staged.Staged.publish = publish
asyncio.run(resumed(Path({directory!r})))
"""


async def resumed(directory: Path) -> Backup:
    """The same backup in every process."""
    CHANCE.seed(7)
    backup = Backup(await FileStore.open(directory / "store"), directory / "files")
    for number in range(2):
        await backup.put(f"b{number}", *SMALL)
    await backup.put("large", ("Data.db", 3_000_000))
    await backup.fetch()
    return backup


@pytest.mark.slow
@pytest.mark.parametrize("left", [0, 2, 7])
async def test_a_process_may_be_killed_between_two_files_of_a_bundle(tmp_path: Path, left: int) -> None:
    """SIGKILL leaves no half a file under its name, and the next process goes on."""
    (tmp_path / "files").mkdir()
    program = KILLED.format(root=str(ROOT), left=left, directory=str(tmp_path))
    ended = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program], check=False, capture_output=True, text=True, cwd=ROOT
    )
    assert ended.returncode == 9, ended.stderr
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "files").iterdir() if path.suffix != ".part"}
    assert left - staged._SYNCERS <= len(before) <= left
    backup = await resumed(tmp_path)
    assert backup.there() == backup.content
    assert {path: path.stat().st_mtime_ns for path in before} == before, "what was whole is left alone"


@pytest.mark.slow
async def test_the_event_loop_does_not_wait_for_a_slow_disk(backup: Backup, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bounds are generous, as other programs run as well; the disk on the loop would be far over them."""

    pwrite, fallocate, fadvise = os.pwrite, os.posix_fallocate, os.posix_fadvise

    def slow_write(descriptor: int, data: memoryview, offset: int) -> int:
        time.sleep(0.2 if len(data) > 100_000 else 0.001)
        return pwrite(descriptor, data, offset)

    def slow_reserve(*args: Any) -> None:
        time.sleep(0.8)
        fallocate(*args)

    def slow_drop(*args: Any) -> None:
        time.sleep(0.01)
        fadvise(*args)

    for number in range(2):
        await backup.put(f"large{number}", ("Data.db", 8_000_000))
    for number in range(50):
        await backup.put(f"b{number}", *((f"{name}.db", 3000) for name in "ABCDEFGH"))
    monkeypatch.setattr("os.pwrite", slow_write)
    monkeypatch.setattr("os.posix_fallocate", slow_reserve)
    monkeypatch.setattr("os.posix_fadvise", slow_drop)
    monkeypatch.setattr("os.fsync", lambda _descriptor: time.sleep(0.01))
    lag = Lag()
    task = asyncio.create_task(lag.run())
    await backup.fetch(slots=8, part=4 << 20)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert backup.named == 402
    assert lag.longest < 0.6, f"p99 {lag.below(0.99)}, longest {lag.longest}"
    assert lag.below(0.95) < 0.1


async def test_thousands_of_files_do_not_need_thousands_of_descriptors(
    backup: Backup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staged, "BATCH", 8)
    for number in range(60):
        await backup.put(f"b{number}", *((f"{name}.db", 10) for name in "ABCDEFGH"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors() + 8 * (staged._AHEAD + 3) + 20, hard))
    try:
        await backup.fetch(slots=2)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert backup.named == 480
