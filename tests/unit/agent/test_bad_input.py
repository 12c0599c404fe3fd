"""A disk, a journal, a clock, a neighbour that are not as they should be: what is said, and that nothing is lost."""

from __future__ import annotations

import datetime as dt
import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agent import clock, files, records, volume
from agent.catalog import Owner
from agent.errors import AgentError, failure
from agent.files import write_atomic
from agent.journal import Journal
from agent.operations import Operations
from agent.protocol import Kind, ProbeSpec, State
from backends.base import BytesBody
from backends.memory import MemoryStore
from tests.fakes.sstables import write_sstable
from tests.unit.agent.backups import PATH, content, expected, manifest_of
from tests.unit.agent.conftest import LOCATION, World, request, until
from tests.unit.agent.test_operations import REQUEST, Fake, Process, names
from tests.unit.agent.verifying import complete, users

if TYPE_CHECKING:
    from collections.abc import Callable

EACCES, EIO = OSError(errno.EACCES, "Permission denied"), OSError(errno.EIO, "Input/output error")


def broken(monkeypatch: pytest.MonkeyPatch, name: str, error: OSError) -> None:
    """Files of this name cannot be opened (EACCES), or cannot be read when they are (EIO)."""
    if error.errno == errno.EACCES:
        real_open = os.open

        def refuse(path: Any, *more: Any, **most: Any) -> int:
            if str(path).endswith(name):
                raise OSError(error.errno, error.strerror, str(path))
            return real_open(path, *more, **most)

        monkeypatch.setattr("os.open", refuse)
        return
    for verb in ("read", "readv", "pread", "preadv"):
        monkeypatch.setattr(os, verb, _failing(getattr(os, verb), name, error))


def _failing(real: Callable[..., Any], name: str, error: OSError) -> Callable[..., Any]:
    def read(descriptor: int, *more: Any) -> Any:
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith(name):  # noqa: PTH115  half the calls are not for us
            raise OSError(error.errno, error.strerror)
        return real(descriptor, *more)

    return read


@pytest.mark.parametrize("error", [EACCES, EIO], ids=["EACCES", "EIO"])
@pytest.mark.parametrize("name", ["nb-1-big-Index.db", "nb-1-big-Data.db", "nb-9-big-Data.db", "nb-1-big-TOC.txt"])
async def test_a_file_that_cannot_be_read_is_named_with_what_to_do(
    world: World, monkeypatch: pytest.MonkeyPatch, name: str, error: OSError
) -> None:
    """Read to be summed, to be sent in a bundle, to be sent by itself, to see what belongs to it."""
    write_sstable(users(world), "nb-9-big", size=(2 << 20) + 5)
    async with world.agent() as agent:
        earlier = await manifest_of(world, await world.back_up(agent, "t0", epoch="e0", backup_id="uid-0"), "t0")
        there = {key: await _read(world, key) for key in await world.keys()}
        write_sstable(users(world), "nb-1-big", size=600, seed=1)
        write_sstable(users(world), "nb-9-big", size=(2 << 20) + 6, seed=1)
        await world.do(agent, "s", Kind.SNAPSHOT, {"tag": "t1"})
        with monkeypatch.context() as patch:
            broken(patch, name, error)
            operation = await world.do(agent, "b", Kind.BACKUP, world.backup_spec())
    assert operation.state is State.FAILED
    assert operation.error is not None
    assert (operation.error.reason, operation.error.retryable) == ("FileUnreadable", False)
    assert name in operation.error.message
    assert error.strerror in operation.error.message
    assert ("kernel log" if error is EIO else "the user that owns") in operation.error.message
    assert {key: await _read(world, key) for key in there} == there, "what was in the bucket is as it was"
    assert not [key for key in await world.keys() if key.endswith("manifests/t1.json.zst") or "/pending/" in key]
    assert world.data.snapshots("co-t1") == []
    assert earlier.objects


async def _read(world: World, key: str) -> bytes:
    return b"".join([chunk async for chunk in world.memory.get(key)])


