"""What holds whatever happens: small rules, each in the list that says when it is looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from agent.protocol import Kind, State
from controller import builtin
from controller.conditions import get_condition
from controller.objects import key_of
from reconcilers import labels
from reconcilers.api.backup import BACKUPS, CassandraBackup, DeletionPolicy
from reconcilers.api.backup_status import BackupPhase
from reconcilers.api.restore import FINAL_PHASES as RESTORED
from reconcilers.backup import partial
from reconcilers.backup import status as said
from reconcilers.status_writer import SLOT
from tests.fakes.agents import THROTTLED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from reconcilers.api.backup_status import BackupNode
    from tests.fakes.agents import FakeAgent, Running
    from tests.fakes.apiserver import Told
    from tests.unit.reconcilers.backup.model.world import World

    Change = Callable[["Invariants", CassandraBackup, CassandraBackup], str | None]
    Work = Callable[["Invariants", CassandraBackup, "Running"], str | None]
    Gone = Callable[["Invariants", CassandraBackup], str | None]
    End = Callable[["Invariants"], Iterator[str]]

_AFTER = (Kind.CLEAR_SNAPSHOTS, Kind.FORGET)
_WORK = frozenset({Kind.SNAPSHOT, Kind.BACKUP, Kind.VERIFY, Kind.COMMIT})
_KEPT = (BackupPhase.COMPLETED, BackupPhase.PARTIALLY_COMPLETED)  # with a record in the bucket
_NEAR = 60.0  # seconds: an agent that was out of reach so shortly before an end may not have been waited for
_SIZE = 3000  # bytes of a status, and as many again for each node


class Invariants:
    def __init__(self, world: World) -> None:
        self.world = world
        self.snapshotted: set[tuple[str, str]] = set()  # UID, pod
        world.server.heard.append(self._changed)
        world.agents.begun.append(self._begun)
        world.agents.over.append(self._over)

    def at_the_end(self) -> None:
        for rule in AT_THE_END:
            for problem in rule(self):
                self.world.breaks(problem)

    def _changed(self, told: Told) -> None:
        resource, key, before, now = told
        if resource == builtin.LEASES:
            self.world.say(f"the Lease {key.name} is {now['spec']['holderIdentity'] if now else 'gone'}")
        if resource != BACKUPS:
            return
        if before is None or now is None:
            self.world.say(f"backup {key.name} is {'made, ' + now['metadata']['uid'] if now else 'gone'}")
            if before is not None:
                self._gone(self.world.decoded(BACKUPS, key, before))
            return
        old, new = (self.world.decoded(BACKUPS, key, body) for body in (before, now))
        if old.metadata.finalizers != new.metadata.finalizers:
            self.world.say(f"backup {key.name}: finalizers {new.metadata.finalizers}")
        if old.status == new.status:
            return
        if (old.status.phase, old.status.reason) != (new.status.phase, new.status.reason):
            self.world.say(f"backup {key.name}: {new.status.phase} {new.status.reason}")
        for rule in ON_STATUS:
            if problem := rule(self, old, new):
                self.world.breaks(f"backup {key.name}: {problem}")

    def _gone(self, backup: CassandraBackup) -> None:
        for rule in ON_GONE:
            if problem := rule(self, backup):
                self.world.breaks(f"backup {backup.metadata.name}: {problem}")

    def _begun(self, running: Running) -> None:
        operation = running.operation
        uid = operation.id.partition(".")[0]
        backup = self.world.backup(uid)
        self.world.say(f"{running.agent.pod} begins {operation.id}")
        if backup is None:
            self.world.breaks(f"{operation.id} begins for a backup that is gone")
            return
        for rule in ON_BEGIN:
            if problem := rule(self, backup, running):
                self.world.breaks(f"{operation.id} at {running.agent.pod}: {problem}")

    def _over(self, running: Running) -> None:
        operation = running.operation
        error = f" {operation.error.reason}" if operation.error else ""
        self.world.say(f"{running.agent.pod} ends {operation.id}: {operation.state}{error}")
        if operation.kind is Kind.SNAPSHOT and operation.state is State.SUCCEEDED:
            self.snapshotted.add((operation.id.partition(".")[0], running.agent.pod))
        backup = self.world.backup(operation.id.partition(".")[0])
        for rule in ON_OVER:
            if backup is not None and (problem := rule(self, backup, running)):
                self.world.breaks(f"{operation.id} at {running.agent.pod}: {problem}")

    # what rules ask

    def work(self, uid: str) -> Iterator[tuple[FakeAgent, Running]]:
        for agent in self.world.agents:
            for running in agent.journal.values():
                if running.operation.id.startswith(f"{uid}."):
                    yield agent, running

    def within_reach(self, backup: CassandraBackup, pod: str) -> bool:
        """An operator could have stopped it there before the backup ended."""
        if pod in backup.status.message and "may still stand" in backup.status.message:
            return False
        node = next((n for n in backup.status.nodes if n.pod == pod), None)
        if node is not None and node.phase == said.FAILED and backup.status.phase == BackupPhase.PARTIALLY_COMPLETED:
            lost = self.world.since(node.completion_time) if node.completion_time else -1e9
            if self.world.clock.monotonic() - lost > backup.spec.node_progress_deadline_seconds:
                return False  # it had its time to be cleared
        seen = self.world.unreachable.get(pod, -1e9)
        done = backup.status.completion_time
        start = (self.world.since(done) if done else self.world.clock.monotonic()) - _NEAR
        return seen < start and pod not in self.world.out_of_reach()


# --- with each change of a status


def an_end_is_never_left(_: Invariants, old: CassandraBackup, new: CassandraBackup) -> str | None:
    if not old.ended:
        return None
    removed = new.metadata.deletion_timestamp and new.spec.deletion_policy == DeletionPolicy.DELETE
    onward = new.status.phase in (old.status.phase, BackupPhase.DELETING)
    if removed and onward and new.status.completion_time == old.status.completion_time:
        return None
    return f"its status was written after its end, {old.status.phase}"


def the_selection_is_frozen(_: Invariants, old: CassandraBackup, new: CassandraBackup) -> str | None:
    pods = [n.pod for n in old.status.nodes]
    same = pods == [n.pod for n in new.status.nodes] and old.status.storage == new.status.storage
    return (
        None if not pods or (same and old.status.snapshot_tag == new.status.snapshot_tag) else "its selection changed"
    )


def phases_go_one_way(_: Invariants, old: CassandraBackup, new: CassandraBackup) -> str | None:
    order = [*BackupPhase]
    if not old.status.phase or order.index(BackupPhase(old.status.phase)) <= order.index(BackupPhase(new.status.phase)):
        return None
    return f"from {old.status.phase} back to {new.status.phase}"


def counters_wait_for_their_slot(of: Invariants, old: CassandraBackup, new: CassandraBackup) -> str | None:
    writer, uid, now = of.world.author, new.metadata.uid, of.world.clock.monotonic()
    assert writer is not None
    last = writer.written.get(uid)
    writer.written[uid] = now
    early = last is not None and now - last < SLOT - 1e-6
    return "counters were written twice in a slot" if early and not said.urgent(old.status, new.status) else None


def it_stays_small(_: Invariants, _old: CassandraBackup, new: CassandraBackup) -> str | None:
    size = len(msgspec.json.encode(new.status))
    return f"the status has {size} bytes" if size > _SIZE * (1 + len(new.status.nodes)) else None


def one_run_a_datacenter(of: Invariants, _old: CassandraBackup, new: CassandraBackup) -> str | None:
    if not new.status.start_time or new.ended:
        return None
    mine = {d.name for d in new.status.datacenters}
    for other in of.world.backups():
        runs = other.status.start_time and not other.ended and other.metadata.uid != new.metadata.uid
        if runs and mine & {d.name for d in other.status.datacenters}:
            return f"it runs beside {other.metadata.name}"
    return None


def it_starts_after_restores(of: Invariants, old: CassandraBackup, new: CassandraBackup) -> str | None:
    """Those that its operator knew of when it looked."""
    if old.status.start_time or not new.status.start_time:
        return None
    assert of.world.author is not None
    mine = {d.name for d in new.status.datacenters}
    known = of.world.author.knew[key_of(new)]
    active = [r.metadata.name for r in known if r.spec.datacenter in mine and r.status.phase not in RESTORED]
    return f"it starts beside restore {active[0]}" if active else None


def completed_is_whole(of: Invariants, _old: CassandraBackup, new: CassandraBackup) -> str | None:
    """Each datacenter's record is in the bucket, and names each node's manifest as the status does, or as missing."""
    status, bucket = new.status, of.world.agents.bucket
    if status.phase not in _KEPT:
        return None
    lost = partial.failed(status.nodes)
    if bool(lost) != (status.phase == BackupPhase.PARTIALLY_COMPLETED) or not partial.enough(new.spec, status.nodes):
        return f"{status.phase} with {len(lost)} of {len(status.nodes)} nodes failed"
    for datacenter in status.datacenters:
        record = bucket.records.get((datacenter.cluster_name, datacenter.datacenter_name, status.snapshot_tag))
        if record is None or record.backup_id != new.metadata.uid:
            return f"{status.phase} without a record of {datacenter.name}"
        mine = [n for n in status.nodes if n.datacenter == datacenter.name]
        wanted = {n.pod: n.digest for n in partial.going(mine)}
        written = {pod: bucket.manifests.get((status.snapshot_tag, pod)) for pod in wanted}
        missing = {n.pod for n in partial.failed(mine)}
        if not wanted == written == {n.node: n.digest for n in record.nodes}:
            return f"{status.phase} without the manifests of {datacenter.name}: {wanted}, {written}"
        if missing != {n.node for n in record.missing}:
            return f"the record of {datacenter.name} does not name {sorted(missing)} as missing"
    return None


def _work_of(was: BackupNode, backup: CassandraBackup) -> str:
    """How the ids begin of what the node was at."""
    kind = Kind.SNAPSHOT
    if backup.status.snapshot_time:
        kind = Kind.VERIFY if was.phase in (said.UPLOADED, said.VERIFYING) else Kind.BACKUP
    return f"{backup.metadata.uid}.{kind}."


def a_failed_node_had_its_time(of: Invariants, old: CassandraBackup, new: CassandraBackup) -> str | None:
    """No progress is said of an agent only where it made none: its operator may have been away."""
    for was, node in zip(old.status.nodes, new.status.nodes, strict=False):
        if node.reason != "NoProgress" or was.phase == said.FAILED or not of.within_reach(new, node.pod):
            continue
        running = of.world.agents[node.pod].journal.get(f"{_work_of(was, new)}{node.attempts}")
        if running is None:
            continue
        operation = running.operation
        ago = of.world.clock.monotonic() - of.world.since(operation.last_progress_at)
        if ago < new.spec.node_progress_deadline_seconds - 1 or operation.state is State.SUCCEEDED:
            return f"{node.message} at {node.pod}, where {operation.id} is {operation.state}"
    return None


def a_failed_node_had_its_tries(of: Invariants, old: CassandraBackup, new: CassandraBackup) -> str | None:
    """Of what may be tried again; a restart of the agent counts as a try."""
    for was, node in zip(old.status.nodes, new.status.nodes, strict=False):
        if node.phase != said.FAILED or was.phase == said.FAILED or node.reason != THROTTLED.reason:
            continue
        agent, mine = of.world.agents[node.pod], _work_of(was, new)
        tries = sum(n for one, n in agent.executed.items() if one.startswith(mine))
        tries += sum(other.operation.attempts - 1 for one, other in agent.journal.items() if one.startswith(mine))
        if tries <= new.spec.retries:
            return f"{node.pod} is given up after {tries} tries, with {new.spec.retries} retries"
    return None


def a_wish_to_stop_is_heard(_: Invariants, _old: CassandraBackup, new: CassandraBackup) -> str | None:
    seen = new.status.observed_generation == new.metadata.generation
    if new.spec.cancel and seen and new.status.phase in _KEPT:
        return f"its cancel was seen, and it is {new.status.phase}"
    return None


def cancelled_is_wanted(_: Invariants, _old: CassandraBackup, new: CassandraBackup) -> str | None:
    if new.status.phase != BackupPhase.CANCELLED or new.spec.cancel or new.metadata.deletion_timestamp:
        return None
    return "Cancelled, though nobody wished it"


def an_ended_backup_is_at_rest(of: Invariants, _old: CassandraBackup, new: CassandraBackup) -> str | None:
    if not new.ended or new.status.phase == BackupPhase.DELETING:
        return None
    for agent, running in of.work(new.metadata.uid):
        operation = running.operation
        if operation.kind is Kind.COMMIT and new.status.phase in _KEPT:
            continue  # another agent's was seen first: it finds the record, and leaves it
        if operation.kind in _WORK and not operation.state.final and of.within_reach(new, agent.pod):
            return f"ended while {operation.id} runs at {agent.pod}"
    return None


def an_end_is_said(_: Invariants, _old: CassandraBackup, new: CassandraBackup) -> str | None:
    if not new.ended:
        return None
    if new.status.phase == BackupPhase.DELETING:
        return None
    complete = get_condition(new.status.conditions, "Complete")
    right = complete is not None and (complete.status == "True") == (new.status.phase == BackupPhase.COMPLETED)
    return None if right and new.status.completion_time and new.status.reason else "its end is not said as it should be"


# --- with each operation that begins from nothing


def only_while_it_runs(of: Invariants, backup: CassandraBackup, running: Running) -> str | None:
    if backup.ended and running.operation.kind not in _AFTER:
        return f"the backup has ended, {backup.status.phase}"
    return None


def only_what_is_selected(_: Invariants, backup: CassandraBackup, running: Running) -> str | None:
    known = running.operation.kind is Kind.FORGET or running.agent.pod in {n.pod for n in backup.status.nodes}
    if known and labels.BACKUP_FINALIZER in backup.metadata.finalizers:
        return None
    return "the selection and the finalizer are not written yet"


def only_with_the_lock(of: Invariants, backup: CassandraBackup, running: Running) -> str | None:
    leases = of.world.leases()
    held = all(leases.get(d.name) == backup.metadata.uid for d in backup.status.datacenters)
    return None if held or running.operation.kind in _AFTER else f"the Lease is held by {leases}"


def a_try_follows_a_failed_one(_: Invariants, backup: CassandraBackup, running: Running) -> str | None:
    kind, uid = running.operation.kind, backup.metadata.uid
    if kind not in _WORK:
        return None
    earlier = [
        other.operation
        for other in running.agent.journal.values()
        if other is not running and other.operation.kind is kind and other.operation.id.startswith(f"{uid}.")
    ]
    for operation in earlier:
        if operation.error is None or not operation.error.retryable:
            return f"{operation.id} has not failed so that it may be tried again: {operation.state}"
    if len(earlier) > backup.spec.retries:
        return f"{len(earlier)} tries were made before, {backup.spec.retries} retries are allowed"
    return None


def snapshots_come_first(of: Invariants, backup: CassandraBackup, running: Running) -> str | None:
    """Every node's, before the first byte is sent. One that is left out may not be written as failed by then."""
    uid = backup.metadata.uid
    if running.operation.kind is not Kind.BACKUP or partial.allowed(backup.spec):
        return None
    missing = [n.pod for n in partial.going(backup.status.nodes) if (uid, n.pod) not in of.snapshotted]
    return f"{missing} have no snapshot yet" if missing else None


