"""Many agents without a network: ``reconcilers.agents.Transport`` over scripted operations that take fake time.

They keep what an operator relies on: one id is one work for ever, or none where it was cancelled before it was known, a
journal that outlives the process, snapshots that are there or not, a bucket in which a commit finds the manifests it
names or does not. A failure that may be tried again leaves the snapshot; every other end clears it.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

import msgspec

from agent.catalog import owns_epoch
from agent.protocol import (
    TOKEN_HEADER,
    BackupName,
    BackupNames,
    ClusterRecord,
    Collected,
    CollectSpec,
    Failure,
    Forgotten,
    Kind,
    Level,
    MissingNode,
    Node,
    NodeDigest,
    Operation,
    OperationRequest,
    Progress,
    RecordedNode,
    State,
    Verified,
)
from controller.clock import rfc3339
from reconcilers.agents import Address, AgentUnreachable

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconcilers.identity import MasterKey
    from tests.fakes.clock import FakeClock

DENIED = Failure(reason="AccessDenied", message="s3://bucket: put: Access Denied: allow s3:PutObject")
_TAG_EXISTS = Failure(reason="SnapshotTagExists", message="another backup has the tag")
THROTTLED = Failure(reason="StorageThrottled", message="s3://bucket: put: SlowDown", retryable=True)


@dataclass
class Script:
    """How operations of one kind go at one agent. ``fail`` has one entry a try, None for a try that goes well."""

    seconds: float = 1.0
    bytes: int = 1000
    files: int = 10
    fail: deque[Failure | None] = field(default_factory=deque)
    stuck: bool = False  # runs, answers, and never comes forward
    ignores_cancel: bool = False
    result: dict[str, Any] = field(default_factory=dict)


class Refusal(Exception):  # noqa: N818  an answer
    def __init__(self, status: int, error: str, reason: str) -> None:
        super().__init__(error)
        self.status, self.error, self.reason = status, error, reason


@dataclass
class Bucket:
    manifests: dict[tuple[str, str], str] = field(default_factory=dict)  # (tag, node) -> digest
    records: dict[tuple[str, str, str], ClusterRecord] = field(default_factory=dict)  # (cluster, datacenter, tag)
    shared: set[str] = field(default_factory=set)  # names of objects that each backup of every node has
    objects: dict[tuple[str, str], float] = field(default_factory=dict)  # (node, object) -> when it was sent
    owners: dict[tuple[str, str], str] = field(default_factory=dict)  # (tag, node) -> the backup's id
    lists: dict[str, tuple[float, set[str]]] = field(default_factory=dict)  # node -> when, candidates
    unlisted: set[str] = field(default_factory=set)  # tags of records that are there and that no listing shows yet

    def needs(self, tag: str) -> set[str]:
        return {*self.shared, f"only-{tag}"}

    def send(self, tag: str, node: str, backup_id: str, digest: str, now: float) -> None:
        for name in self.needs(tag):
            self.objects.setdefault((node, name), now)
        self.manifests[tag, node] = digest
        self.owners[tag, node] = backup_id

    def of(self, node: str) -> set[str]:
        return {name for where, name in self.objects if where == node}

    def forget(self, spec: dict[str, Any]) -> Failure | dict[str, Any]:
        """As agent/forget.py, but for its hour: the record, then the manifests."""
        key = spec["cluster"], spec["datacenter"], spec["tag"]
        record = self.records.get(key)
        if record is not None and record.backup_id != spec["backupId"]:
            return Failure(reason="SnapshotTagExists", message=f"the tag {spec['tag']} is another backup's: it stays")
        self.records.pop(key, None)
        gone = [k for k in self.manifests if k[0] == spec["tag"] and self.owners.get(k) == spec["backupId"]]
        for each in gone:
            del self.manifests[each]
        left = {node for _, node in self.manifests}
        empty = sorted({node for node, _ in self.objects} - left)
        return msgspec.to_builtins(Forgotten(manifests=len(gone), empty=empty))

    def collect(self, spec: dict[str, Any], now: float) -> Failure | dict[str, Any]:
        """As agent/collector.py: what is on a list that is as old as the grace goes."""
        wanted = msgspec.convert(spec, CollectSpec)
        node = wanted.node
        live = set[str]().union(*(self.needs(tag) for tag, where in self.manifests if where == node))
        mine, before = self.of(node), now - wanted.grace
        unneeded = mine - live
        candidates = {name for name in unneeded if self.objects[node, name] <= before}
        result = Collected(objects=len(mine), live=len(mine & live), young=len(unneeded - candidates))
        result.candidates = len(candidates)
        explained = all(any(owns_epoch(of, name.rpartition("-")[2]) for of in wanted.ended) for name in mine)
        if live:
            refused = len(candidates) - wanted.expected > 0.5 * len(mine)
        else:
            refused = not (wanted.allow_empty or (wanted.allow_ended and explained))
        if candidates and refused:
            return Failure(reason="CollectRefused", message=f"too much of {node} would go: nothing was deleted")
        at, listed = self.lists.get(node, (now, set[str]()))
        if node in self.lists and at <= before:
            for name in candidates & listed:
                del self.objects[node, name]
                result.deleted += 1
        if node not in self.lists or at <= before:
            self.lists[node] = now, candidates
        return msgspec.to_builtins(result)


class FakeAgent:
    """The agent of one pod, with its volume. Scripts are by kind; a kind without one goes well."""

    def __init__(self, world: FakeAgents, pod: str, rack: str) -> None:
        self.world = world
        self.pod = pod
        self.rack = rack
        self.ip = ""
        self.session = world.new_session()
        self.scripts: dict[Kind, Script] = {}
        self.journal: dict[str, Running] = {}
        self.withdrawn: set[str] = set()  # ids that were cancelled before they were known
        self.snapshots: set[str] = set()
        self.executed: Counter[str] = Counter()  # by id: how often it began from nothing
        self.silent = False
        self.answers: dict[str, Refusal] = {}  # by method: instead of doing it
        self.schema_version = "schema-1"
        self.slow_clock = 0.0  # seconds that it is behind

    def now(self) -> str:
        return rfc3339(self.world.clock.now() - timedelta(seconds=self.slow_clock))

    def script(self, kind: Kind, **changes: Any) -> Script:
        found = self.scripts.setdefault(kind, Script(seconds=self.world.seconds))
        for name, value in changes.items():
            setattr(found, name, deque(value) if name == "fail" else value)
        return found

    def restart(self) -> None:
        """Another process on the same volume: what was not final goes on."""
        self.session = self.world.new_session()
        for running in self.journal.values():
            if not running.operation.state.final:
                running.begin(again=True)

    def lose_volume(self) -> None:
        for running in self.journal.values():
            running.drop()
            running.wake()
        self.journal.clear()
        self.withdrawn.clear()
        self.snapshots.clear()
        self.restart()

    def begin(self, operation_id: str, kind: Kind, spec: dict[str, Any]) -> Running:
        """As a PUT, or as an init container that reads its plan."""
        self.executed[operation_id] += 1
        found = self.journal[operation_id] = Running(self, operation_id, kind, spec)
        for hear in self.world.begun:
            hear(found)
        found.begin()
        return found

    def of_kind(self, kind: Kind) -> list[Operation]:
        return [r.operation for r in self.journal.values() if r.operation.kind is kind]

    async def handle(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        if method in self.answers:
            raise self.answers[method]
        route, _, text = path.partition("?")
        query = dict(parse_qsl(text))
        if route == "/v1/node":
            node = Node(session=self.session, agent_version="0", pod=self.pod, schema_version=self.schema_version)
            return 200, node
        if route == "/v1/catalog/names":
            return 200, self._names(query)
        if route.startswith("/v1/catalog/backups/"):
            return 200, self._record(query, unquote(route.rpartition("/")[2]))
        operation_id = unquote(route.removeprefix("/v1/operations/"))
        if method == "PUT":
            return self._put(operation_id, msgspec.json.decode(body, type=OperationRequest))
        running = self.journal.get(operation_id)
        if running is None:
            if method == "DELETE":
                self.withdrawn.add(operation_id)
            raise Refusal(404, f"there is no operation {operation_id} here", "UnknownOperation")
        if method == "DELETE":
            running.cancel()
            return 200, running.operation
        await running.wait(int(query.get("since", 0)), float(query.get("wait", 0)))
        if operation_id not in self.journal:
            raise Refusal(404, f"there is no operation {operation_id} here", "UnknownOperation")
        return 200, running.operation

    def _put(self, operation_id: str, request: OperationRequest) -> tuple[int, Operation]:
        known = self.journal.get(operation_id)
        if known is None:
            if operation_id in self.withdrawn:
                raise Refusal(410, f"the operation {operation_id} was cancelled before", "OperationWithdrawn")
            return 201, self.begin(operation_id, request.kind, request.spec).operation
        if (known.operation.kind, known.spec) != (request.kind, request.spec):
            raise Refusal(409, f"the operation {operation_id} is known with another spec", "OtherSpec")
        return 200, known.operation

    def _names(self, query: dict[str, str]) -> BackupNames:
        self.world.inspected.append(query)
        if self.world.catalog_refusal is not None:
            raise self.world.catalog_refusal
        keys = [key for key in self.world.bucket.records if key[2] not in self.world.bucket.unlisted]
        names = [BackupName(cluster=c, datacenter=d, tag=t) for c, d, t in reversed(keys)]
        return BackupNames(names=names[: int(query["limit"])], total=len(keys))

    def _record(self, query: dict[str, str], tag: str) -> ClusterRecord:
        self.world.inspected.append(query)
        if self.world.catalog_refusal is not None:
            raise self.world.catalog_refusal
        found = {
            f"{cluster}/{datacenter}": record
            for (cluster, datacenter, named), record in self.world.bucket.records.items()
            if named == tag and cluster == query.get("cluster", cluster)
            and datacenter == query.get("datacenter", datacenter)
        }  # fmt: skip
        if not found:
            raise Refusal(404, f"s3://bucket has no backup {tag}", "BackupNotFound")
        if len(found) > 1:
            raise Refusal(409, f"s3://bucket has several backups {tag}: {', '.join(found)}", "BackupAmbiguous")
        return next(iter(found.values()))


class Running:
    """One operation at one agent, driven by the fake clock's timers: no task is ever left."""

    def __init__(self, agent: FakeAgent, operation_id: str, kind: Kind, spec: dict[str, Any]) -> None:
        self.agent = agent
        self.spec = spec
        self.operation = Operation(
            id=operation_id, kind=kind, state=State.PENDING, revision=0, session=agent.session, attempts=0
        )
        self._waiting: list[asyncio.Future[None]] = []
        self._timer: Any = None

    @property
    def script(self) -> Script:
        return self.agent.scripts.get(self.operation.kind) or Script(seconds=self.agent.world.seconds)

    def begin(self, *, again: bool = False) -> None:
        now = self.agent.now()
        operation, script = self.operation, self.script
        operation.session, operation.state = self.agent.session, State.RUNNING
        operation.attempts += 1
        operation.started_at, operation.last_progress_at = operation.started_at or now, now
        self._bump()
        if operation.kind is Kind.BACKUP and self.spec["tag"] not in self.agent.snapshots and not self._adopts():
            self._end(State.FAILED, Failure(reason="SnapshotGone", message="there is no snapshot", retryable=True))
            return
        if operation.kind in (Kind.BACKUP, Kind.RESTORE, Kind.VERIFY) and not again:
            operation.progress = Progress(files=script.files, bytes=script.bytes)
        if not script.stuck:
            self._tick(script.seconds)

    def fail(self, failure: Failure) -> None:
        self._end(State.FAILED, failure)

    def cancel(self) -> None:
        if not self.operation.state.final and not self.script.ignores_cancel:
            self._end(State.CANCELLED, None)

    def drop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    async def wait(self, since: int, seconds: float) -> None:
        if self.operation.revision > since:
            return
        changed = asyncio.get_running_loop().create_future()
        self._waiting.append(changed)
        timer = self._clock.call_later(seconds, lambda: changed.done() or changed.set_result(None))
        try:
            await changed
        finally:
            timer.cancel()
            self._waiting.remove(changed)

    @property
    def _clock(self) -> FakeClock:
        return self.agent.world.clock

    def _tick(self, left: float) -> None:
        """Comes forward every ``world.tick`` seconds until nothing is left to do."""
        self.drop()
        step = min(left, self.agent.world.tick)

        def due() -> None:
            if self.operation.state.final:
                return
            if left - step <= 1e-9:
                self._finish()
                return
            progress, script = self.operation.progress, self.script
            progress.bytes_done = int(progress.bytes * (1 - (left - step) / script.seconds))
            progress.rate = progress.bytes / script.seconds
            self.operation.last_progress_at = self.agent.now()
            self._bump()
            self._tick(left - step)

        self._timer = self._clock.call_later(step, due)

    def _finish(self) -> None:
        if self.operation.kind is Kind.CLEAR_SNAPSHOTS and self._in_use():
            self._tick(self.agent.world.tick)
            return
        failures = self.script.fail
        failure = failures.popleft() if failures else None
        if failure is None:
            failure = self._effect()
        self._end(State.FAILED if failure else State.SUCCEEDED, failure)

    def _in_use(self) -> bool:
        """A clear waits for whoever still uses the snapshot."""
        return any(
            other.operation.kind in (Kind.SNAPSHOT, Kind.BACKUP)
            and other.spec["tag"] == self.spec["tag"]
            and not other.operation.state.final
            for other in self.agent.journal.values()
        )

    def _taken(self) -> bool:
        """The tag is another backup's, a whole one's."""
        record = self.agent.world.bucket.records.get((self.spec["cluster"], self.spec["datacenter"], self.spec["tag"]))
        return record is not None and record.backup_id != self.spec["backupId"]

    def _digest(self) -> str:
        return hashlib.sha256(f"{self.agent.pod}{self.spec['tag']}{self.spec['backupId']}".encode()).hexdigest()

    def _adopts(self) -> bool:
        """An earlier try has written the manifest."""
        return self.agent.world.bucket.manifests.get((self.spec["tag"], self.agent.pod)) == self._digest()

    def _effect(self) -> Failure | None:
        agent, spec, world = self.agent, self.spec, self.agent.world
        match self.operation.kind:
            case Kind.PROBE:
                return self._probe()
            case Kind.SNAPSHOT:
                agent.snapshots.add(spec["tag"])
                world.note("snapshot", agent.pod)
            case Kind.BACKUP:
                world.note("uploaded", agent.pod)
                digest = self._digest()
                world.bucket.send(spec["tag"], agent.pod, spec["backupId"], digest, world.clock.monotonic())
                script = self.script
                self.operation.progress.bytes_done = script.bytes
                answer = NodeDigest(
                    node=agent.pod, rack=agent.rack, host_id=f"host-{agent.pod}", digest=digest, tokens=16,
                    files=script.files, bytes=script.bytes,
                )  # fmt: skip
                self.operation.result = msgspec.to_builtins(answer)
            case Kind.COMMIT:
                return self._commit()
            case Kind.VERIFY:
                if world.bucket.manifests.get((spec["tag"], agent.pod)) != spec["digest"]:
                    return Failure(reason="BackupNotFound", message="there is no such manifest")
                world.note("verified", agent.pod)
                self.operation.result = msgspec.to_builtins(Verified(level=Level(spec["level"]))) | self.script.result
            case Kind.FORGET | Kind.COLLECT if not self.script.result:
                return self._clean()
            case Kind.RESTORE:
                self.operation.progress.bytes_done = self.operation.progress.bytes
                self.operation.result = {"restored": True}
            case _:
                self.operation.result = dict(self.script.result)
        return None

    def _probe(self) -> Failure | None:
        self.operation.result = dict(self.script.result)
        return _TAG_EXISTS if self._taken() else None

    def _clean(self) -> Failure | None:
        world, spec = self.agent.world, self.spec
        world.note(self.operation.kind, spec.get("node") or spec["tag"])
        bucket, now = world.bucket, world.clock.monotonic()
        answer = bucket.forget(spec) if self.operation.kind is Kind.FORGET else bucket.collect(spec, now)
        if isinstance(answer, Failure):
            return answer
        self.operation.result = answer
        return None

    def _commit(self) -> Failure | None:
        world, spec = self.agent.world, self.spec
        nodes = [msgspec.convert(n, NodeDigest) for n in spec["nodes"]]
        if self._taken():
            return _TAG_EXISTS
        for node in nodes:
            if world.bucket.manifests.get((spec["tag"], node.node)) != node.digest:
                return Failure(reason="ManifestMissing", message=f"there is no manifest of {node.node}")
        world.note("commit", spec["datacenter"])
        record = ClusterRecord(
            format=1, tag=spec["tag"], backup_id=spec["backupId"], cluster=spec["cluster"],
            datacenter=spec["datacenter"], cassandra_version="5.0.6", schema_version="schema-1",
            nodes=[msgspec.convert(msgspec.to_builtins(n), RecordedNode) for n in nodes],
            missing=[msgspec.convert(n, MissingNode) for n in spec.get("missing", [])],
        )  # fmt: skip
        world.bucket.records[spec["cluster"], spec["datacenter"], spec["tag"]] = record
        self.operation.result = msgspec.to_builtins(record)
        return None

    def _end(self, state: State, failure: Failure | None) -> None:
        self.drop()
        operation, tag = self.operation, self.spec.get("tag", "")
        clears = operation.kind is Kind.CLEAR_SNAPSHOTS
        clears |= operation.kind is Kind.BACKUP and not (failure and failure.retryable)
        clears |= operation.kind is Kind.SNAPSHOT and state is not State.SUCCEEDED
        if clears:
            self.agent.snapshots.discard(tag)
        operation.state, operation.error = state, failure
        operation.finished_at = self.agent.now()
        for hear in self.agent.world.over:
            hear(self)
        self._bump()

    def _bump(self) -> None:
        self.operation.revision = max(self.operation.revision + 1, int(self._clock.monotonic() * 1000) + 1)
        self.wake()

    def wake(self) -> None:
        """Those who wait for it look at it again."""
        for changed in self._waiting:
            if not changed.done():
                changed.set_result(None)


