"""The other stores: a node's rows there and back, in all of them at the same time; and what a user can get wrong there.

One node each, so that it costs minutes less than `make e2e STORAGE=...`, which runs every scenario with one of them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from dev.scenario import dataset, nodes
from dev.scenario.cql import Consistency, session
from dev.scenario.demo import CBACK, CDC
from dev.scenario.kubectl import condition_of, eventually
from dev.scenario.places import STORAGE, Place, place
from dev.scenario.timeline import Timeline, together
from dev.scenario.waiting import Failed, wait_for
from tests.e2e.conftest import storage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dev.scenario.dataset import Picture
    from dev.scenario.kubectl import Kubectl, Object
    from tests.e2e.conftest import World

OTHERS = [name for name in STORAGE if name != storage()]
_ROWS = 400
_READ_ONLY = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "read-only"},
    "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Mi"}}},
}
_CRS = "cassandrarestore"
_READY, _COMPLETE = 600.0, 240.0  # seconds
_SOON = 45.0  # seconds in which a mistake is told, on a machine that has much to do

pytestmark = pytest.mark.stores


@dataclass
class Trip:
    """One store's way: rows into a datacenter, a backup, the loss, a restore under another name."""

    kubectl: Kubectl
    place: Place
    time: Timeline
    before: Picture = field(default_factory=dataset.Picture)
    after: Picture = field(default_factory=dataset.Picture)
    error: BaseException | None = None

    @property
    def first(self) -> str:
        return f"{self.place.name}-first"

    @property
    def second(self) -> str:
        return f"{self.place.name}-second"

    def run(self) -> None:
        """Raises nothing: each store's test says what went wrong with it."""
        try:
            with self.time.step(f"{self.place.name}: there and back") as step:
                self._run()
                step.detail = f"{self.before.count()} rows"
        except Exception as error:  # noqa: BLE001  told by the tests
            self.error = error

    def _run(self) -> None:
        documents, kubectl = self.place.documents, self.kubectl
        self.clear()  # what an earlier run may have left
        self.place.store.make_empty(documents.target)
        for needed in (*documents.objects, *([_READ_ONLY] if self.place.name == "file" else [])):
            kubectl.apply(needed)
        kubectl.apply(self.datacenter(self.first))
        wait_for(kubectl, CDC, self.first, "Ready", _READY)
        with session(kubectl, f"cassandra-{self.first}-0") as cql:
            dataset.create_schema(cql, self.first, 1)
            dataset.write(cql, _ROWS)
        self.before = self._picture(self.first)
        kubectl.apply(documents.other_backup(self.first, {"cassandra-datacenter": self.first}))
        wait_for(kubectl, CBACK, self.first, "Complete", _COMPLETE)
        nodes.delete_with_claims(kubectl, self.first)
        kubectl.apply(self.datacenter(self.second, restoreFromBackup=self.first))
        wait_for(kubectl, CDC, self.second, "Ready", _READY)
        self.after = self._picture(self.second)

    def clear(self) -> None:
        self.kubectl.delete(CBACK, self.first)
        for name in (self.first, self.second):
            if self.kubectl.find(CDC, name):
                nodes.delete_with_claims(self.kubectl, name)

    def datacenter(self, name: str, **spec: Any) -> Object:
        """With FILE, it has a second directory, read-only."""
        made = self.place.documents.other_datacenter(name, 1, **spec)
        if self.place.name == "file":
            claim = {"claimName": _READ_ONLY["metadata"]["name"]}
            volume = {"name": "read-only", "mountPath": "/read-only", "readOnly": True, "persistentVolumeClaim": claim}
            made["spec"]["backup"]["volumes"].append(volume)
        return made

    def _picture(self, datacenter: str) -> Picture:
        with session(self.kubectl, f"cassandra-{datacenter}-0", Consistency.ONE) as cql:
            return dataset.picture(cql)


@pytest.fixture(scope="session")
def trips(world: World) -> Iterator[dict[str, Trip]]:
    """All at the same time."""
    timeline = Timeline()
    made = {name: Trip(world.kubectl, place(name, world.kubectl), timeline) for name in OTHERS}
    together(*(trip.run for trip in made.values()))
    print(f"\n{timeline.table()}")  # noqa: T201  what took how long
    yield made
    for trip in made.values():
        trip.place.store.remove(trip.place.documents.target)  # FILE's while a pod has it mounted
        trip.clear()


@pytest.mark.parametrize("store", OTHERS)
def test_every_row_comes_back(trips: dict[str, Trip], store: str) -> None:
    trip = trips[store]
    if trip.error:
        raise trip.error
    assert trip.before.count() == _ROWS
    assert dataset.differences(trip.before, trip.after) == []
    assert condition_of(trip.kubectl.get(CBACK, trip.first), "Restorable")["status"] == "True"