def few_upload_at_once(of: Invariants, backup: CassandraBackup, running: Running) -> str | None:
    if running.operation.kind is not Kind.BACKUP or not backup.spec.parallelism or partial.allowed(backup.spec):
        return None  # one that is left out may still be on its way to an end
    uploading = {
        agent.pod for agent, other in of.work(backup.metadata.uid)
        if other.operation.kind is Kind.BACKUP and not other.operation.state.final
    }  # fmt: skip
    return f"{sorted(uploading)} upload at once" if len(uploading) > backup.spec.parallelism else None


def a_commit_names_all(of: Invariants, backup: CassandraBackup, running: Running) -> str | None:
    if running.operation.kind is not Kind.COMMIT:
        return None
    spec = running.spec
    named = {n["node"] for n in spec["nodes"]}
    datacenter = next(d for d in backup.status.datacenters if d.cluster_name == spec["cluster"])
    wanted = {n.pod for n in backup.status.nodes if n.datacenter == datacenter.name}
    wanted -= {n["node"] for n in spec.get("missing", [])}
    sent = {pod for tag, pod in of.world.agents.bucket.manifests if tag == backup.status.snapshot_tag}
    return None if named == wanted <= sent else f"it names {sorted(named)} of {sorted(wanted)}; sent are {sorted(sent)}"