@pytest.mark.parametrize("error", [EACCES, EIO], ids=["EACCES", "EIO"])
async def test_a_snapshot_that_cannot_be_read_fails_the_snapshot(
    world: World, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    async with world.agent() as agent:
        with monkeypatch.context() as patch:
            broken(patch, "nb-1-big-TOC.txt", error)
            operation = await world.do(agent, "s", Kind.SNAPSHOT, {"tag": "t1"})
    assert operation.error is not None
    assert operation.error.reason in {"FileUnreadable", "SnapshotFailed"}
    assert "nb-1-big-TOC.txt cannot be read" in operation.error.message
    assert world.data.snapshots("co-t1") == []


async def test_a_snapshot_that_vanishes_under_the_scan_is_told_as_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world.agent() as agent:
        await world.do(agent, "s", Kind.SNAPSHOT, {"tag": "t1"})
        monkeypatch.setattr("agent.sstables._read", _gone)
        operation = await world.do(agent, "b", Kind.BACKUP, world.backup_spec())
    assert operation.error is not None
    assert (operation.error.reason, operation.error.retryable) == ("SnapshotGone", True)
    assert "back up again" in operation.error.message


def _gone(path: Any) -> bytes:
    raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))


def test_an_error_of_the_network_is_not_the_disks() -> None:
    assert failure(OSError(errno.EACCES, "error while attempting to bind")).reason == "Internal"
    assert failure(ConnectionResetError(errno.ECONNRESET, "reset")).reason == "Internal"
    assert failure(OSError(errno.EIO, "Input/output error")).reason == "FileUnreadable"


