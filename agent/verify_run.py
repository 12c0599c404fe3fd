"""The ``verify`` operation: what the bucket has of one node, against the manifests of its complete backups.

    records → manifests → LIST → by level: nothing more | HEAD of each object | read a share of them → name, heal

Records and manifests are read before the listing, and the records listed again before anything is named: a backup that
is deleted meanwhile, and a collector that sweeps what nobody needs, are no finding. Everything can be begun again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from agent import catalog, records
from agent.bandwidth import Direction
from agent.catalog import NodePath
from agent.coding import Coding
from agent.cursor import Cursor, Progress
from agent.errors import AgentError, Reason
from agent.flow import Flow, each
from agent.heal import Healer
from agent.protocol import Fault, Level, Verified, VerifySpec
from agent.verify import SOUND, Verdict, Wants, covered, pieces_of, portion
from agent.verify_find import Findings, users_of
from agent.verify_read import Examiner, wrong_size
from agent.verify_records import Lost, complete, record_keys
from backends.streams import closing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from agent.coding import Codings
    from agent.job import Job
    from agent.protocol import State
    from agent.stores import Opener
    from agent.verify import Use
    from backends.base import ObjectStore

_KEEP_EVERY = 256 << 20  # bytes that are read until the place is kept
_LOST = {
    Reason.MANIFEST_MISSING: Fault.MANIFEST_MISSING,
    Reason.MANIFEST_CHANGED: Fault.MANIFEST_CHANGED,
    Reason.MANIFEST_INVALID: Fault.MANIFEST_INVALID,
}

log = structlog.get_logger(__name__)


class VerifyHandler:
    spec_type = VerifySpec

    def __init__(
        self, open_store: Opener, data_dirs: Sequence[Path], state_dir: Path, *, codings: Codings = Coding
    ) -> None:
        self._open_store = open_store
        self._codings = codings
        self._data_dirs = tuple(data_dirs)
        self._state_dir = state_dir
        self._healing = asyncio.Lock()  # one at a time: another one's open uploads are not abandoned

    def check(self, spec: VerifySpec) -> None:
        for name in (spec.cluster, spec.datacenter, spec.node):
            catalog.escape(name)
        if spec.tag or spec.digest:
            catalog.check_tag(spec.tag)
        if not 0 < spec.share <= 1 or not 0 <= spec.concurrent_transfers <= 64 or spec.bandwidth < 0:
            message = "share must be above 0 and at most 1, concurrentTransfers 0 to 64, bandwidth 0 or more"
            raise AgentError(Reason.INVALID_SPEC, message)

    async def run(self, job: Job, spec: VerifySpec) -> dict[str, Any]:
        coding = await asyncio.to_thread(self._codings)
        async with self._open_store(spec.location) as store:
            run = _Run(job, spec, store, coding)
            await run.expect()
            await run.list()
            match spec.level:
                case Level.HASH:
                    await run.compare()
                case Level.READ:
                    await run.read(self._cursor(spec))
            async with self._healing:
                result = await run.settle(self._data_dirs)
        if not result.intact:
            log.warning(
                "the verification found faults", node=spec.node, missing=result.missing, damaged=result.damaged,
                manifests=result.manifests, healed=result.healed,
            )  # fmt: skip
        return dict(msgspec.to_builtins(result))

    async def finish(self, _job: Job, spec: VerifySpec, state: State) -> None:
        pass

    def _cursor(self, spec: VerifySpec) -> Cursor:
        where = spec.location
        url = (where.endpoint and where.endpoint.url) or ""
        words = (where.backup_type, where.target, url, spec.cluster, spec.datacenter, spec.node, spec.tag)
        return Cursor(self._state_dir, *words)


class _Run:
    """One verification. ``wants`` fills, loses what is sound, and what is left is named by ``found``."""

    def __init__(self, job: Job, spec: VerifySpec, store: ObjectStore, coding: Coding) -> None:
        self.job = job
        self.spec = spec
        self.store = store
        self.coding = coding
        self.path = NodePath(spec.cluster, spec.datacenter, spec.node)
        self.wants = Wants()
        self.result = Verified(level=spec.level)
        self.found = Findings(self.path.root, self.result)
        self.backups: dict[str, str] = {}  # tag -> digest of the node's manifest, the newest first
        self.lost: list[Lost] = []
        self.flow = Flow.of(spec.concurrent_transfers, spec.bandwidth, direction=Direction.RECEIVE)
        self.examiner = Examiner(store, self.path.root, self.flow, job.receive, coding)

    async def expect(self) -> None:
        """What every backup's manifest names. One that cannot be used is a finding, and no reason to stop."""
        await self.job.enter("Expecting")
        if self.spec.digest:
            self.backups = {self.spec.tag: self.spec.digest}
        else:
            self.backups, self.lost = await complete(self.store, self.spec)
        if self.spec.tag and not self.backups and not self.lost:
            where = f"{self.store.name} has no complete backup {self.spec.tag} of {self.spec.node}"
            raise AgentError(Reason.BACKUP_NOT_FOUND, f"{where}: list the backups, and verify one of those")
        await self.job.enter("Expecting", files=len(self.backups))
        for tag, digest in self.backups.items():
            try:
                manifest = await records.read_manifest(self.store, self.path, tag, digest)
            except AgentError as error:
                if (fault := _LOST.get(error.reason)) is None:
                    raise
                self.lost.append(Lost(tag, self.path.manifest(tag), fault, error.message))
            else:
                await asyncio.to_thread(self.coding.reveal, manifest)
                await asyncio.to_thread(self.wants.absorb, tag, manifest)
            self.job.file_done()
        self.result.backups = len(self.backups)
        self.result.objects = len(self.wants.objects)
        self.result.bytes = sum(wanted.size for wanted in self.wants.objects.values())

    async def list(self) -> None:
        """All of the node's, also of its former host ids."""
        await self.job.enter("Listing")
        root = self.path.root
        async with closing(self.store.list(root)) as listing:
            async for meta in listing:
                key = meta.key.removeprefix(root)
                self.wants.see(key, meta.size)
                wanted = self.wants.objects.get(key)
                if wanted is not None and wanted.fault is not None:
                    self.found.note(key, wrong_size(meta.size, wanted))

    async def compare(self) -> None:
        keys = await asyncio.to_thread(self.wants.sound)
        await self.job.enter("Comparing", files=len(keys))

        async def one(key: str) -> None:
            verdict, compared = await self.examiner.compare(key, self.wants.objects[key])
            self._judge(key, verdict)
            if compared:
                self.result.compared += 1
            else:
                self.result.not_comparable += 1
            self.job.file_done()

        await each(keys, self.flow.most, one)

    async def read(self, cursor: Cursor) -> None:
        """The next share, and what was not right before."""
        objects = self.wants.objects
        place = await asyncio.to_thread(cursor.load)
        sizes = [(key, objects[key].size) for key in await asyncio.to_thread(self.wants.sound)]
        chosen = await asyncio.to_thread(portion, sizes, place.after, self.spec.share)
        there = set(chosen)
        suspects = [key for key in place.suspects if key not in there and key in objects and not objects[key].fault]
        keys = [*suspects, *chosen]
        await self.job.enter("Reading", files=len(keys), size=sum(objects[key].content for key in keys))
        progress, wrong, unkept = Progress(), list[str](), 0

        async def one(at: int) -> None:
            nonlocal unkept
            key = keys[at]
            wanted = objects[key]
            verdict = await self.examiner.read(key, wanted)
            self._judge(key, verdict)
            if verdict.fault:
                wrong.append(key)
            self.result.read_objects += 1
            self.result.read_bytes += wanted.content
            self.job.file_done()
            progress.done(at)
            unkept += wanted.size
            if unkept >= _KEEP_EVERY:
                unkept = 0
                await keep()

        async def keep() -> None:
            low = progress.low - len(suspects)
            after = chosen[low - 1] if low > 0 else place.after
            unread = suspects[progress.low :]
            await asyncio.to_thread(cursor.keep, after, [*wrong, *unread])

        try:
            await each(range(len(keys)), self.flow.most, one)
        finally:
            await keep()

    def _judge(self, key: str, verdict: Verdict) -> None:
        self.wants.objects[key].fault = verdict.fault
        if verdict is not SOUND:
            self.found.note(key, verdict)

    async def settle(self, data_dirs: Sequence[Path]) -> Verified:
        """Names what is wrong, by the backups that are still there, and heals it where that was asked for."""
        if self.lost or self.wants.faulty():
            there = await self._still_there()
            await asyncio.to_thread(self.wants.forget, {tag for tag in self.wants.tags if tag not in there})
            for lost in self.lost:
                if lost.tag in there:
                    self.found.lost(lost)
        flow = Flow.of(self.spec.concurrent_transfers, self.spec.bandwidth)
        healer = Healer(self.store, self.path.root, flow, self.examiner, data_dirs, self.job.count, self.coding)
        if self.spec.heal:
            await healer.abandon(self.wants.objects)
        if faulty := self.wants.faulty():
            await self._name(faulty, healer)
        self.found.close(self.wants)
        return self.result

    async def _still_there(self) -> set[str]:
        """Tags."""
        if self.spec.digest:
            return {self.spec.tag}
        return {tag for tag, _ in await record_keys(self.store, self.spec)}

    async def _name(self, faulty: set[str], healer: Healer) -> None:
        """One manifest at a time, until each fault was met in one."""
        heal = self.spec.heal
        await self.job.enter("Healing" if heal else "Naming", files=len(faulty))
        for at, tag in enumerate(self.wants.tags):
            mine = {key for key in faulty if self.wants.objects[key].backups >> at & 1}
            if not mine:
                continue
            try:
                manifest = await records.read_manifest(self.store, self.path, tag, self.backups[tag])
            except AgentError as error:
                log.warning("a manifest cannot be read again", tag=tag, error=error.message)
                continue
            await asyncio.to_thread(self.coding.reveal, manifest)
            users = await asyncio.to_thread(users_of, manifest, mine)
            for key in [key for key, used in users.items() if not self._tells(at, key, used)]:
                del users[key]

            async def one(key: str, users: dict[str, list[Use]] = users) -> None:
                wanted = self.wants.objects[key]
                backups = self.wants.needed_by(wanted)
                finding = self.found.name(key, wanted, users[key], backups)
                if heal:
                    finding.healing, finding.healing_detail = await healer.heal(key, wanted, users[key])
                    self.found.healed(wanted, finding)
                self.job.file_done()

            await each(sorted(users), self.flow.most, one)
            faulty -= users.keys()

    def _tells(self, at: int, key: str, users: Sequence[Use]) -> bool:
        """Whether this manifest names all that is in the object, or no older one could."""
        wanted = self.wants.objects[key]
        return not wanted.backups >> at + 1 or covered(wanted.content, pieces_of(users))