# --- with each operation that is over


def no_record_after_another_end(of: Invariants, backup: CassandraBackup, running: Running) -> str | None:
    operation = running.operation
    if operation.kind is not Kind.COMMIT or operation.state is not State.SUCCEEDED or not backup.ended:
        return None
    wrong = backup.status.phase not in _KEPT and of.within_reach(backup, running.agent.pod)
    return f"a record is written, and the backup has ended: {backup.status.phase}" if wrong else None


# --- when an object is gone


def its_data_is_gone_too(of: Invariants, backup: CassandraBackup) -> str | None:
    """Where that was wished, or it is said that it stays."""
    if backup.spec.deletion_policy != DeletionPolicy.DELETE or not backup.status.start_time:
        return None
    left = [r.tag for r in of.world.agents.bucket.records.values() if r.backup_id == backup.metadata.uid]
    said_so = (backup.metadata.uid, "RemoteDataRetained") in of.world.recorder.told
    return f"the bucket still has {left}" if left and not said_so else None


# --- in peace, when every backup has ended


def nothing_is_left_on_an_agent(of: Invariants) -> Iterator[str]:
    for agent in of.world.agents:
        for tag in sorted(agent.snapshots):
            owners = [b for b in of.world.backups() if b.status.snapshot_tag == tag and b.status.start_time]
            if owners and all(of.within_reach(b, agent.pod) for b in owners):
                yield f"the snapshot {tag} is left on {agent.pod}"