class FakeAgents:
    """All agents. ``order`` has what they did to the world, ``requests`` what was asked of them."""

    def __init__(self, clock: FakeClock, *, tick: float = 1.0, latency: float = 0.0, seconds: float = 1.0) -> None:
        self.clock = clock
        self.tick = tick
        self.latency = latency
        self.seconds = seconds  # that an operation without a script takes
        self.bucket = Bucket()
        self.order: list[tuple[str, str]] = []
        self.requests: list[tuple[str, str, str]] = []  # pod, method, path
        self.inspected: list[dict[str, str]] = []
        self.begun: list[Callable[[Running], None]] = []  # called before an operation begins from nothing
        self.over: list[Callable[[Running], None]] = []  # called when one is final
        self.catalog_refusal: Refusal | None = None
        self.tokens: MasterKey | None = None  # given, every request must carry its datacenter's
        self._by_ip: dict[str, FakeAgent] = {}
        self._by_pod: dict[str, FakeAgent] = {}
        self._sessions = itertools.count(1)

    def new_session(self) -> str:
        return f"session-{next(self._sessions)}"

    def note(self, what: str, who: str) -> None:
        self.order.append((what, who))

    def add(self, pod: str, ip: str, rack: str = "rack1") -> FakeAgent:
        """Answers at ``ip`` from now on; the pod's volume is the one it had."""
        agent = self._by_pod.get(pod) or self._by_pod.setdefault(pod, FakeAgent(self, pod, rack))
        self._by_ip.pop(agent.ip, None)
        agent.ip = ip
        self._by_ip[ip] = agent
        return agent

    def remove(self, pod: str) -> None:
        """The pod is gone, its volume is not: ``add`` and ``restart`` bring it back."""
        agent = self._by_pod[pod]
        self._by_ip.pop(agent.ip, None)
        for running in agent.journal.values():
            running.drop()

    def __getitem__(self, pod: str) -> FakeAgent:
        return self._by_pod[pod]

    def __iter__(self):
        return iter(self._by_pod.values())

    def script(self, kind: Kind, **changes: Any) -> None:
        for agent in self:
            agent.script(kind, **changes)

    @property
    def executed(self) -> Counter[tuple[str, str]]:
        """(pod, operation id) -> how often it began from nothing."""
        return Counter({(a.pod, operation): n for a in self for operation, n in a.executed.items()})

    async def request(
        self,
        address: Address,
        method: str,
        path: str,
        *,
        body: bytes,
        headers: dict[str, str],
        timeout: float,  # noqa: ASYNC109  as the protocol has it
    ) -> tuple[int, bytes]:
        self.requests.append((address.pod, method, path))
        if self.latency:
            await self.clock.sleep(self.latency)
        agent = self._by_ip.get(address.ip)
        if agent is None or agent.silent:
            raise AgentUnreachable("AgentUnreachable", f"the agent of {address.pod} does not answer: refused")
        if self.tokens is not None and headers.get(TOKEN_HEADER) != self.tokens.token(address.datacenter_uid):
            return 401, b'{"error": "the token is missing or wrong", "reason": "Unauthorized"}'
        try:
            status, answer = await agent.handle(method, path, body)
        except Refusal as e:
            return e.status, msgspec.json.encode({"error": e.error, "reason": e.reason})
        if agent.silent or self._by_ip.get(address.ip) is not agent:
            raise AgentUnreachable("AgentUnreachable", f"the agent of {address.pod} does not answer: reset")
        return status, msgspec.json.encode(answer)
