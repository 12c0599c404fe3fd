"""What holds whatever happens: small rules (``rules/``), each in the list that says when it is looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.protocol import Kind, State
from controller import builtin
from controller.conditions import get_condition
from controller.objects import key_of
from reconcilers.api.backup import BACKUPS, CassandraBackup
from reconcilers.api.backup_status import BackupPhase
from reconcilers.backup import status as said
from tests.unit.reconcilers.backup.model.rules import deletion, ends, nodes, status, waits, work

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fakes.agents import FakeAgent, Running
    from tests.fakes.apiserver import Told
    from tests.unit.reconcilers.backup.model.world import World

_NEAR = 60.0  # seconds: an agent that was out of reach so shortly before an end may not have been waited for


class Invariants:
    def __init__(self, world: World) -> None:
        self.world = world
        self.done: set[tuple[str, str, Kind]] = set()  # UID, pod, and what succeeded there
        world.server.heard.append(self._changed)
        world.agents.begun.append(self._begun)
        world.agents.over.append(self._over)
        world.stopped.append(self._stopped)

    def at_the_end(self) -> None:
        for rule in ends.AT_THE_END:
            for problem in rule(self):
                self.world.breaks(problem)

    def in_peace(self, backup: CassandraBackup, peace: float) -> None:
        """Once its reconciles go well, time alone decides. ``peace`` is when it began."""
        for operator in self.world.living()[:1]:
            if (calm := operator.calm.get(key_of(backup))) is not None:
                problems = [rule(self, backup, max(peace, calm)) for rule in waits.IN_PEACE]
                self._breaks(f"backup {backup.metadata.name}", problems)

    def _changed(self, told: Told) -> None:
        resource, key, before, now = told
        if resource == builtin.LEASES:
            self.world.say(f"the Lease {key.name} is {now['spec']['holderIdentity'] if now else 'gone'}")
            self._breaks(key.name, [rule(self, before, now) for rule in deletion.ON_LEASE])
        if resource == builtin.PODS and before is None and now is not None:
            self._breaks(key.name, [rule(self, now) for rule in deletion.ON_POD])
        if resource == BACKUPS:
            self._backup_changed(told)

    def _backup_changed(self, told: Told) -> None:
        _, key, before, now = told
        if before is None or now is None:
            self.world.say(f"backup {key.name} is {'made, ' + now['metadata']['uid'] if now else 'gone'}")
            if before is not None:
                gone = self.world.decoded(BACKUPS, key, before)
                self._breaks(f"backup {key.name}", [rule(self, gone) for rule in deletion.ON_GONE])
            return
        old, new = (self.world.decoded(BACKUPS, key, body) for body in (before, now))
        if old.metadata.finalizers != new.metadata.finalizers:
            self.world.say(f"backup {key.name}: finalizers {new.metadata.finalizers}")
        if old.status == new.status:
            return
        if (old.status.phase, old.status.reason) != (new.status.phase, new.status.reason):
            self.world.say(f"backup {key.name}: {new.status.phase} {new.status.reason}")
        rules = (*status.ON_STATUS, *nodes.ON_STATUS, *ends.ON_STATUS)
        self._breaks(f"backup {key.name}", [rule(self, old, new) for rule in rules])

    def _begun(self, running: Running) -> None:
        operation, pod = running.operation, running.agent.pod
        uid = operation.id.partition(".")[0]
        backup = self.world.backup(uid)
        self.world.say(f"{pod} begins {operation.id}")
        unheard = self.world.late or (backup is None and self.world.overlapped)  # by an old leader, of its end
        if unheard and operation.kind in work.HARMLESS:
            return
        if backup is None:
            self.world.breaks(f"{operation.id} begins for a backup that is gone")
            return
        self._breaks(f"{operation.id} at {pod}", [rule(self, backup, running) for rule in work.ON_BEGIN])

    def _over(self, running: Running) -> None:
        operation, pod = running.operation, running.agent.pod
        error = f" {operation.error.reason}" if operation.error else ""
        self.world.say(f"{pod} ends {operation.id}: {operation.state}{error}")
        uid = operation.id.partition(".")[0]
        if operation.state is State.SUCCEEDED:
            self.done.add((uid, pod, operation.kind))
        if (backup := self.world.backup(uid)) is not None:
            self._breaks(f"{operation.id} at {pod}", [rule(self, backup, running) for rule in ends.ON_OVER])

    def _stopped(self, pod: str, operation_id: str) -> None:
        """A DELETE comes to an agent."""
        if (backup := self.world.backup(operation_id.partition(".")[0])) is not None:
            self._breaks(f"{operation_id} at {pod}", [rule(self, backup, pod) for rule in work.ON_STOP])

    def _breaks(self, what: str, problems: list[str | None]) -> None:
        for problem in problems:
            if problem:
                self.world.breaks(f"{what}: {problem}")

    # what rules ask

    def work(self, uid: str) -> Iterator[tuple[FakeAgent, Running]]:
        for agent in self.world.agents:
            for running in agent.journal.values():
                if running.operation.id.startswith(f"{uid}."):
                    yield agent, running

    def aborting_since(self, backup: CassandraBackup) -> float | None:
        """In the clock's seconds; None where no end is decided in the status."""
        running = get_condition(backup.status.conditions, "Running")
        aborting = running is not None and running.reason == said.ABORTING
        return self.world.since(running.last_transition_time) if running is not None and aborting else None

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