def full(monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    """The disk takes nothing more, from ``at`` on."""

    def no_space(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    match at:
        case "open":
            real = os.open
            monkeypatch.setattr("os.open", lambda p, f, *m: no_space() if f & os.O_CREAT else real(p, f, *m))
        case "write":
            monkeypatch.setattr("os.fdopen", _fdopen(no_space))
        case "sync":
            monkeypatch.setattr("os.fsync", no_space)
        case _:
            monkeypatch.setattr(Path, "replace", no_space)


def _fdopen(no_space: Callable[..., Any]) -> Callable[..., Any]:
    real = os.fdopen

    def opened(descriptor: int, mode: str) -> Any:
        file = real(descriptor, mode, buffering=0)

        class Full:
            def __enter__(self) -> Any:
                return self

            def __exit__(self, *_: object) -> None:
                file.close()

            def write(self, data: bytes) -> int:
                file.write(data[: len(data) // 2])
                return int(no_space())

        return Full()

    return opened


@pytest.mark.parametrize("at", ["open", "write", "sync", "rename"])
def test_on_a_full_disk_a_file_keeps_its_old_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    write_atomic(tmp_path / "a", b"old")
    with monkeypatch.context() as patch:
        full(patch, at)
        with pytest.raises(OSError, match="No space left"):
            write_atomic(tmp_path / "a", b"new and longer")
    assert names(tmp_path) == {"a"}, "and no half file is left to take more room"
    assert (tmp_path / "a").read_bytes() == b"old"


@pytest.mark.parametrize("at", ["open", "write", "sync", "rename"])
async def test_an_operation_that_cannot_be_journalled_is_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    async with Process(tmp_path) as process:
        with monkeypatch.context() as patch:
            full(patch, at)
            with pytest.raises(OSError, match="No space left") as caught:
                await process.operations.put("a", REQUEST)
        told = failure(caught.value)
        assert (told.reason, told.retryable) == ("DiskFull", True)
        assert "enlarge the volume" in told.message
        assert process.operations.all() == []
        assert process.fake.runs == 0
        process.fake.go.set()
        await process.operations.put("a", REQUEST)  # there is room again
        await process.operations.over("a")
        assert process.operations.get("a").state is State.SUCCEEDED


async def test_work_whose_end_cannot_be_journalled_is_done_again_by_the_next_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Process(tmp_path) as process:
        await process.operations.put("a", REQUEST)
        await process.fake.running.wait()
        with monkeypatch.context() as patch:
            full(patch, "write")
            process.fake.go.set()
            await process.operations.over("a")
        error = process.operations.get("a").error
        assert error is not None
        assert error.reason == "DiskFull"
    async with Process(tmp_path) as process:
        process.fake.go.set()
        await process.operations.over("a")
        assert (process.operations.get("a").state, process.fake.runs) == (State.SUCCEEDED, 1)


@pytest.mark.parametrize("at", ["open", "write", "sync", "rename"])
async def test_a_disk_that_is_full_under_a_backup_loses_nothing_and_the_next_try_ends_it(
    world: World, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    async with world.agent() as agent:
        await complete(world, agent, "t0", 7)
        there = {key: await _read(world, key) for key in await world.keys()}
        await world.do(agent, "s", Kind.SNAPSHOT, {"tag": "t1"})
        with monkeypatch.context() as patch:
            job, _ = await agent.operations.put("b", request(Kind.BACKUP, world.backup_spec()))
            full(patch, at)
            await agent.operations.over("b")
        assert job.error is not None
        assert job.error.reason == "DiskFull"
        assert {key: await _read(world, key) for key in there} == there
    async with world.agent() as agent:
        await agent.operations.over("b")
        manifest = await manifest_of(world, agent.operations.get("b"))
    assert await content(world.memory, manifest) == expected(world)


async def test_a_journal_cut_anywhere_is_put_aside_or_is_whole(tmp_path: Path) -> None:
    async with Process(tmp_path) as process:
        process.fake.go.set()
        await process.operations.put("a", REQUEST)
        await process.operations.over("a")
    whole = (tmp_path / "a.json").read_bytes()
    for end in range(len(whole)):
        for tail in (b"", b"\0" * 9, b"\xff"):
            (tmp_path / "a.json").write_bytes(whole[:end] + tail)
            assert await Journal(tmp_path).load() == []
            assert names(tmp_path) == {"a.unreadable"}
            assert (tmp_path / "a.unreadable").read_bytes() == whole[:end] + tail, "it is kept for whoever looks"


async def test_a_journal_that_the_disk_does_not_give_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Process(tmp_path) as process:
        process.fake.go.set()
        for name in ("a", "b"):
            await process.operations.put(name, REQUEST)
            await process.operations.over(name)
    real = Path.read_bytes

    def read(self: Path) -> bytes:
        if self.name == "a.json":
            raise EIO
        return real(self)

    def stuck(*_: Any) -> Any:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "read_bytes", read)
    monkeypatch.setattr(Path, "replace", stuck)
    assert [entry.operation.id for entry in await Journal(tmp_path).load()] == ["b"]
    assert names(tmp_path) == {"a.json", "b.json"}


def owned(directory: Path, owner: str) -> tuple[Operations, Fake]:
    fake = Fake()
    return Operations(Journal(directory, owner), {Kind.CLEAR_SNAPSHOTS: fake}), fake


async def test_the_work_of_another_node_is_not_taken_up(tmp_path: Path) -> None:
    """The volume was moved, or copied: what is in its journal would be done under another node's path."""
    first, fake = owned(tmp_path, "ns/c-0")
    await first.put("a", REQUEST)
    await fake.running.wait()
    await first.stop()
    before = (tmp_path / "a.json").read_bytes()
    moved, fake = owned(tmp_path, "ns/c-1")
    await moved.load()
    assert (moved.all(), fake.runs) == ([], 0)
    assert names(tmp_path) == {"a.foreign"}
    assert (tmp_path / "a.foreign").read_bytes() == before
    await moved.stop()


@pytest.mark.parametrize(("before", "after"), [("ns/c-0", "ns/c-0"), ("", "ns/c-0"), ("ns/c-0", "")])
async def test_ones_own_work_is_and_that_of_an_agent_that_did_not_say(tmp_path: Path, before: str, after: str) -> None:
    first, fake = owned(tmp_path, before)
    await first.put("a", REQUEST)
    await fake.running.wait()
    await first.stop()
    second, fake = owned(tmp_path, after)
    await second.load()
    await fake.running.wait()
    await second.stop()


async def test_a_backup_on_a_volume_that_was_moved_sends_nothing(world: World) -> None:
    async with world.agent() as agent:
        await world.do(agent, "s", Kind.SNAPSHOT, {"tag": "t1"})
        world.cassandra.hold = None
        held = Holding(world)
        world.store = held
        await agent.operations.put("b", request(Kind.BACKUP, world.backup_spec()))
        await until(lambda: held.asked)
    world.store = world.memory
    there = await world.keys()
    world.settings = world.settings.__class__(**(world.settings.__dict__ | {"pod": "c-1"}))
    async with world.agent() as agent:
        assert agent.operations.unfinished() == []
    assert await world.keys() == there


class Holding(MemoryStore):
    """Never answers a put."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.asked = False

    async def put(self, key: str, body: Any, *, if_absent: bool = False) -> Any:
        self.asked = True
        await until(lambda: False)


@pytest.mark.parametrize("garbage", [b"", b"{", b"\xff", b"[" * 100_000, b"{}"])
async def test_an_owner_that_cannot_be_read_is_another(garbage: bytes) -> None:
    store = MemoryStore()
    await store.put(PATH.owner(), BytesBody(garbage))
    assert (await records.claim(store, PATH, Owner(owner="us"))).owner == "unknown"
    assert b"".join([chunk async for chunk in store.get(PATH.owner())]) == garbage


async def test_a_path_that_another_cluster_writes_to_is_said_and_is_shared_safely(world: World) -> None:
    """Another owner, and another node of the same name: neither takes anything from the other."""
    async with world.agent() as agent:
        await complete(world, agent, "t1", 1)
        first = {key: await _read(world, key) for key in await world.keys()}
        told = []
        for owner in ("cluster-1", "cluster-2", "cluster-1"):
            spec = ProbeSpec(
                location=LOCATION, cluster="my cluster", datacenter="dc1", tag="t9", backup_id="uid-9", owner=owner
            )
            operation = await world.do(agent, f"p-{len(told)}", Kind.PROBE, spec)
            told.append((operation.result["owner"], operation.result["shared"]))
    assert told == [("cluster-1", False), ("cluster-1", True), ("cluster-1", False)]
    # The other cluster's node: another host id, other rows, under the same names.
    world.cassandra.attributes["LocalHostId"] = "5f0e3c7a-0000-4000-8000-000000000002"
    write_sstable(users(world), "nb-1-big", size=777, seed=5)
    async with world.agent() as agent:
        second = await complete(world, agent, "t2", 2)
        taken = await world.back_up(agent, "t3", epoch="e3", backup_id="uid-3")
        assert taken.state is State.SUCCEEDED
        await world.do(agent, "s-again", Kind.SNAPSHOT, {"tag": "t1"})
        same = await world.do(agent, "again", Kind.BACKUP, world.backup_spec(backup_id="uid-4", epoch="e4"))
    assert same.error is not None
    assert same.error.reason == "SnapshotTagExists"
    assert {key: await _read(world, key) for key in first} == first
    assert await content(world.memory, second) == expected(world)


@pytest.mark.parametrize("days", [-2, 2])
async def test_a_clock_two_days_off_loses_no_work(world: World, monkeypatch: pytest.MonkeyPatch, days: int) -> None:
    """What is at work keeps its snapshot, and what is over is not forgotten."""
    async with world.agent() as agent:
        done = await world.back_up(agent, "t0", epoch="e0", backup_id="uid-0")
        await world.do(agent, "s", Kind.SNAPSHOT, {"tag": "t1"})
    shift(monkeypatch, days)
    async with world.agent() as agent:
        await agent.snapshots.sweep(["t1"])  # as the janitor does while the backup runs
        await agent.operations.prune()
        assert agent.operations.get(done.id).state is State.SUCCEEDED
        manifest = await manifest_of(world, await world.do(agent, "b", Kind.BACKUP, world.backup_spec()))
    assert await content(world.memory, manifest) == expected(world)


async def test_a_snapshot_that_a_leap_of_the_clock_made_old_is_said_to_be_gone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world.agent() as agent:
        await world.do(agent, "s", Kind.SNAPSHOT, {"tag": "t1"})
        shift(monkeypatch, 2)
        assert await agent.snapshots.sweep([]) == ["t1"]
        operation = await world.do(agent, "b", Kind.BACKUP, world.backup_spec())
    assert operation.error is not None
    assert operation.error.reason == "SnapshotGone"
    assert "back up again" in operation.error.message


def shift(monkeypatch: pytest.MonkeyPatch, days: int) -> None:
    class Shifted(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> dt.datetime:  # type: ignore[override]
            return dt.datetime.now(tz) + dt.timedelta(days=days)

    monkeypatch.setattr(clock, "datetime", Shifted)


@pytest.mark.parametrize("garbage", [b"", b"{", b"\xff\xfe", b'{"tag": 5}'])
async def test_a_torn_note_of_a_snapshot_is_none(world: World, garbage: bytes) -> None:
    async with world.agent() as agent:
        await world.do(agent, "s", Kind.SNAPSHOT, {"tag": "t1"})
        (world.settings.state_dir / "snapshots" / "t1.json").write_bytes(garbage)
        operation = await world.do(agent, "b", Kind.BACKUP, world.backup_spec())
        assert operation.error is not None
        assert operation.error.reason == "SnapshotGone"
        assert await manifest_of(world, await world.back_up(agent, "t2", epoch="e2", backup_id="uid-2"), "t2")


@pytest.mark.parametrize("garbage", [b"", b"\xff", b"{"])
def test_a_torn_note_of_a_restore_keeps_the_node_from_starting(tmp_path: Path, garbage: bytes) -> None:
    (tmp_path / "restore.json").write_bytes(garbage)
    with pytest.raises(AgentError, match="must not start") as caught:
        volume.read_restored(tmp_path)
    assert caught.value.reason == "Corrupt"


def test_a_directory_that_is_not_there_is_no_error(tmp_path: Path) -> None:
    assert list(files.subdirectories(tmp_path / "none")) == []
