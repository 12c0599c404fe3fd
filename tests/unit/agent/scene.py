"""A bucket, a bad network, an operator, and two agents ``a`` and ``b`` that work for the same node.

The real handlers run, and whoever plays the scene says which request takes effect next and what becomes of it. After
each one that changed something, every complete backup must be whole: ``LostError``.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache, partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec

from agent import catalog
from agent.backup import BackupHandler
from agent.catalog import NodePath
from agent.collector import CollectHandler
from agent.errors import failure
from agent.forget import ForgetHandler
from agent.protocol import BackupSpec, CollectSpec, CommitSpec, ForgetSpec, Location, NodeDigest, State
from agent.reservation import Reservation
from agent.tasks import CommitHandler
from agent.turns import Turns
from backends.memory import MemoryStore
from tests.fakes.network import Network, Outcome, actor
from tests.unit.agent.pool import PoolSnapshots, StandingJob

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

    from tests.fakes.network import Client, Request
    from tests.unit.agent.pool import Pool

HOUR, DAY = 3600.0, 86_400.0
START = 1_800_000_000.0
PATH = NodePath("c", "dc", "n")
LOCATION = Location(backup_type="MEMORY", target="bucket")


class LostError(AssertionError):
    """A complete backup lacks something."""


# The same ones are looked at again and again: after each request of an interleaving.
_record = lru_cache(256)(catalog.decode_record)
_record_key = lru_cache(256)(partial(catalog.record_key, "c", datacenter="dc"))
_manifest_key = lru_cache(256)(PATH.manifest)


@lru_cache(256)
def _manifest(data: bytes) -> tuple[str, list[tuple[str, str]]]:
    """(digest, [(key, identity) of each object])."""
    objects = catalog.decode_manifest(data).objects
    return catalog.digest(data), [(PATH.root + one.key, catalog.split_key(one.key)[0]) for one in objects]


@dataclass(eq=False)
class Backup:
    """As the operator sees it. ``abandoned``: it sends nothing more about it, but to forget it."""

    tag: str
    id: str
    epoch: str
    digest: NodeDigest | None = None
    complete: bool = False
    abandoned: bool = False
    asked: float = 0.0  # when a commit was last sent


class _Process:
    """An agent from its start to its death."""

    def __init__(self, world: Scene) -> None:
        self.client: Client = world.network.client()
        self.tasks: set[asyncio.Task[None]] = set()
        turns, number = Turns(), world.numbers
        elapsed = lambda: world.now  # noqa: E731
        self.backup = BackupHandler(
            PoolSnapshots(world.pool, world.snapshots),  # type: ignore[arg-type]
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
class Scene:
    pool: Pool
    now: float = START
    snapshots: dict[str, set[int]] = field(default_factory=dict)
    backups: list[Backup] = field(default_factory=list)
    allow_empty: bool = True  # of a collection: else what is there of no manifest must all be of runs that ended
    trace: list[str] = field(default_factory=list)  # for people

    def __post_init__(self) -> None:
        self.store = MemoryStore(clock=lambda: self.now)
        self.network = Network(self.store, self._applied, lambda: self.steps)
        self.numbers = itertools.count(1)
        self.processes = {name: _Process(self) for name in ("a", "b")}
        self.disk: set[int] = {0, 1}
        self.sleepers: list[asyncio.Future[None]] = []
        self.destroyed: dict[str, int] = {}  # data objects that were deleted from outside -> when, in steps
        self.looked: dict[str, int] = {}  # digest of a manifest -> step in which it was sent, right after a last look
        self.steps = 0
        self.ends: Counter[str] = Counter()  # how operations ended, for statistics

    # --- scenes

    async def past(self, past: int) -> None:
        """Most dangers need one: 1 a backup, 2 also one that was forgotten, 3 a cycle of the collector that found what
        only that one had, 4 also a backup that failed when all was sent.
        """
        if past:
            first = self.new("t0")
            await self.whole("a", self.back_up("a", first))
            await self.whole("a", self.commit("a", first))
        if past > 1:
            self.disk = {1, 2}
            second = self.new("t1")
            await self.whole("a", self.back_up("a", second))
            await self.whole("a", self.commit("a", second))
            await self.passes(2 * DAY, heartbeats=True)
            await self.whole("a", self.forget("a", first))
        if past > 3:
            await self.fail_half_way(self.new("t2"))
            await self.passes(25 * HOUR, heartbeats=True)
        if past > 2:
            await self.whole("a", self.collect("a"))
            await self.passes(25 * HOUR, heartbeats=True)

    async def fail_half_way(self, backup: Backup) -> None:
        """All of it is sent, and then the store is away: what is there belongs to nobody, until it is tried again."""
        self.disk = {2, 3}
        self.snapshots[backup.tag] = set(self.disk)
        task = self.spawn("a", self.back_up("a", backup))
        await self.rest()
        sent = False
        while not task.done():
            request = self.network.waiting[0]
            refused = sent and request.verb in {"put", "list"}
            await self.answer(request, Outcome.REFUSED if refused else Outcome.DONE)
            sent = sent or ("/data/" in request.key and request.verb == "put")

    async def advance(self, chosen: str, stride: int, last: Outcome = Outcome.DONE) -> None:
        await self.rest()
        for left in reversed(range(stride)):
            mine = [request for request in self.network.waiting if request.actor == chosen]
            if not mine:
                return
            await self.answer(mine[0], Outcome.DONE if left else last)

    async def answer(self, request: Request, outcome: Outcome = Outcome.DONE) -> None:
        self.trace.append(f"{request.actor}: {request.verb} {request.key} {outcome.name}")
        await self.network.deliver(request, outcome)
        await self.rest()

    async def until(self, task: asyncio.Task[None], verb: str, part: str, *, count: int = 1) -> None:
        """The task goes on to where its ``count``-th request of this kind was sent, or to its end."""
        await self.rest()
        while mine := [request for request in self.network.waiting if request.actor == task.get_name()]:
            if mine[0].verb == verb and part in mine[0].key:
                count -= 1
                if not count:
                    return
            await self.answer(mine[0])

    async def finish(self, task: asyncio.Task[None]) -> None:
        while not task.done():
            await self.advance(task.get_name(), 1)
        task.result()

    async def destroy(self, key: str) -> None:
        """From outside, behind everybody's back."""
        self.steps += 1
        self.trace.append(f"somebody deletes {key}")
        self.destroyed[key] = self.steps
        await self.store.delete([key])

    async def die(self, name: str) -> None:
        """A new process follows."""
        self.trace.append(f"{name} dies")
        await self.kill(self.processes[name])
        self.processes[name] = _Process(self)

    def data(self) -> list[str]:
        return sorted(key for key in self.store._objects if "/data/" in key)

    async def end(self) -> None:
        for process in self.processes.values():
            await self.kill(process)

    # --- operations

    async def back_up(self, name: str, backup: Backup) -> None:
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

    async def commit(self, name: str, backup: Backup) -> None:
        backup.asked = self.now
        assert backup.digest
        spec = CommitSpec(location=LOCATION, cluster="c", datacenter="dc", tag=backup.tag, backup_id=backup.id,
                          nodes=[backup.digest])  # fmt: skip
        if await self._do("commit", self.processes[name].commit.run(StandingJob("c"), spec)):  # type: ignore[arg-type]
            backup.complete = True

    async def forget(self, name: str, backup: Backup) -> None:
        backup.abandoned, backup.asked = True, self.now
        spec = ForgetSpec(location=LOCATION, cluster="c", datacenter="dc", tag=backup.tag, backup_id=backup.id)
        await self._do("forget", self.processes[name].forget.run(StandingJob("f"), spec))  # type: ignore[arg-type]

    async def collect(self, name: str) -> None:
        """What is abandoned has ended, as far as the operator knows: an agent may be at it."""
        ended = [one.epoch for one in self.backups if one.abandoned and not one.complete]
        spec = CollectSpec(location=LOCATION, cluster="c", datacenter="dc", node="n", limit=1.0, ended=ended,
                           allow_empty=self.allow_empty, allow_ended=True)  # fmt: skip
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

    def new(self, tag: str) -> Backup:
        number = len(self.backups)
        backup = Backup(tag, f"uid-{number}", f"e{number}")
        self.backups.append(backup)
        self.snapshots[tag] = set(self.disk)
        return backup

    def runs(self, backup: Backup) -> bool:
        end = f"-{backup.id}"
        return any(task.get_name().endswith(end) for one in self.processes.values() for task in one.tasks)

    def spawn(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
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

    async def whole(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """From its beginning to its end, and nothing beside it."""
        task = self.spawn(name, work)
        await self.rest()
        while not task.done():
            await self.answer(self.network.waiting[0])
        task.result()

    # --- time and ends

    async def sleep(self, seconds: float) -> None:
        """Of heartbeats."""
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.sleepers.append(woken)
        await woken

    async def passes(self, seconds: float, *, heartbeats: bool) -> None:
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
            await self.rest()
            for request in [one for one in self.network.waiting if one not in before]:
                await self.answer(request)

    async def drain(self) -> None:
        """Everybody comes to an end, and nothing else goes wrong."""
        await self.rest()
        while self.network.waiting:
            await self.answer(self.network.waiting[0])
        while self.network.late:
            await self.network.land(self.network.late[0])
        for process in self.processes.values():
            assert not process.tasks, f"{process.tasks} wait for nothing"

    async def free_all(self) -> None:
        """What nobody needs goes: the collector is not only safe because it does nothing."""
        for backup in self.backups:
            backup.abandoned |= not backup.complete
        self.allow_empty = any(one.complete and one.abandoned for one in self.backups)
        await self.passes(2 * DAY, heartbeats=False)
        for _ in range(4):
            await self.whole("a", self.collect("a"))
            await self.passes(25 * HOUR, heartbeats=False)
        needed = set()
        for key, (_, data) in self.store._objects.items():
            if key.startswith(PATH.manifests):
                needed |= {PATH.root + one.key for one in catalog.decode_manifest(data).objects}
        left = {key for key in self.store._objects if "/data/" in key} - needed
        assert not left, f"nobody needs {left}"

    async def kill(self, process: _Process) -> None:
        process.client.kill()
        tasks = list(process.tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.gather(*tasks, return_exceptions=True)

    async def rest(self) -> None:
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
        if not request.writes or "/_gc/" in request.key or "/pending/" in request.key:
            return
        if request.verb == "put" and request.key.startswith(PATH.manifests) and request.key in self.store._objects:
            digest = catalog.digest(self.store._objects[request.key][1])
            self.looked.setdefault(digest, request.sent)
        self.check()

    def check(self) -> None:
        for backup in self.backups:
            there = self.store._objects.get(_record_key(backup.tag))
            record = _record(there[1]) if there else None
            if backup.complete and not backup.abandoned and (record is None or record.backup_id != backup.id):
                raise LostError(f"the record of {backup.tag} is gone")
            if record is not None:
                self._check_record(record)

    def _check_record(self, record: Any) -> None:
        for node in record.nodes:
            there = self.store._objects.get(_manifest_key(record.tag))
            if there is None or (manifest := _manifest(there[1]))[0] != node.digest:
                raise LostError(f"the manifest of {record.tag} is gone")
            for key, identity in manifest[1]:
                found = self.store._objects.get(key)
                if found is None and self.destroyed.get(key, 0) > self.looked.get(node.digest, 0):
                    continue  # an accident after the backup had looked
                if found is None:
                    raise LostError(f"{record.tag} needs {key}")
                if found[1] != self.pool.content[identity]:
                    raise LostError(f"{record.tag} needs other bytes at {key}")