@pytest.mark.parametrize("store", OTHERS)
def test_a_backup_is_where_its_owner_looks(trips: dict[str, Trip], store: str) -> None:
    trip = trips[store]
    keys = trip.place.store.keys(trip.place.documents.target)
    assert [key for key in keys if f"/_backups/{trip.first}/" in key], keys
    assert [key for key in keys if key.startswith(f"{trip.first}/{trip.first}/")], keys


@dataclass(frozen=True)
class Wrong:
    """``spec`` is laid over a backup's, ``env`` over the variables of a datacenter that asks for a restore."""

    store: str
    name: str
    reason: str
    words: tuple[str, ...]
    spec: dict[str, Any] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)


def _of_others(*cases: Wrong) -> list[Wrong]:
    return [case for case in cases if case.store in OTHERS]


_NO_BUCKET = "no-such-bucket-anywhere"


@pytest.mark.parametrize(
    "case",
    _of_others(
        Wrong("s3", "s3-no-bucket", "BucketMissing", (_NO_BUCKET,), spec={"target": _NO_BUCKET}),
        Wrong("gcs", "gcs-no-bucket", "BucketMissing", (f"gs://{_NO_BUCKET}",), spec={"target": _NO_BUCKET}),
        Wrong("azure", "azure-no-container", "BucketMissing", (_NO_BUCKET,), spec={"target": _NO_BUCKET}),
        Wrong(
            "file",
            "file-no-directory",
            "TargetNotMounted",
            ("/nowhere", "spec.backup.volumes"),
            spec={"target": "/nowhere"},
        ),
        Wrong("file", "file-read-only", "AccessDenied", ("file:///read-only",), spec={"target": "/read-only"}),
    ),
    ids=lambda case: case.name,
)
def test_a_backup_to_nowhere(trips: dict[str, Trip], case: Wrong) -> None:
    trip = trips[case.store]
    labels = {"cassandra-datacenter": trip.second}
    trip.kubectl.apply(trip.place.documents.other_backup(case.name, labels, **case.spec))
    _told_soon(trip.kubectl, CBACK, case.name, case)


@pytest.mark.parametrize(
    "case",
    _of_others(
        # Azurite's word for it is AuthorizationFailure; Azure's own is AuthenticationFailed, and so CredentialsRefused.
        Wrong("azure", "azure-wrong-key", "AccessDenied", ("check the key",), env={"AZURE_STORAGE_KEY": "d3Jvbmc="}),
        Wrong("azure", "azure-no-key", "CredentialsRefused", ("not base64",), env={"AZURE_STORAGE_KEY": "no base64!"}),
        Wrong(
            "gcs",
            "gcs-no-json",
            "CredentialsRefused",
            ("GOOGLE_APPLICATION_CREDENTIALS_JSON",),
            env={"GOOGLE_APPLICATION_CREDENTIALS_JSON": "{", "STORAGE_EMULATOR_HOST": ""},
        ),
    ),
    ids=lambda case: case.name,
)
def test_credentials_that_are_none(trips: dict[str, Trip], case: Wrong) -> None:
    """A restore's inspector finds out before there is a volume, so no Cassandra is needed to try."""
    trip = trips[case.store]
    documents, kubectl = trip.place.documents, trip.kubectl
    source = {
        "backupType": documents.backup_type, "target": documents.target, "clusterName": trip.first,
        "datacenterName": trip.first, "snapshotTag": trip.first,
        **({} if documents.url_env else {"endpoint": {"url": documents.url}}),
    }  # fmt: skip
    made = documents.other_datacenter(case.name, 1, restore={"source": source})
    kept = [each for each in made["spec"]["env"] if each["name"] not in case.env]
    made["spec"]["env"] = [*kept, *({"name": name, "value": value} for name, value in case.env.items())]
    kubectl.apply(made)
    try:
        restore = f"{case.name}-bootstrap"
        eventually("the restore is made", lambda: kubectl.find(_CRS, restore), 30)
        _told_soon(kubectl, _CRS, restore, case)
        assert nodes.pods(kubectl, case.name) == []
    finally:
        kubectl.delete(CDC, case.name)


def _told_soon(kubectl: Kubectl, kind: str, name: str, case: Wrong) -> None:
    """A condition with one sentence, in seconds."""
    began = time.monotonic()
    with pytest.raises(Failed):
        wait_for(kubectl, kind, name, "Complete", _SOON)
    assert time.monotonic() - began < _SOON
    failed = condition_of(kubectl.get(kind, name), "Failed")
    print(f"\n{failed['reason']}: {failed['message']}")  # noqa: T201  what a user is told
    assert failed["reason"] == case.reason, failed["message"]
    assert all(word in failed["message"] for word in case.words), failed["message"]
    assert "Traceback" not in failed["message"]
    assert "\n" not in failed["message"]
