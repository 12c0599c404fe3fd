"""The main job from nothing to the comparison, step by step."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from dev.scenario import dataset, install, nodes
from dev.scenario.cql import Consistency, session
from dev.scenario.documents import BACKUP, BOTH, DATACENTER, RESTORED, SMALL
from dev.scenario.timeline import Timeline, together
from dev.scenario.waiting import wait_for

if TYPE_CHECKING:
    from dev.scenario.bed import Bed
    from dev.scenario.dataset import Picture
    from dev.scenario.kubectl import Kubectl
    from dev.scenario.places import Place

NAMESPACE = "cassandra-demo"
REPLICAS = 3  # as the user's datacenter has
CDC, CBACK = "cassandradatacenter", "cassandrabackup"
_READY = 420.0  # seconds; three nodes of 512Mi take about 135
_COMPLETE = 180.0


class Different(Exception):  # noqa: N818  it reads as what happened
    """What came back is not what went in."""


@dataclass
class Demo:
    """One run on a cluster that is up, with backups in one of its stores."""

    bed: Bed
    place: Place
    namespace: str = NAMESPACE
    time: Timeline = field(default_factory=Timeline)

    @cached_property
    def kubectl(self) -> Kubectl:
        return self.bed.kubectl(self.namespace)

    def run(self) -> Picture:
        """Everything; returns the picture of what was backed up. Raises at the first thing that is not right."""
        self.prepare()
        self.start()
        before = self.fill()
        self.back_up()
        self.lose()
        self.restore()
        self.compare(before)
        return before

    def prepare(self) -> None:
        with self.time.step("clean: namespace and bucket of an earlier run") as step:
            install.remove_namespace(self.kubectl)
            self.place.store.make_empty(self.place.documents.target)  # now that nobody writes to it any more
            step.detail = f"{self.place.name}, {self.place.documents.target}"
        with self.time.step("install the operator") as step:
            install.namespace(self.kubectl)
            install.operator(self.kubectl)
            step.detail = f"namespace {self.namespace}"

    def start(self) -> None:
        """Both datacenters at the same time."""
        kubectl, documents = self.kubectl, self.place.documents
        for needed in documents.objects:
            kubectl.apply(needed)
        kubectl.apply(documents.datacenter())
        kubectl.apply(documents.other_datacenter(SMALL, 1))
        together(lambda: self._ready(DATACENTER, REPLICAS), lambda: self._ready(SMALL, 1))

    def fill(self) -> Picture:
        pod = nodes.names(self.kubectl, DATACENTER)[0]
        with self.time.step("write rows over CQL") as step, session(self.kubectl, pod) as cql:
            dataset.create_schema(cql, DATACENTER, REPLICAS)
            dataset.write(cql)
            step.detail = f"{dataset.ROWS} rows, 2 keyspaces, replication factor {REPLICAS}"
        with self.time.step("note rows, write times, expiry, schema, index answers") as step:
            before = self._picture(pod)
            step.detail = f"{before.count()} rows"
        if before.count() != dataset.ROWS:
            raise Different(f"{before.count()} rows can be read of {dataset.ROWS} that were written")
        return before

    def back_up(self) -> None:
        """The user's backup, then one that selects both datacenters; they queue behind each other by themselves."""
        self.kubectl.apply(self.place.documents.backup())
        self.kubectl.apply(self.place.documents.other_backup(BOTH, {"app": "cassandra"}))
        self._backed_up(BACKUP, REPLICAS, 1)
        self._backed_up(BOTH, REPLICAS + 1, 2)

    def lose(self) -> None:
        with self.time.step(f"delete {DATACENTER} and its claims") as step:
            step.detail = f"{nodes.delete_with_claims(self.kubectl, DATACENTER)} claims"

    def restore(self) -> None:
        made = self.place.documents.other_datacenter(RESTORED, REPLICAS, restoreFromBackup=BACKUP)
        self.kubectl.apply(made)
        self._ready(RESTORED, REPLICAS, f"restore {RESTORED} from {BACKUP}")

    def compare(self, before: Picture) -> None:
        """Each node's own copy of every row with what was noted."""
        with self.time.step("compare rows, write times, expiry, schema, index answers") as step:
            found = nodes.names(self.kubectl, RESTORED)
            for pod in found:
                if wrong := dataset.differences(before, self._picture(pod)):
                    raise Different(f"{pod} differs from what was backed up:\n  " + "\n  ".join(wrong))
            step.detail = f"{before.count()} rows on each of {len(found)} nodes, no difference"

    def _picture(self, pod: str) -> Picture:
        with session(self.kubectl, pod, Consistency.ONE) as cql:
            return dataset.picture(cql)

    def _ready(self, name: str, replicas: int, title: str = "") -> None:
        with self.time.step(title or f"datacenter {name} becomes ready") as step:
            wait_for(self.kubectl, CDC, name, "Ready", _READY)
            step.detail = f"{replicas} node{'s' if replicas > 1 else ''}"

    def _backed_up(self, name: str, expected: int, datacenters: int) -> None:
        with self.time.step(f"backup {name}") as step:
            wait_for(self.kubectl, CBACK, name, "Complete", _COMPLETE)
            status = self.kubectl.get(CBACK, name)["status"]
            done, found = status["totals"]["completed"], len(status["datacenters"])
            if (done, found) != (expected, datacenters):
                raise Different(f"{name} has {done} nodes of {found} datacenters, not {expected} of {datacenters}")
            step.detail = f"{done} nodes, {status['size']}, to {status['location']}"
