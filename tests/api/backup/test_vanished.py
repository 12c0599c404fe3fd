"""A backup whose record is not in the bucket any more does not say that it can be restored, nor of another one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from controller import builtin
from reconcilers.api.backup import BACKUPS
from reconcilers.api.datacenter import DATACENTERS
from reconcilers.api.restore import RESTORES
from reconcilers.catalog import reconciler
from tests.api.backup.test_catalog import CATALOG, rested, said
from tests.api.backup.test_importing import held
from tests.api.restore import steps
from tests.fakes.agents import FakeAgent, Refusal

if TYPE_CHECKING:
    from agent.protocol import ClusterRecord
    from tests.api.backup.world import World

LOOK = 620  # seconds in which one more look has been taken
PRUNES: dict[str, Any] = {"catalog": {**CATALOG["catalog"], "prune": True}}
ADVICE = "restore another one, and delete this object unless what was deleted there can be brought back"


async def completed(world: World, name: str = "backup", **spec: Any) -> None:
    await world.backup(name, **spec)
    await world.run(lambda: world.get(name).ended)
    assert world.phase(name) == "Completed"


def lose(world: World, tag: str) -> dict[Any, ClusterRecord]:
    """Somebody deletes the records; what it was."""
    records = world.agents.bucket.records
    return {key: records.pop(key) for key in [*records] if key[2] == tag}


def restorable(world: World, name: str = "backup") -> tuple[str, str]:
    return world.condition("Restorable", name)[:2]


def synced(world: World) -> list[str]:
    """Names of the objects that the catalog made."""
    return sorted(b.metadata.name for b in world.stores[BACKUPS].all() if "-" in b.metadata.name)


async def told(world: World, name: str) -> list[tuple[str, int]]:
    """Type of each event of a record that is gone, and how often it was told."""
    await world.written()
    found = await world.client.list(builtin.EVENTS, world.namespace)
    mine = [e for e in found if e["involvedObject"]["name"] == name and e["reason"] == "RecordGone"]
    return [(e["type"], e.get("count", 1)) for e in mine]


@pytest.mark.parametrize("origin", ["run", "imported", "synced"])
async def test_it_says_so_and_takes_it_back(world: World, origin: str) -> None:
    await world.datacenter(replicas=1, backup=CATALOG)
    if origin != "run":
        held(world, "backup")
    if origin == "synced":
        await rested(world)
    else:
        await completed(world, importExisting=origin == "imported")
        await rested(world)
    (name,) = [b.metadata.name for b in world.stores[BACKUPS].all()]
    assert restorable(world, name)[0] == "True"
    was = lose(world, "backup")
    await world.rest(LOOK)
    truth, reason, message = world.condition("Restorable", name)
    assert (truth, reason, world.phase(name)) == ("False", "RecordGone", "Completed")
    of = "foo-cassandra-cluster/foo-cassandra-dc" if origin == "run" else "old/dc1"
    assert message == f"s3://bucket does not hold backup backup of {of} any more: {ADVICE}"
    assert (await world.columns(BACKUPS, name))["Restorable"] == "False"
    assert world.condition("Complete", name)[0] == "True"
    asked, writes = len(world.agents.inspected), world.writes()
    await world.rest(LOOK)
    assert len(world.agents.inspected) == asked + 1, "what is known to be gone is not read at every look"
    await world.restart()
    await world.rest(LOOK)
    assert world.writes() == writes
    assert await told(world, name) == [("Warning", 1)]
    world.agents.bucket.records.update(was)
    await world.rest(LOOK)
    assert world.condition("Restorable", name) == ("True", "RecordFound", "s3://bucket holds backup backup again")
    assert ("Normal", "RecordFound", "s3://bucket holds backup backup again") in await world.events(name)
    assert world.phase(name) == "Completed"


async def test_a_listing_that_lags_behind_is_no_evidence(world: World) -> None:
    await world.datacenter(replicas=1, backup=CATALOG)
    world.agents.bucket.unlisted.add("backup")
    await completed(world)
    await world.rest(2 * LOOK)
    assert {query["tag"] for query in world.agents.inspected if "tag" in query} == set()
    assert len(world.agents.inspected) >= 4, "each listing was doubted, and the record read"
    assert restorable(world) == ("True", "Completed")


async def test_a_listing_that_was_cut_is_no_evidence(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciler, "MOST", 2)
    await world.datacenter(replicas=1)
    await completed(world)
    for number in range(3):
        held(world, f"t{number}")
    await world.patch(DATACENTERS, "foo-cassandra", {"spec": {"backup": CATALOG}})
    await rested(world)
    lose(world, "backup")
    await world.rest(LOOK)
    assert said(world)[:2] == ("False", "TooMany")
    assert restorable(world) == ("True", "Completed")
    lose(world, "t0")
    await world.rest(LOOK)
    assert restorable(world) == ("False", "RecordGone"), "this one was whole"


@pytest.mark.parametrize(("reason", "says"), [("StorageUnreachable", "Unknown"), ("AccessDenied", "False")])
async def test_a_store_that_does_not_list_is_no_evidence(world: World, reason: str, says: str) -> None:
    await world.datacenter(replicas=1, backup=CATALOG)
    await completed(world)
    await rested(world)
    lose(world, "backup")
    world.agents.catalog_refusal = Refusal(502, "the store's own words", reason)
    await world.rest(2 * LOOK)
    assert said(world)[:2] == (says, reason)
    assert restorable(world) == ("True", "Completed")


@pytest.mark.parametrize("reason", ["StorageUnreachable", "AccessDenied", "ManifestInvalid"])
async def test_a_record_that_cannot_be_read_is_no_evidence(
    world: World, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    await world.datacenter(replicas=1, backup=CATALOG)
    await completed(world)
    await rested(world)
    lose(world, "backup")

    def refuse(*_: object) -> None:
        raise Refusal(502, "the store's own words", reason)

    with monkeypatch.context() as patched:
        patched.setattr(FakeAgent, "_record", refuse)
        await world.rest(2 * LOOK)
    assert restorable(world) == ("True", "Completed")
    await world.rest(LOOK)
    assert restorable(world) == ("False", "RecordGone")


async def test_one_that_is_deleted_with_its_data_says_nothing_and_another_object_of_it_does(world: World) -> None:
    await world.datacenter(replicas=1, backup=CATALOG)
    await completed(world, deletionPolicy="Delete")
    await completed(world, "mine", importExisting=True, snapshotTag="backup")
    await rested(world)
    said_of_it: set[tuple[str, str]] = set()
    world.watched.append(lambda: said_of_it.add(restorable(world)) if world.phase() != "gone" else None)
    await world.delete(BACKUPS, "backup")
    await world.run(lambda: world.phase() == "gone", within=60)
    await world.rest(LOOK)
    assert said_of_it == {("True", "Completed")}
    assert restorable(world, "mine") == ("False", "RecordGone")


async def test_another_backup_under_its_name_is_not_it(world: World) -> None:
    await world.datacenter(replicas=1, backup=CATALOG)
    await completed(world)
    lose(world, "backup")
    await completed(world, "second", snapshotTag="backup")
    await world.rest(LOOK)
    assert restorable(world) == ("False", "RecordGone")
    assert world.condition("Restorable")[2].startswith(
        "what s3://bucket holds as backup backup of foo-cassandra-cluster/foo-cassandra-dc is another backup by now: "
    )
    await world.rest(LOOK)
    assert (restorable(world)[0], restorable(world, "second")[0]) == ("False", "True")


async def test_a_bucket_of_that_name_elsewhere_is_another(world: World) -> None:
    await world.datacenter(replicas=1, backup=CATALOG)
    await completed(world, endpoint={"url": "http://elsewhere"})
    lose(world, "backup")
    await world.rest(2 * LOOK)
    assert restorable(world) == ("True", "Completed")


async def test_half_of_a_backup_of_two_datacenters_is_none(world: World) -> None:
    await world.datacenter(replicas=1, backup=CATALOG, own={"app": "c"})
    await world.datacenter("bar", replicas=1, own={"app": "c"})
    await completed(world, own={"app": "c"})
    await rested(world)
    half = ("bar-cluster", "bar-dc", "backup")
    was = world.agents.bucket.records.pop(half)
    await world.rest(LOOK)
    assert restorable(world) == ("False", "RecordGone")
    assert "backup backup of bar-cluster/bar-dc" in world.condition("Restorable")[2]
    world.agents.bucket.records[half] = was
    await world.rest(LOOK)
    assert restorable(world) == ("True", "RecordFound")


@pytest.mark.parametrize("moment", ["crash_before", "crash_after"])
async def test_the_operator_dies_at_the_write(world: World, moment: str) -> None:
    await world.datacenter(replicas=1, backup=CATALOG)
    await completed(world)
    await rested(world)
    lose(world, "backup")
    setattr(world.spy, moment, len(world.spy.writes) + 1)
    await world.rest(LOOK)
    assert world.session == 2
    assert restorable(world) == ("False", "RecordGone")


async def test_a_restore_of_it_is_refused_before_anything_is_made(world: World) -> None:
    await world.datacenter(replicas=1, backup=CATALOG)
    await completed(world)
    await rested(world)
    was = lose(world, "backup")
    await world.rest(LOOK)
    await world.datacenter("bar", replicas=1, pods=False)
    await world.restore(datacenter="bar", backup={"name": "backup"})
    await steps.inspector_comes(world)
    await world.run(lambda: world.restore_phase() == "Failed", within=60)
    assert world.condition("Validated", "restore", RESTORES)[:2] == ("False", "BackupNotFound")
    assert "has no backup backup" in world.get_restore().status.message
    world.agents.bucket.records.update(was)
    await world.restore("again", datacenter="bar", backup={"name": "backup"})
    await steps.inspector_comes(world, "again-inspector")
    await world.run(lambda: world.get_restore("again").status.mapping, within=60)
    assert restorable(world) == ("False", "RecordGone"), "the bucket has the last word, not the last look"


async def test_its_own_objects_go_where_that_is_asked_for_and_come_again(world: World) -> None:
    for tag in ("t1", "t2", "t3"):
        held(world, tag)
    held(world, "bad", nodes=[])
    await world.datacenter(replicas=1, backup=PRUNES)
    await completed(world)
    await rested(world)
    await completed(world, "mine", importExisting=True, snapshotTag="t1")
    t1, t2 = (next(n for n in synced(world) if n.startswith(tag)) for tag in ("t1", "t2"))
    was = {tag: lose(world, tag) for tag in ("t1", "t2", "bad", "backup")}
    await world.rest(LOOK)
    assert len(synced(world)) == 4, "one look is not enough"
    assert (restorable(world, t1), restorable(world, t2)) == (("False", "RecordGone"),) * 2
    await world.rest(LOOK)
    assert [name[:2] for name in synced(world)] == ["t3"]
    assert {"backup", "mine"} <= {b.metadata.name for b in world.stores[BACKUPS].all()}, "a person's are left"
    (message,) = [m for _, reason, m in await world.events("foo-cassandra") if reason == "CatalogPruned"]
    assert message.startswith("deleted, as their backups are not in s3://bucket any more: ")
    assert ("forget", "t1") not in world.agents.order
    world.agents.bucket.records.update(was["t2"])
    await world.rest(LOOK)
    assert restorable(world, t2) == ("True", "Imported")


@pytest.mark.parametrize("why", ["policy", "finalizer", "restore", "back", "failed"])
async def test_what_is_left_all_the_same(world: World, why: str) -> None:
    held(world, "t1")
    await world.datacenter(replicas=1, backup=PRUNES)
    await rested(world)
    (name,) = synced(world)
    was = lose(world, "t1")
    await world.rest(LOOK)
    assert restorable(world, name) == ("False", "RecordGone")
    if why == "policy":
        await world.patch(BACKUPS, name, {"spec": {"deletionPolicy": "Delete"}})
    if why == "finalizer":
        held_by = [*world.get(name).metadata.finalizers, "example.com/mine"]
        await world.patch(BACKUPS, name, {"metadata": {"finalizers": held_by}})
    if why == "restore":
        await world.restore(datacenter="bar", backup={"name": name})
    if why == "back":
        world.agents.bucket.records.update(was)
    if why == "failed":
        world.agents.catalog_refusal = Refusal(502, "the store's own words", "AccessDenied")
    await world.rest(LOOK)
    assert world.phase(name) == "Completed"
    if why == "failed":
        world.agents.catalog_refusal = None
        await world.rest(LOOK)
        assert world.phase(name) == "gone", "the looks that succeeded were two"
