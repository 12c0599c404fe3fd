"""Fixtures of the ring that runs on a real cluster.

The demo's scenario runs once, first, and leaves two datacenters for all the others: the restored one, of three nodes,
and the small one. STORAGE says in which store the backups are, by default s3. There the agents have keys of a user of
their own, so that a test can take a right away from them; in the others there is no such user.
E2E_REUSE=1 takes the datacenters that an earlier run left, where they are ready: for work on one scenario. With
E2E_NAMESPACE=cassandra-demo they are those of `make demo`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from dev.scenario import bed, install, nodes, state
from dev.scenario.demo import CBACK, CDC, Demo
from dev.scenario.documents import BACKUP, BOTH, RESTORED, SMALL
from dev.scenario.kubectl import Kubectl, KubectlError, condition_of
from dev.scenario.minio_admin import MinioAdmin, allow_all
from dev.scenario.places import STORAGE, place
from tests.e2e.backups import Backups
from tests.e2e.copies import Copies

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from dev.scenario.documents import Documents
    from dev.scenario.store import Store

NAMESPACE = os.environ.get("E2E_NAMESPACE") or "cassandra-e2e"
AGENTS, AGENTS_SECRET = "agents", "agents-secret-key"
_SECONDS = 1500.0  # of one test, with what its fixtures do


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "smoke: the demo's scenario, which CI runs for every change")
    config.addinivalue_line("markers", "stores: the other stores, with one node each")
    if storage() not in STORAGE:
        raise pytest.UsageError(f"STORAGE is {', '.join(STORAGE[:-1])} or {STORAGE[-1]}, not {storage()!r}")


def storage() -> str:
    return os.environ.get("STORAGE") or "s3"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The demo's scenario first, since the others stand on it."""
    ours = [item for item in items if item.path.is_relative_to(__file__.rpartition("/")[0])]
    for item in ours:
        item.add_marker(pytest.mark.timeout(_SECONDS))
    items.sort(key=lambda item: item in ours and item.get_closest_marker("smoke") is None)


@dataclass(frozen=True)
class World:
    """The cluster with what the demo's scenario left on it."""

    demo: Demo

    @property
    def kubectl(self) -> Kubectl:
        return self.demo.kubectl

    @property
    def documents(self) -> Documents:
        return self.demo.place.documents

    @property
    def store(self) -> Store:
        return self.demo.place.store

    @property
    def target(self) -> str:
        """The bucket of the demo's backups."""
        return self.documents.target

    def elsewhere(self, store: Store) -> World:
        """The same, for backups that are in ``store``."""
        return World(replace(self.demo, place=replace(self.demo.place, store=store)))

    def pods(self) -> list[str]:
        """Of the restored datacenter, by name."""
        return nodes.names(self.kubectl, RESTORED)


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    """Runs the demo's scenario. Where it fails, everything fails, after a look at how things stand."""
    cluster, keys = bed.up(), None
    if storage() == "s3":
        made, keys = _admin(), (AGENTS, AGENTS_SECRET)
        made.add_user(*keys)
        made.set_policy(AGENTS, allow_all())
    demo = Demo(cluster, place(storage(), cluster.kubectl(NAMESPACE), keys=keys), namespace=NAMESPACE)
    if os.environ.get("E2E_REUSE") and _left(demo):
        _forget_backups(demo)
    else:
        try:
            demo.run()
        except BaseException:
            state.dump(demo.kubectl)
            raise
        finally:
            print(f"\n{demo.time.table()}")  # noqa: T201  what took how long
    yield World(demo)
    if not os.environ.get("E2E_REUSE"):
        install.remove_namespace(demo.kubectl)
        demo.place.store.remove(demo.place.documents.target)


@pytest.fixture
def admin(world: World) -> MinioAdmin:
    """Takes rights away from the agents."""
    if world.demo.place.name != "s3":
        pytest.skip(f"STORAGE={world.demo.place.name} has no users whose rights a test can change; s3's MinIO has")
    return _admin()


@pytest.fixture
def backups(world: World) -> Iterator[Backups]:
    """Makes a test's backups. With the test their objects go, and their records in the bucket."""
    made = Backups(world)
    yield made
    made.clear()


@pytest.fixture
def copies(world: World) -> Iterator[Copies]:
    """Makes a test's datacenters. With the test they go, and their volumes."""
    made = Copies(world)
    yield made
    made.clear()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What there is to see when a test failed, before anything is cleared away."""
    report = yield
    found = getattr(item, "funcargs", {}).get("world")
    if report.failed and isinstance(found, World):
        state.dump(found.kubectl)
    return report


def _admin() -> MinioAdmin:
    server = bed.server("s3")
    return MinioAdmin(server.url, server.user, server.password)


def _forget_backups(demo: Demo) -> None:
    """Those of the scenarios, so that each makes its own again."""
    for each in demo.kubectl.list(CBACK):
        name = each["metadata"]["name"]
        if name not in (BACKUP, BOTH):
            demo.kubectl.delete(CBACK, name)
            store, target = demo.place.store, demo.place.documents.target
            store.delete(target, [key for key in store.keys(target) if f"/_backups/{name}/" in key])


def _left(demo: Demo) -> bool:
    try:
        found = [demo.kubectl.find(CDC, name) or {} for name in (RESTORED, SMALL)]
        backup = demo.kubectl.find(CBACK, BACKUP) or {"spec": {}}
    except KubectlError:
        return False
    ours = backup["spec"].get("backupType") == demo.place.documents.backup_type
    return ours and all(condition_of(each, "Ready").get("status") == "True" for each in found)