def nothing_runs(of: Invariants) -> Iterator[str]:
    for backup in of.world.backups():
        if problem := an_ended_backup_is_at_rest(of, backup, backup):
            yield f"backup {backup.metadata.name}: {problem}"


def nothing_is_held(of: Invariants) -> Iterator[str]:
    """An old leader may have taken it once more for a backup that ended meanwhile: who comes next replaces that one."""
    for lease in of.world.found(builtin.LEASES):
        if of.world.overlapped and lease["spec"]["holderIdentity"] not in {
            b.metadata.uid for b in of.world.backups() if not b.ended
        }:
            continue
        yield f"a Lease is left: {lease['metadata']['name']} of {lease['spec']['holderIdentity']}"


def an_operators_troubles_fail_no_backup(of: Invariants) -> Iterator[str]:
    """Nor those of the API server: where nothing else happened, all end well, or too late."""
    for backup in of.world.backups():
        status, short = backup.status, backup.spec.node_progress_deadline_seconds < 60
        fair = status.phase == BackupPhase.COMPLETED or status.reason in ("DeadlineExceeded", "SnapshotTagExists")
        if not (fair or of.world.hurt or short):
            yield f"backup {backup.metadata.name} is {status.phase}, {status.reason}: {status.message}"


ON_STATUS: list[Change] = [
    an_end_is_never_left, the_selection_is_frozen, phases_go_one_way, counters_wait_for_their_slot, it_stays_small,
    one_run_a_datacenter, it_starts_after_restores, completed_is_whole, cancelled_is_wanted, an_ended_backup_is_at_rest,
    an_end_is_said, a_failed_node_had_its_time, a_failed_node_had_its_tries, a_wish_to_stop_is_heard,
]  # fmt: skip
ON_BEGIN: list[Work] = [
    only_while_it_runs, only_what_is_selected, only_with_the_lock, a_try_follows_a_failed_one, snapshots_come_first,
    few_upload_at_once, a_commit_names_all,
]  # fmt: skip
ON_OVER: list[Work] = [no_record_after_another_end]
ON_GONE: list[Gone] = [its_data_is_gone_too]
AT_THE_END: list[End] = [
    nothing_is_left_on_an_agent, nothing_runs, nothing_is_held, an_operators_troubles_fail_no_backup,
]  # fmt: skip
