"""A place in the store to which another datacenter writes as well, and who a tag belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.protocol import Kind
from reconcilers.api.backup import BACKUPS

if TYPE_CHECKING:
    from tests.api.backup.world import World

FIRST = "cassandra-foo-cassandra-0"


async def test_another_writer_is_said_and_is_no_hindrance(world: World) -> None:
    await world.datacenter()
    world.agents[FIRST].script(Kind.PROBE, result={"owner": "uid-of-other", "shared": True})
    await world.backup()
    await world.run(lambda: world.phase() == "Completed")
    truth, reason, message = world.condition("DestinationShared")
    assert (truth, reason) == ("True", "OtherOwner")
    assert "s3://bucket, foo-cassandra-cluster/foo-cassandra-dc was first written to by another" in message
    assert "uid-of-other" in message
    assert ("Warning", "DestinationShared", message) in await world.events()


async def test_nothing_is_said_of_a_place_that_is_ours(world: World) -> None:
    await world.datacenter()
    world.agents[FIRST].script(Kind.PROBE, result={"owner": "us", "shared": False})
    await world.backup()
    await world.run(lambda: world.phase() == "Completed")
    assert world.condition("DestinationShared") == ("", "", "")


async def test_a_datacenter_that_was_made_anew_goes_on_where_it_was(world: World) -> None:
    """As long as a backup of either is there: its own ones may be deleted before, and those of others prove nothing."""
    first = (await world.datacenter()).metadata.uid
    await world.backup("first")
    await world.run(lambda: world.phase("first") == "Completed")
    await world.lose_datacenter()
    await world.datacenter()
    await world.datacenter("other", replicas=1, own={"app": "other"})
    for agent in world.agents:
        agent.script(Kind.PROBE, result={"owner": first, "shared": True})
    await world.backup("second")
    await world.backup("other", own={"app": "other"})
    await world.run(lambda: world.phase("second") == world.phase("other") == "Completed")
    assert world.condition("DestinationShared", "second") == ("", "", "")
    (datacenter,) = world.get("second").status.datacenters
    assert datacenter.uid != first
    assert datacenter.succeeds == first
    assert world.condition("DestinationShared", "other")[:2] == ("True", "OtherOwner")
    await world.delete(BACKUPS, "first")
    await world.run(lambda: world.phase("first") == "gone")
    await world.backup("third")
    await world.run(lambda: world.phase("third") == "Completed")
    assert world.condition("DestinationShared", "third") == ("", "", "")


async def test_two_datacenters_that_share(world: World) -> None:
    """Asked over and over while the first one's answer is waited for, each is said once."""
    for name, owner in (("a", "x"), ("b", "y")):
        await world.datacenter(name, replicas=1, own={"app": "c"})
        world.agents[f"cassandra-{name}-0"].script(Kind.PROBE, result={"owner": owner, "shared": True})
    world.agents["cassandra-a-0"].script(Kind.PROBE, seconds=20)
    await world.backup(own={"app": "c"})
    await world.run(lambda: world.phase() == "Completed")
    message = world.condition("DestinationShared")[2]
    assert (message.count("a-cluster/a-dc"), message.count("b-cluster/b-dc")) == (1, 1)


async def test_two_backups_of_one_second_with_one_tag(world: World) -> None:
    await world.datacenter()
    for name in ("one", "two"):
        await world.backup(name, snapshotTag="same")
    ended = {"Completed", "FailedValidation"}
    await world.run(lambda: {world.phase("one"), world.phase("two")} == ended)
    refused = world.get("one" if world.phase("two") == "Completed" else "two")
    whole = world.get("two" if refused.metadata.name == "one" else "one")
    assert refused.status.reason == "SnapshotTagExists"
    assert [r.backup_id for r in world.agents.bucket.records.values()] == [whole.metadata.uid]
    touched = [i for a in world.agents for i in a.journal if i.startswith(refused.metadata.uid)]
    assert {i.split(".")[1] for i in touched} == {"probe"}
    assert not any(a.snapshots for a in world.agents)
