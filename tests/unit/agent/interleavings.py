"""One interleaving of backups, crashes, resumes, commits, forgets, collectors and accidents over a bad network.

The real handlers run; a tape of bytes says which request takes effect next and what becomes of it. After each one that
changed something, every complete backup must be whole. Two agents, ``a`` and ``b``, work for the same node.
"""

from __future__ import annotations

import asyncio
import itertools
import zlib
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec

from agent import catalog
from agent.backup import BackupHandler
from agent.cassandra import Facts
from agent.catalog import NodePath
from agent.collector import CollectHandler
from agent.errors import failure
from agent.forget import ForgetHandler
from agent.protocol import BackupSpec, CollectSpec, CommitSpec, ForgetSpec, Location, NodeDigest, State
from agent.reservation import Reservation
from agent.snapshots import Taken
from agent.sstables import FoundFile, FoundSSTable, FoundTable, Snapshot
from agent.tasks import CommitHandler
from agent.turns import Turns
from backends.checksums import crc32c
from backends.memory import MemoryStore
from tests.fakes.network import Network, Outcome, actor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterable
    from pathlib import Path

    from tests.fakes.network import Client, Request

HOUR, DAY = 3600.0, 86_400.0
START = 1_800_000_000.0
HOST = "host-1"
PATH = NodePath("c", "dc", "n")
LOCATION = Location(backup_type="MEMORY", target="bucket")
_DISKS = ({0, 1}, {0, 2}, {0, 1, 2}, {1, 3})
_OPENINGS = (
    (), ("collect", "back up"), ("collect", "back up"), ("back up", "back up", "collect"), ("collect", "collect"),
    ("back up",), ("collect", "back up", "collect"), ("collect",),
)  # fmt: skip
_STRIDES = (50, 1, 2, 3, 5, 8, 13, 50)  # requests that go well, one after the other
_OUTCOMES = (
    *[Outcome.DONE] * 26, Outcome.LOST, Outcome.LOST, Outcome.REFUSED, Outcome.LATE, Outcome.LATE, Outcome.TWICE,
)  # fmt: skip
_PAST = (0, 1, 2, 3, 3, 3, 3, 3)


class LostError(AssertionError):
    """A complete backup lacks something."""


class Pool:
    """SSTables that the node has at one time or another, on disk once for all interleavings."""

    def __init__(self, root: Path, count: int = 4) -> None:
        self.sstables: list[FoundSSTable] = []
        self.crcs: dict[str, int] = {}
        table = catalog.TablePath("ks", "t", "0" * 32)
        self.table = table
        self.content: dict[str, bytes] = {}  # by identity
        for number in range(count):
            sstable = FoundSSTable(f"nb-{number}-big")
            members, data = [], b""
            for name in ("Data.db", "Statistics.db"):
                text = f"{name} of {number}".encode()
                path = root / f"{sstable.name}-{name}"
                path.write_bytes(text)
                crc = _crc(name, text)
                sstable.files[name] = FoundFile(name, str(path), len(text))
                self.crcs[str(path)] = crc
                members.append((name, len(text), crc))
                data += text
            self.sstables.append(sstable)
            prefix = catalog.table_prefix(HOST, table)
            self.content[catalog.bundle_identity(prefix, sstable.name, members)] = data

    def snapshot(self, chosen: Iterable[int]) -> Snapshot:
        found = FoundTable(self.table, {self.sstables[one].name: self.sstables[one] for one in sorted(chosen)})
        return Snapshot([found])


def _crc(name: str, data: bytes) -> int:
    return zlib.crc32(data) if name == "Data.db" else crc32c(data)


class _Snapshots:
    """``agent.snapshots.Snapshots``, of the pool; it reads nothing that it knows."""

    def __init__(self, world: Interleaving) -> None:
        self._world = world
        self.checksums = self

    async def taken(self, tag: str) -> Taken:
        return Taken(tag=tag, operation="s", at="", facts=Facts(host_id=HOST, tokens=["1"]))

    async def scan(self, tag: str) -> Snapshot:
        return self._world.pool.snapshot(self._world.snapshots[tag])

    async def clear(self, tag: str) -> None:
        pass

    def load(self) -> _Snapshots:
        return self

    def get(self, file: FoundFile) -> int:
        return self._world.pool.crcs[str(file.path)]

    def keep(self, known: object) -> None:
        pass

    def forget(self) -> None:
        raise AssertionError("nothing changes on disk")


