"""What the scenarios of backups share: making them, waiting for what they say, and what a user then sees."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dev.scenario import nodes
from dev.scenario.demo import CBACK
from dev.scenario.kubectl import Object, condition_of, eventually
from dev.scenario.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.conftest import World

SLOW = "32Ki"  # bytes a second and node: the upload of a restored node's few megabytes takes a minute and more
SECONDS = 240.0  # in which a backup completes, with all that a small machine has to do besides
FINAL = ("Completed", "PartiallyCompleted", "Failed", "FailedValidation", "Cancelled")


@dataclass(frozen=True)
class Backup:
    """One CassandraBackup, by what is told of it."""

    world: World
    name: str
    bucket: str  # what the owner of the store calls the place of it

    @property
    def status(self) -> Object:
        found: Object = self.world.kubectl.get(CBACK, self.name).get("status", {})
        return found

    @property
    def row(self) -> dict[str, str]:
        """Its columns in ``kubectl get cassandrabackups -o wide``."""
        return self.world.kubectl.row(CBACK, self.name)

    def condition(self, type_: str) -> Object:
        return condition_of(self.world.kubectl.get(CBACK, self.name), type_)

    def told(self, type_: str) -> set[str]:
        """Reasons of its events of the type, Normal or Warning."""
        return {each["reason"] for each in self.world.kubectl.events(self.name, type_)}

    def tells(self, type_: str, reason: str) -> None:
        """An event comes after the status that it tells of."""
        eventually(f"{self.name} has the event {reason}", lambda: reason in self.told(type_), 30)

    def reaches(self, what: str, asked: Callable[[Object], object], seconds: float = SECONDS) -> Object:
        """Its status, as soon as ``asked`` says yes to it."""

        def look() -> Object | None:
            status = self.status
            return status if asked(status) else None

        return eventually(f"{self.name} {what}", look, seconds, every=0.5)

    def sends(self) -> Object:
        """Its status, in the middle of the upload."""

        def uploading(status: Object) -> bool:
            assert status.get("phase") not in FINAL, f"{status['phase']}: {status['message']}"
            return status.get("phase") == "Uploading" and any(node.get("bytesDone") for node in status["nodes"])

        return self.reaches("sends bytes", uploading)

    def ends(self, seconds: float = SECONDS) -> Object:
        """Its last status, whichever way it ended."""
        return self.reaches("ends", lambda status: status.get("phase") in FINAL, seconds)

    def completes(self, seconds: float = SECONDS) -> Object:
        """Its last status; raises with the backup's own words where it failed."""
        wait_for(self.world.kubectl, CBACK, self.name, "Complete", seconds)
        return self.status

    def cancel(self) -> float:
        """Seconds until it had ended."""
        began = time.monotonic()
        self.world.kubectl.patch(CBACK, self.name, {"spec": {"cancel": True}})
        self.ends()
        return time.monotonic() - began

    def records(self) -> list[str]:
        """Keys that make it exist in the bucket: its record, and its nodes' manifests."""
        return self._keys(f"/_backups/{self.name}/", f"/manifests/{self.name}.json")

    def pending(self) -> list[str]:
        """Keys by which it says that it runs."""
        return self._keys(f"/pending/{self.name}~")

    def _keys(self, *parts: str) -> list[str]:
        return [key for key in self.world.store.keys(self.bucket) if any(part in key for part in parts)]

    def snapshots(self, *pods: str) -> list[str]:
        """Directories of its snapshot on these pods, or on all of its own."""
        kubectl = self.world.kubectl
        chosen = pods or [node["pod"] for node in self.status.get("nodes", [])]
        return [f"{pod}:{found}" for pod in chosen for found in nodes.snapshots(kubectl, pod, self.name)]

    def left(self) -> list[str]:
        """What pins a node's disk, or could be taken for a backup: nothing, once it has failed."""
        return [*self.snapshots(), *self.records()]


@dataclass
class Backups:
    """Makes them, and takes objects and records away again."""

    world: World
    made: list[Backup] = field(default_factory=list)

    def make(self, name: str, datacenter: str, **spec: Any) -> Backup:
        """Of one datacenter, where ``spec`` has no selector of its own."""
        self.world.kubectl.apply(self.world.documents.other_backup(name, {"cassandra-datacenter": datacenter}, **spec))
        backup = Backup(self.world, name, _bucket(self.world, spec.get("target")))
        self.made.append(backup)
        return backup

    def clear(self) -> None:
        for backup in self.made:
            self.world.kubectl.delete(CBACK, backup.name)
            self.world.store.delete(backup.bucket, [*backup.records(), *backup.pending()])


def _bucket(world: World, target: str | None) -> str:
    """The first part of a target. Of a directory all of it, or the one that it is in."""
    if target is None:
        return world.target
    path = target.partition("://")[2] or target
    if path.startswith(f"{world.target}/"):
        return world.target
    return path if path.startswith("/") else path.partition("/")[0]
