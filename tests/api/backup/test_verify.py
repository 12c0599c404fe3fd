"""verify: Hash. Every byte is read back before the record is written, and nothing damaged is ever called complete."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.protocol import Kind
from reconcilers.api.backup import BACKUPS
from tests.api.backup.spy import Crash
from tests.fakes.agents import THROTTLED
from tests.fakes.clock import settle

if TYPE_CHECKING:
    from tests.api.backup.world import World

FIRST, NODE, LAST = (f"cassandra-foo-cassandra-{n}" for n in range(3))
DAMAGED = {
    "objects": 7, "missing": 1, "damaged": 2,
    "findings": [
        {"object": "a", "fault": "Damaged", "detail": "was wrong", "backups": ["t"], "healing": "Healed"},
        {"object": "b", "fault": "Damaged", "detail": "is wrong", "backups": ["t"], "healing": "NotOnDisk"},
    ],
}  # fmt: skip


def clean(world: World) -> bool:
    running = [o for a in world.agents for r in a.journal.values() if not (o := r.operation).state.final]
    return not running and not any(a.snapshots for a in world.agents)


async def test_every_node_is_read_before_the_record_is_written(world: World) -> None:
    await world.datacenter()
    await world.backup(verify="Hash", bandwidth="1Mi", concurrentTransfers=3)
    await world.run(lambda: world.phase() == "Completed")
    assert [what for what, _ in world.agents.order] == ["snapshot"] * 3 + ["uploaded"] * 3 + ["verified"] * 3 + [
        "commit"
    ]
    assert world.condition("Verified") == (
        "True", "BytesRead", "every byte of 3 nodes was read back before the backup was recorded",
    )  # fmt: skip
    uid, node = world.get().metadata.uid, world.get().status.nodes[0]
    spec = world.agents[FIRST].journal[f"{uid}.verify.1"].spec
    assert {name: spec[name] for name in spec if name != "location"} == {
        "cluster": "foo-cassandra-cluster", "datacenter": "foo-cassandra-dc", "node": FIRST, "tag": "backup",
        "digest": node.digest, "level": "Read", "heal": True, "concurrentTransfers": 3, "bandwidth": 1 << 20,
    }  # fmt: skip
    assert (node.phase, node.progress, node.files, node.bytes_total) == ("Completed", "100%", 10, 1000)


@pytest.mark.parametrize("verify", ["Size", "None"])
async def test_nothing_is_read_otherwise(world: World, verify: str) -> None:
    await world.datacenter()
    await world.backup(verify=verify)
    await world.run(lambda: world.phase() == "Completed")
    assert not [o for a in world.agents for o in a.of_kind(Kind.VERIFY)]
    assert world.condition("Verified")[1] == ("SizesCompared" if verify == "Size" else "")


async def test_what_could_not_be_put_right_fails_the_backup(world: World) -> None:
    await world.datacenter()
    world.agents[NODE].script(Kind.VERIFY, result=DAMAGED)
    await world.backup(verify="Hash")
    await world.run(lambda: world.phase() == "Failed")
    status = world.get().status
    wrong = f"{NODE}: of 7 objects 1 are missing and 2 damaged: b: is wrong"
    assert (status.reason, status.message) == ("VerificationFailed", wrong)
    assert world.condition("Verified") == ("False", "VerificationFailed", wrong)
    assert world.condition("Restorable")[0] == "False"
    assert world.agents.bucket.records == {}, "no record names what is damaged"
    assert clean(world)


async def test_a_damaged_node_is_left_out_where_that_is_allowed(world: World) -> None:
    await world.datacenter()
    world.agents[NODE].script(Kind.VERIFY, result=DAMAGED)
    await world.backup(verify="Hash", nodeFailurePolicy="AllowPartial")
    await world.run(lambda: world.phase() == "PartiallyCompleted")
    (record,) = world.agents.bucket.records.values()
    assert [n.node for n in record.nodes] == [FIRST, LAST]
    assert world.condition("Verified")[2].startswith("every byte of 2 nodes")


async def test_what_was_put_right_is_told(world: World) -> None:
    await world.datacenter()
    world.agents[NODE].script(Kind.VERIFY, result={"healed": 1})
    await world.backup(verify="Hash")
    await world.run(lambda: world.phase() == "Completed")
    assert ("Warning", "NodeHealed", f"{NODE}: 1 object was not as sent, sent again") in await world.events()


async def test_a_store_that_is_away_while_it_is_read(world: World) -> None:
    await world.datacenter()
    world.agents[NODE].script(Kind.VERIFY, fail=[THROTTLED, None])
    await world.backup(verify="Hash")
    await world.run(lambda: world.phase() == "Completed")
    uid = world.get().metadata.uid
    assert world.agents[NODE].executed[f"{uid}.verify.2"] == 1
    assert world.agents[NODE].executed[f"{uid}.backup.1"] == 1, "nothing is sent again for that"


async def test_no_more_read_at_a_time_than_upload(world: World) -> None:
    await world.datacenter(replicas=6)
    most = 0

    def count() -> None:
        nonlocal most
        running = [o for a in world.agents for o in a.of_kind(Kind.VERIFY) if not o.state.final]
        most = max(most, len(running))

    world.watched.append(count)
    world.agents.script(Kind.VERIFY, seconds=3)
    await world.backup(verify="Hash", parallelism=2)
    await world.run(lambda: world.phase() == "Completed")
    assert most == 2


async def test_progress_of_what_is_read(world: World) -> None:
    await world.datacenter(replicas=1)
    world.agents.script(Kind.VERIFY, seconds=100)
    await world.backup(verify="Hash")
    await world.run(lambda: world.phase() == "Finalizing")
    await world.rest(52)
    (node,) = world.get().status.nodes
    assert node.phase == "Verifying"
    assert 40 <= int(node.progress.removesuffix("%")) <= 60
    assert (node.bytes_total, node.bytes_done) == (1000, 1000), "what was sent is what the record will say"


async def test_cancel_while_it_is_read(world: World) -> None:
    await world.datacenter()
    world.agents.script(Kind.VERIFY, seconds=100)
    await world.backup(verify="Hash")
    await world.run(lambda: world.phase() == "Finalizing")
    await world.patch(BACKUPS, "backup", {"spec": {"cancel": True}})
    await world.run(lambda: world.phase() == "Cancelled", within=20)
    assert clean(world)
    await world.rest(120)
    assert world.agents.bucket.records == {}


async def test_cancel_between_the_first_read_and_its_status(world: World) -> None:
    """It was started, and the operator died before it could say so."""
    await world.datacenter()
    world.agents.script(Kind.VERIFY, seconds=1000)
    await world.backup(verify="Hash")
    await world.run(lambda: [o.state.final for a in world.agents for o in a.of_kind(Kind.BACKUP)] == [True] * 3)
    assert world.phase() == "Uploading"
    world.spy.crash_before = len(world.spy.writes) + 1
    with pytest.raises(Crash):
        await world.reconcile(BACKUPS.kind, world.key("backup"))
    await settle()
    assert len([o for a in world.agents for o in a.of_kind(Kind.VERIFY)]) == 3
    assert world.phase() == "Uploading"
    await world.patch(BACKUPS, "backup", {"spec": {"cancel": True}})
    await world.restart()
    await world.run(lambda: world.phase() == "Cancelled", within=20)
    assert clean(world)


async def test_the_operator_dies_all_the_time(world: World) -> None:
    await world.datacenter()
    world.agents.script(Kind.VERIFY, seconds=20)
    await world.backup(verify="Hash")
    for _ in range(40):
        await world.rest(3)
        await world.restart()
        if world.phase() == "Completed":
            break
    assert world.phase() == "Completed"
    assert set(world.agents.executed.values()) == {1}