class StandingJob:
    def __init__(self, name: str) -> None:
        self.id = name
        self.operation: Any = SimpleNamespace(error=None)

    async def enter(self, phase: str, *, files: int | None = None, size: int = 0) -> None:
        pass

    def count(self, size: int) -> None:
        pass

    def file_done(self, count: int = 1) -> None:
        pass

    def reused(self, files: int, size: int) -> None:
        pass


@dataclass(eq=False)
class Backup:
    """As the operator sees it. ``abandoned``: it sends nothing more about it, but to forget it."""

    tag: str
    id: str
    epoch: str
    digest: NodeDigest | None = None
    complete: bool = False
    abandoned: bool = False
    forgotten: bool = False
    asked: float = 0.0  # when a commit was last sent


class _Process:
    """An agent from its start to its death."""

    def __init__(self, world: Interleaving) -> None:
        self.client: Client = world.network.client()
        self.tasks: set[asyncio.Task[None]] = set()
        turns, number = Turns(), world.numbers
        elapsed = lambda: world.now  # noqa: E731
        self.backup = BackupHandler(
            _Snapshots(world),  # type: ignore[arg-type]
            self.opened,
            turns=turns,
            reserve=partial(Reservation, attempt=lambda: f"{next(number):08x}", sleep=world.sleep, elapsed=elapsed),
        )
        self.collect = CollectHandler(
            self.opened, turns, holder=f"p{next(number)}", elapsed=elapsed, name=lambda: f"{next(number):08x}"
        )
        self.commit = CommitHandler(self.opened)
        self.forget = ForgetHandler(self.opened, lambda: SimpleNamespace(unfinished=list))  # type: ignore[arg-type, return-value]

    @asynccontextmanager
    async def opened(self, _location: Location) -> AsyncIterator[Client]:
        yield self.client


