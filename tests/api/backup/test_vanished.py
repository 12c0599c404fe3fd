"""A backup whose record is not in the bucket any more does not say that it can be restored, nor of another one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from controller import builtin
from reconcilers.api.backup import BACKUPS
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
    asked, writes = len(world.agents.inspected), await world.writes()
    await world.rest(LOOK)
    assert len(world.agents.inspected) == asked + 1, "what is known to be gone is not read at every look"
    await world.restart()
    await world.rest(LOOK)
    assert await world.writes() == writes
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
    assert sum("limit" not in query for query in world.agents.inspected) >= 2, "it was doubted, and the record read"
    assert restorable(world) == ("True", "Completed")


async def synced_one(world: World, **catalog: Any) -> str:
    """The name of the object of a backup that the catalog has found."""
    held(world, "t1")
    await world.datacenter(replicas=1, backup={"catalog": {**CATALOG["catalog"], **catalog}})
    await rested(world)
    (name,) = synced(world)
    return name


async def test_a_listing_that_was_cut_is_no_evidence(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    name = await synced_one(world)
    monkeypatch.setattr(reconciler, "MOST", 2)
    lose(world, "t1")
    for number in range(2, 5):
        held(world, f"t{number}")
    await world.rest(LOOK)
    assert said(world)[:2] == ("False", "TooMany")
    assert restorable(world, name) == ("True", "Imported")
    lose(world, "t2")
    await world.rest(LOOK)
    assert restorable(world, name) == ("False", "RecordGone"), "this one was whole"


async def test_a_store_that_does_not_list_is_no_evidence(world: World) -> None:
    name = await synced_one(world)
    lose(world, "t1")
    for reason, says in (("StorageUnreachable", "Unknown"), ("AccessDenied", "False")):
        world.agents.catalog_refusal = Refusal(502, "the store's own words", reason)
        await world.rest(LOOK)
        assert said(world)[:2] == (says, reason)
        assert restorable(world, name) == ("True", "Imported")


async def test_a_record_that_cannot_be_read_is_no_evidence(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    name = await synced_one(world)
    lose(world, "t1")
    answer = Refusal(502, "the store's own words", "")
    refused: list[object] = []

    def refuse(_agent: FakeAgent, query: object, _tag: str) -> None:
        refused.append(query)
        raise answer

    with monkeypatch.context() as patched:
        patched.setattr(FakeAgent, "_record", refuse)
        for reason in ("StorageUnreachable", "AccessDenied", "ManifestInvalid"):
            answer.reason = reason
            refused.clear()
            await world.rest(LOOK)
            assert refused, "it was asked for"
            assert restorable(world, name) == ("True", "Imported")
    await world.rest(LOOK)
    assert restorable(world, name) == ("False", "RecordGone")


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
    held(world, "backup")
    await completed(world, importExisting=True, endpoint={"url": "http://elsewhere"})
    lose(world, "backup")
    await world.rest(2 * LOOK)
    assert restorable(world) == ("True", "Imported")


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


async def test_what_somebody_has_laid_a_hand_on_stays(world: World) -> None:
    tags = [f"t{number}" for number in range(1, 7)]
    for tag in tags:
        held(world, tag)
    await world.datacenter(replicas=1, backup=PRUNES)
    await rested(world)
    t1, t2, t3, t4, t5, t6 = synced(world)
    was = {tag: lose(world, tag) for tag in tags}
    await world.rest(LOOK)
    assert {restorable(world, name) for name in synced(world)} == {("False", "RecordGone")}
    await world.patch(BACKUPS, t1, {"spec": {"deletionPolicy": "Delete"}})
    held_by = [*world.get(t2).metadata.finalizers, "example.com/mine"]
    await world.patch(BACKUPS, t2, {"metadata": {"finalizers": held_by}})
    await world.restore(datacenter="bar", backup={"name": t3})
    world.agents.bucket.records.update(was["t4"])
    await world.rest(1)
    await world.client.patch(BACKUPS, world.key(t6), {"spec": {"deletionPolicy": "Delete"}})  # not seen yet
    await world.rest(LOOK)
    assert [world.phase(name) for name in (t1, t2, t3, t4, t6)] == ["Completed"] * 5
    assert world.phase(t5) == "gone"


async def test_looks_that_failed_do_not_count(world: World) -> None:
    name = await synced_one(world, prune=True)
    lose(world, "t1")
    await world.rest(LOOK)
    world.agents.catalog_refusal = Refusal(502, "the store's own words", "AccessDenied")
    await world.rest(LOOK)
    assert world.phase(name) == "Completed"
    world.agents.catalog_refusal = None
    await world.rest(LOOK)
    assert world.phase(name) == "gone", "the looks that succeeded were two"