@dataclass(eq=False)
class Interleaving:
    pool: Pool
    tape: bytes
    at: int = 0
    now: float = START
    snapshots: dict[str, set[int]] = field(default_factory=dict)
    backups: list[Backup] = field(default_factory=list)
    trace: list[str] = field(default_factory=list)  # for people

    def __post_init__(self) -> None:
        self.store = MemoryStore(clock=lambda: self.now)
        self.network = Network(self.store, self._applied)
        self.numbers = itertools.count(1)
        self.processes = {name: _Process(self) for name in ("a", "b")}
        self.disk: set[int] = {0, 1}
        self.sleepers: list[asyncio.Future[None]] = []
        self.destroyed: dict[str, int] = {}  # data objects that were deleted from outside -> when, in steps
        self.listed: dict[str, int] = {}  # actor -> step of its last listing of the data
        self.healed: dict[str, int] = {}  # digest of a manifest -> step of the listing before it
        self.steps = 0
        self.ends: Counter[str] = Counter()  # how operations ended, for statistics

    # --- the tape

    def choose(self, count: int) -> int:
        """0 when the tape is over."""
        if self.at >= len(self.tape):
            return 0
        self.at += 1
        return self.tape[self.at - 1] % count

    async def run(self) -> None:
        try:
            await self._begin()
            while self.at < len(self.tape):
                await self._step()
            await self._drain()
            if len(self.tape) % 4 == 0:
                await self._free_all()
        finally:
            for process in self.processes.values():
                await self._kill(process)

    async def _begin(self) -> None:
        """Most dangers need a past: a backup, a forgotten one, a cycle of the collector."""
        past = _PAST[self.choose(8)]
        if past:
            first = self._new("t0")
            await self._whole("a", self._back_up("a", first))
            await self._whole("a", self._commit("a", first))
        if past > 1:
            self.disk = {1, 2}
            second = self._new("t1")
            await self._whole("a", self._back_up("a", second))
            await self._whole("a", self._commit("a", second))
            await self._pass(2 * DAY, heartbeats=True)
            await self._whole("a", self._forget("a", first))
        if past > 2:
            await self._whole("a", self._collect("a"))
            await self._pass(25 * HOUR, heartbeats=True)
        self.disk = _DISKS[self.choose(4)]
        for beginning in _OPENINGS[self.choose(8)]:
            name = self._agent()
            self._spawn(name, self._collect(name) if beginning == "collect" else self._back_up(name, self._next()))
        await self._rest()

    async def _step(self) -> None:
        action = self.choose(16)
        if action < 9 and self.network.waiting:
            await self._deliver()
        elif action < 11:
            await self._start(self._agent(), action)
        elif action == 11:
            name = self._agent()
            self._spawn(name, self._collect(name))
        elif action == 12:
            self._finish_one()
        elif action == 13:
            await self._accident()
        elif action == 14 and self.network.late:
            await self.network.land(self.network.late[self.choose(len(self.network.late))])
        else:
            seconds = (25 * HOUR, 25 * HOUR, 2 * HOUR, 8 * DAY)[self.choose(4)]
            await self._pass(seconds, heartbeats=self.choose(3) > 0)
        await self._rest()

    async def _deliver(self) -> None:
        """Some requests of one actor; something may go wrong with the last one."""
        actors = sorted({request.actor for request in self.network.waiting})
        chosen = actors[self.choose(len(actors))]
        how = self.choose(256)
        stride, outcome = _STRIDES[how % 8], _OUTCOMES[how // 8]
        for left in reversed(range(stride)):
            mine = [request for request in self.network.waiting if request.actor == chosen]
            if not mine:
                return
            await self._answer(mine[0], Outcome.DONE if left else outcome)

    async def _answer(self, request: Request, outcome: Outcome = Outcome.DONE) -> None:
        self.trace.append(f"{request.actor}: {request.verb} {request.key} {outcome.name}")
        await self.network.deliver(request, outcome)
        await self._rest()

    async def _start(self, name: str, action: int) -> None:
        """A new backup, or another try of one; also of one that is running elsewhere."""
        open_ = [one for one in self.backups if not (one.abandoned or one.complete or one.digest)]
        if open_ and action == 9:
            self._spawn(name, self._back_up(name, open_[self.choose(len(open_))]))
        elif len(self.backups) < 5:
            self.disk = _DISKS[self.choose(4)]
            self._spawn(name, self._back_up(name, self._new(self._tag())))

    def _tag(self) -> str:
        """A new one, or that of a backup that is over."""
        over = [one for one in self.backups if one.abandoned and self._over(one)]
        if over and self.choose(2):
            old = over[self.choose(len(over))]
            if all(one.abandoned for one in self.backups if one.tag == old.tag):
                return old.tag
        return f"t{len(self.backups)}"

    def _over(self, backup: Backup) -> bool:
        """Nothing of it is under way, nor was within the hour in which a request may be late."""
        return not self._runs(backup) and self.now - backup.asked > HOUR

    def _finish_one(self) -> None:
        """What an operator does with a backup: commit it, give it up, or forget it."""
        name = self._agent()
        if not self.backups:
            return
        backup = self.backups[self.choose(len(self.backups))]
        if backup.digest and not (backup.complete or backup.abandoned):
            self._spawn(name, self._commit(name, backup))
        elif (backup.complete or backup.abandoned) and self.now - backup.asked > HOUR:
            if all(one is backup or one.abandoned for one in self.backups if one.tag == backup.tag):
                self._spawn(name, self._forget(name, backup))
        elif not backup.complete and not self._runs(backup):
            backup.abandoned, backup.asked = True, self.now

    async def _accident(self) -> None:
        """A process dies, or somebody deletes an object."""
        if self.choose(3):
            name = self._agent()
            self.trace.append(f"{name} dies")
            await self._kill(self.processes[name])
            self.processes[name] = _Process(self)
            return
        keys = sorted(key for key in self.store._objects if "/data/" in key)
        if keys:
            key = keys[self.choose(len(keys))]
            self.steps += 1
            self.trace.append(f"somebody deletes {key}")
            self.destroyed[key] = self.steps
            del self.store._objects[key]

    # --- operations

    async def _back_up(self, name: str, backup: Backup) -> None:
        process, job = self.processes[name], StandingJob(f"b-{backup.id}")
        backup.asked = self.now
        spec = BackupSpec(location=LOCATION, cluster="c", datacenter="dc", rack="r", node="n", tag=backup.tag,
                          backup_id=backup.id, epoch=backup.epoch)  # fmt: skip
        state = State.FAILED
        try:
            result = await process.backup.run(job, spec)  # type: ignore[arg-type]
            state = State.SUCCEEDED
        except Exception as error:  # noqa: BLE001  as Operations has it
            job.operation.error = self._failed("backup", error)
        await process.backup.finish(job, spec, state)  # type: ignore[arg-type]
        if state is State.SUCCEEDED:
            self._ended("backup", "Succeeded")
            backup.digest = backup.digest or msgspec.convert(result, NodeDigest)

    async def _commit(self, name: str, backup: Backup) -> None:
        backup.asked = self.now
        assert backup.digest
        spec = CommitSpec(location=LOCATION, cluster="c", datacenter="dc", tag=backup.tag, backup_id=backup.id,
                          nodes=[backup.digest])  # fmt: skip
        if await self._do("commit", self.processes[name].commit.run(StandingJob("c"), spec)):  # type: ignore[arg-type]
            backup.complete = True

    async def _forget(self, name: str, backup: Backup) -> None:
        backup.abandoned, backup.asked = True, self.now
        spec = ForgetSpec(location=LOCATION, cluster="c", datacenter="dc", tag=backup.tag, backup_id=backup.id)
        await self._do("forget", self.processes[name].forget.run(StandingJob("f"), spec))  # type: ignore[arg-type]

    async def _collect(self, name: str) -> None:
        spec = CollectSpec(location=LOCATION, cluster="c", datacenter="dc", node="n", limit=1.0, allow_empty=True)
        await self._do("collect", self.processes[name].collect.run(StandingJob(f"gc-{name}"), spec))  # type: ignore[arg-type]

    async def _do(self, what: str, work: Coroutine[Any, Any, Any]) -> bool:
        try:
            result = await work
        except Exception as error:  # noqa: BLE001  as Operations has it
            self._failed(what, error)
            return False
        if what == "collect" and result["deleted"]:
            what = "collect and delete"
        self._ended(what, "Succeeded")
        return True

    def _failed(self, what: str, error: Exception) -> Any:
        found = failure(error)
        if found.reason == "Internal":
            raise error
        self.trace.append(f"{what} fails: {found.reason} {found.message[:120]}")
        self._ended(what, found.reason)
        return found

    def _ended(self, what: str, how: str) -> None:
        self.ends[f"{what} {how}"] += 1

    def _next(self) -> Backup:
        """The last one, if it has no manifest yet, or a new one."""
        last = self.backups[-1:]
        return last[0] if last and not (last[0].digest or last[0].abandoned) else self._new(f"t{len(self.backups)}")

    def _new(self, tag: str) -> Backup:
        number = len(self.backups)
        backup = Backup(tag, f"uid-{number}", f"e{number}")
        self.backups.append(backup)
        self.snapshots[tag] = set(self.disk)
        return backup

    def _runs(self, backup: Backup) -> bool:
        end = f"-{backup.id}"
        return any(task.get_name().endswith(end) for one in self.processes.values() for task in one.tasks)

    def _agent(self) -> str:
        return "ab"[self.choose(2)]

    def _spawn(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        process = self.processes[name]
        label = f"{name}{next(self.numbers)}-{work.cr_code.co_name}"  # type: ignore[attr-defined]
        about = work.cr_frame.f_locals.get("backup")  # type: ignore[attr-defined]
        label += f"-{about.id}" if about else ""
        token = actor.set(label)
        task = asyncio.create_task(work, name=label)
        actor.reset(token)
        self.trace.append(f"{label} begins")
        process.tasks.add(task)
        task.add_done_callback(process.tasks.discard)
        return task

    async def _whole(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """From its beginning to its end, and nothing beside it."""
        task = self._spawn(name, work)
        await self._rest()
        while not task.done():
            await self._answer(self.network.waiting[0])
        task.result()

    # --- time and ends

    async def sleep(self, seconds: float) -> None:
        """Of heartbeats."""
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.sleepers.append(woken)
        await woken

    async def _pass(self, seconds: float, *, heartbeats: bool) -> None:
        """Without ``heartbeats`` every process was stopped meanwhile."""
        self.trace.append(f"{seconds / HOUR:.0f} hours pass{'' if heartbeats else ', and all stood still'}")
        await self.network.settle()
        self.now += seconds
        if heartbeats:
            woken, self.sleepers = self.sleepers, []
            for one in woken:
                if not one.done():
                    one.set_result(None)
            before = list(self.network.waiting)
            await self._rest()
            for request in [one for one in self.network.waiting if one not in before]:
                await self._answer(request)

    async def _drain(self) -> None:
        """Everybody comes to an end, and nothing else goes wrong."""
        await self._rest()
        while self.network.waiting:
            await self._answer(self.network.waiting[0])
        while self.network.late:
            await self.network.land(self.network.late[0])
        for process in self.processes.values():
            assert not process.tasks, f"{process.tasks} wait for nothing"

    async def _free_all(self) -> None:
        """What nobody needs goes: the collector is not only safe because it does nothing."""
        await self._pass(8 * DAY, heartbeats=False)
        for _ in range(4):
            await self._whole("a", self._collect("a"))
            await self._pass(25 * HOUR, heartbeats=False)
        needed = set()
        for key, (_, data) in self.store._objects.items():
            if key.startswith(PATH.manifests):
                needed |= {PATH.root + one.key for one in catalog.decode_manifest(data).objects}
        left = {key for key in self.store._objects if "/data/" in key} - needed
        assert not left, f"nobody needs {left}"

    async def _kill(self, process: _Process) -> None:
        process.client.kill()
        tasks = list(process.tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _rest(self) -> None:
        """Until everybody waits for the network."""
        ready = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]
        await asyncio.sleep(0)
        while ready:  # noqa: ASYNC110  nothing tells when a loop is at rest
            await asyncio.sleep(0)
        for process in self.processes.values():
            for task in list(process.tasks):
                if task.done():
                    task.result()

    # --- what must hold

    def _applied(self, request: Request) -> None:
        self.steps += 1
        if request.verb == "list" and request.key.startswith(f"{PATH.root}{HOST}/data/"):
            self.listed[request.actor] = self.steps
        if not request.writes or "/_gc/" in request.key or "/pending/" in request.key:
            return
        if request.verb == "put" and request.key.startswith(PATH.manifests) and request.key in self.store._objects:
            digest = catalog.digest(self.store._objects[request.key][1])
            self.healed.setdefault(digest, self.listed.get(request.actor, 0))
        self.check()

    def check(self) -> None:
        for backup in self.backups:
            key = catalog.record_key("c", backup.tag, "dc")
            there = self.store._objects.get(key)
            record = catalog.decode_record(there[1]) if there else None
            if backup.complete and not backup.abandoned and (record is None or record.backup_id != backup.id):
                raise LostError(f"the record of {backup.tag} is gone")
            if record is not None:
                self._check_record(record)

    def _check_record(self, record: Any) -> None:
        for node in record.nodes:
            there = self.store._objects.get(PATH.manifest(record.tag))
            if there is None or catalog.digest(there[1]) != node.digest:
                raise LostError(f"the manifest of {record.tag} is gone")
            for stored in catalog.decode_manifest(there[1]).objects:
                key = PATH.root + stored.key
                found = self.store._objects.get(key)
                if found is None and self.destroyed.get(key, 0) > self.healed.get(node.digest, 0):
                    continue  # an accident after the backup had looked
                if found is None:
                    raise LostError(f"{record.tag} needs {key}")
                if found[1] != self.pool.content[catalog.split_key(stored.key)[0]]:
                    raise LostError(f"{record.tag} needs other bytes at {key}")
