"""Nodes that fail, fall silent, come back; deadlines; what is left on the nodes afterwards: nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.protocol import Failure, Kind
from reconcilers import labels
from tests.fakes.agents import DENIED, THROTTLED, Refusal

if TYPE_CHECKING:
    from tests.api.backup.world import World

NODE = "cassandra-foo-cassandra-1"


def clean(world: World) -> bool:
    """No snapshot stands, nothing runs."""
    running = [o for a in world.agents for r in a.journal.values() if not (o := r.operation).state.final]
    return not running and not any(a.snapshots for a in world.agents)


async def test_a_node_that_fails_for_good_fails_the_backup(world: World) -> None:
    await world.datacenter()
    world.agents.script(Kind.BACKUP, seconds=100)
    world.agents[NODE].script(Kind.BACKUP, seconds=10, fail=[DENIED])
    await world.backup()
    await world.run(lambda: world.phase() == "Failed")
    status = world.get().status
    assert status.reason == "AccessDenied"
    assert status.message == f"{NODE}: {DENIED.message}"
    assert {n.pod: n.phase for n in status.nodes} == {
        "cassandra-foo-cassandra-0": "Cancelled", NODE: "Failed", "cassandra-foo-cassandra-2": "Cancelled",
    }  # fmt: skip
    assert clean(world)
    assert world.agents.bucket.records == {}
    assert world.condition("Complete")[:2] == ("False", "AccessDenied")
    assert world.condition("Failed") == ("True", "AccessDenied", status.message)
    assert world.condition("Restorable")[0] == "False"
    assert world.condition("Running") == ("False", "AccessDenied", status.message)
    assert status.completion_time
    assert status.totals is not None
    assert status.totals.failed == 1
    assert {("Warning", "NodeBackupFailed", status.message), ("Warning", "BackupFailed", status.message)} <= set(
        await world.events()
    )
    await world.rest(1)
    assert await world.leases() == {}
    assert world.get().metadata.finalizers == [labels.BACKUP_FINALIZER], "for its data, should they be deleted"


@pytest.mark.parametrize("kind", [Kind.SNAPSHOT, Kind.BACKUP])
async def test_a_failure_that_may_pass_is_tried_again(world: World, kind: Kind) -> None:
    await world.datacenter()
    world.agents[NODE].script(kind, seconds=2, fail=[THROTTLED, THROTTLED, None])
    await world.backup()
    await world.run(lambda: world.phase() == "Completed")
    tries = [world.get().metadata.uid + f".{kind}.{n}" for n in (1, 2, 3)]
    agent = world.agents[NODE]
    assert [agent.executed[i] for i in tries] == [1, 1, 1]
    snapshots = [i for i in agent.executed if ".snapshot." in i]
    assert len(snapshots) == (3 if kind is Kind.SNAPSHOT else 1), "an upload is tried again with the same snapshot"
    node = next(n for n in world.get().status.nodes if n.pod == NODE)
    assert (node.phase, node.reason, node.message) == ("Completed", "", "")
    events = await world.events()
    assert [m for _, r, m in events if r == "NodeRetry"] == [f"{NODE}: {THROTTLED.message}"]
    assert clean(world)


async def test_a_node_waits_longer_after_each_try_and_says_why(world: World) -> None:
    await world.datacenter(replicas=1)
    agent = world.agents["cassandra-foo-cassandra-0"]
    agent.script(Kind.BACKUP, seconds=1, fail=[THROTTLED] * 9)
    reasons: list[str] = []
    world.watched.append(lambda: reasons.extend(n.reason for n in world.get().status.nodes))
    await world.backup()
    await world.run(lambda: world.phase() == "Failed")
    assert world.get().status.message == f"cassandra-foo-cassandra-0: {THROTTLED.message}"
    starts = [r.operation for i, r in agent.journal.items() if ".backup." in i]
    assert len(starts) == 4, "the first, and three more"
    assert "StorageThrottled" in reasons
    assert clean(world)


async def test_retries_of_none(world: World) -> None:
    await world.datacenter(replicas=1)
    agent = world.agents["cassandra-foo-cassandra-0"]
    agent.script(Kind.BACKUP, fail=[THROTTLED, None])
    await world.backup(retries=0)
    await world.run(lambda: world.phase() == "Failed")
    assert len([i for i in agent.executed if ".backup." in i]) == 1


async def test_a_snapshot_that_fails_lets_no_byte_go(world: World) -> None:
    await world.datacenter()
    world.agents[NODE].script(Kind.SNAPSHOT, fail=[Failure(reason="SnapshotFailed", message="the disk is full")])
    await world.backup()
    await world.run(lambda: world.phase() == "Failed")
    assert world.get().status.reason == "SnapshotFailed"
    assert [o for a in world.agents for o in a.of_kind(Kind.BACKUP)] == []
    assert clean(world)


async def test_two_nodes_fail_at_once(world: World) -> None:
    await world.datacenter()
    world.agents.script(Kind.BACKUP, fail=[DENIED])
    await world.backup()
    await world.run(lambda: world.phase() == "Failed")
    assert world.get().status.message == "; ".join(f"cassandra-foo-cassandra-{i}: {DENIED.message}" for i in range(3))


async def test_a_silent_agent_is_given_up_after_its_deadline(world: World) -> None:
    await world.datacenter()
    world.agents.script(Kind.BACKUP, seconds=60)
    await world.backup(nodeProgressDeadlineSeconds=120)
    await world.run(lambda: world.phase() == "Uploading")
    started = world.clock.monotonic()
    world.agents[NODE].silent = True
    await world.run(lambda: world.phase() == "Failed")
    waited = world.clock.monotonic() - started
    assert 120 <= waited <= 120 + 60
    status = world.get().status
    assert status.reason == "NoProgress"
    assert status.message.startswith(f"{NODE}: no progress for 120 s: the agent of {NODE} does not answer")
    assert not world.agents["cassandra-foo-cassandra-0"].snapshots


async def test_a_silence_within_the_deadline_does_no_harm(world: World) -> None:
    await world.datacenter()
    world.agents.script(Kind.BACKUP, seconds=60)
    await world.backup(nodeProgressDeadlineSeconds=120)
    await world.run(lambda: world.phase() == "Uploading")
    world.agents[NODE].silent = True
    await world.rest(90)
    world.agents[NODE].silent = False
    await world.run(lambda: world.phase() == "Completed")
    assert set(world.agents.executed.values()) == {1}


async def test_a_node_that_answers_and_does_nothing_is_given_up_too(world: World) -> None:
    await world.datacenter()
    world.agents[NODE].script(Kind.BACKUP, stuck=True)
    await world.backup(nodeProgressDeadlineSeconds=60)
    await world.run(lambda: world.phase() == "Failed")
    assert world.get().status.message == f"{NODE}: no progress for 60 s"
    assert clean(world), "it was cancelled, else clearing would wait for it for ever"


async def test_a_node_that_cannot_even_be_cancelled_holds_up_the_end_no_longer_than_its_deadline(world: World) -> None:
    await world.datacenter()
    world.agents[NODE].script(Kind.BACKUP, stuck=True, ignores_cancel=True)
    await world.backup(nodeProgressDeadlineSeconds=60)
    await world.run(lambda: world.phase() == "Failed", within=200)
    assert f"the snapshot may still stand on {NODE}" in world.get().status.message
    assert world.get().status.reason == "NoProgress"


async def test_slow_is_not_stuck(world: World) -> None:
    await world.datacenter()
    world.agents.tick = 50
    world.agents.script(Kind.BACKUP, seconds=1000)
    await world.backup(nodeProgressDeadlineSeconds=60)
    await world.run(lambda: world.phase() == "Completed", within=1200)


async def test_an_agents_wrong_clock_is_nobodys_end(world: World) -> None:
    await world.datacenter()
    world.agents.tick = 10
    world.agents.script(Kind.BACKUP, seconds=300)
    world.agents[NODE].slow_clock = 3600
    await world.backup(nodeProgressDeadlineSeconds=60)
    await world.run(lambda: world.phase() in ("Completed", "Failed"))
    assert world.phase() == "Completed"


async def test_the_first_node_may_have_ended_long_before_the_commit(world: World) -> None:
    await world.datacenter()
    world.agents.tick = 20
    world.agents[NODE].script(Kind.BACKUP, seconds=1000)
    await world.backup(nodeProgressDeadlineSeconds=60)
    await world.run(lambda: world.phase() in ("Completed", "Failed"), within=1200)
    assert world.phase() == "Completed", world.get().status.message


async def test_a_commit_that_may_pass_is_tried_again(world: World) -> None:
    await world.datacenter()
    world.agents.script(Kind.COMMIT, fail=[THROTTLED])
    await world.backup()
    await world.run(lambda: world.phase() == "Completed")
    assert "NodeRetry" in await world.reasons()
    assert world.get().status.reason == "Completed"


async def test_a_commit_that_fails(world: World) -> None:
    await world.datacenter()
    await world.backup()
    await world.run(lambda: world.phase() == "Uploading")
    world.agents["cassandra-foo-cassandra-0"].script(
        Kind.COMMIT, fail=[Failure(reason="ManifestChanged", message="the manifest is not the one")]
    )
    await world.run(lambda: world.phase() == "Failed")
    assert world.get().status.reason == "ManifestChanged"
    assert world.get().status.message == "cassandra-foo-cassandra-0: the manifest is not the one"
    assert world.agents.bucket.records == {}


async def test_a_commit_goes_to_another_node_when_its_writer_is_gone(world: World) -> None:
    await world.datacenter()
    world.agents["cassandra-foo-cassandra-0"].script(Kind.COMMIT, stuck=True)
    await world.backup()
    await world.run(lambda: world.phase() == "Finalizing")
    await world.lose_pod("cassandra-foo-cassandra-0")
    await world.run(lambda: world.phase() == "Completed")


async def test_a_pod_made_anew_in_the_middle_goes_on(world: World) -> None:
    datacenter = await world.datacenter()
    world.agents.script(Kind.BACKUP, seconds=60)
    await world.backup()
    await world.run(lambda: world.phase() == "Uploading")
    await world.rest(20)
    before = next(n for n in world.get().status.nodes if n.pod == NODE)
    await world.replace_pod(datacenter, NODE)
    await world.run(lambda: world.phase() == "Completed")
    after = next(n for n in world.get().status.nodes if n.pod == NODE)
    assert before.uid != after.uid
    assert before.agent_session != after.agent_session
    assert set(world.agents.executed.values()) == {1}


async def test_a_pod_that_stays_away_fails_the_backup(world: World) -> None:
    await world.datacenter()
    world.agents.script(Kind.BACKUP, seconds=60)
    await world.backup(nodeProgressDeadlineSeconds=100)
    await world.run(lambda: world.phase() == "Uploading")
    await world.lose_pod(NODE)
    await world.run(lambda: world.phase() == "Failed")
    assert world.get().status.message == f"{NODE}: no progress for 100 s"


async def test_a_volume_that_is_new_has_no_snapshot_to_send(world: World) -> None:
    await world.datacenter()
    world.agents.script(Kind.BACKUP, seconds=60)
    await world.backup(retries=1)
    await world.run(lambda: world.phase() == "Uploading")
    world.agents[NODE].lose_volume()
    await world.run(lambda: world.phase() == "Failed")
    assert world.get().status.reason == "SnapshotGone"


async def test_an_agent_that_dies_of_its_work_is_given_up(world: World) -> None:
    await world.datacenter()
    world.agents[NODE].script(Kind.BACKUP, seconds=600)
    await world.backup(retries=2)
    await world.run(lambda: world.phase() == "Uploading")
    for _ in range(2):
        await world.rest(20)
        world.agents[NODE].restart()
    await world.rest(20)
    assert world.phase() == "Uploading"
    world.agents[NODE].restart()
    await world.run(lambda: world.phase() == "Failed")
    assert world.get().status.message == f"{NODE}: its agent was restarted 3 times: see its log"
    assert clean(world)


async def test_an_agent_that_refuses_the_token(world: World) -> None:
    await world.datacenter()
    world.agents[NODE].answers["PUT"] = Refusal(401, "the token is missing or wrong", "Unauthorized")
    await world.backup()
    await world.run(lambda: world.phase() == "Failed")
    assert world.get().status.reason == "Unauthorized"


@pytest.mark.parametrize(
    ("reason", "event"),
    [
        ("CredentialsMissing", "CredentialsMissing"),
        ("CredentialsRefused", "BackupFailed"),
        ("BucketMissing", "BackupFailed"),
        ("AccessDenied", "BackupFailed"),
        ("StorageUnreachable", "StorageUnreachable"),
        ("SnapshotTagExists", "SnapshotTagExists"),
        ("StorageInvalid", "BackupFailed"),
        ("CABundleUnusable", "BackupFailed"),
    ],
)
async def test_a_store_that_does_not_take_it(world: World, reason: str, event: str) -> None:
    await world.datacenter()
    failure = Failure(reason=reason, message=f"s3://bucket: {reason}: do this")
    world.agents["cassandra-foo-cassandra-0"].script(Kind.PROBE, fail=[failure])
    await world.backup()
    await world.run(lambda: world.phase() == "FailedValidation")
    message = f"cassandra-foo-cassandra-0: {failure.message}"
    status = world.get().status
    assert (status.reason, status.message) == (reason, message)
    reachable = "True" if reason == "SnapshotTagExists" else "False"
    assert world.condition("StorageReachable") == (reachable, reason, message)
    assert world.condition("Failed") == ("True", reason, message)
    assert ("Warning", event, message) in await world.events()
    assert [o for a in world.agents for o in a.of_kind(Kind.SNAPSHOT)] == [], "no node was touched"
    await world.rest(1)
    assert await world.leases() == {}


async def test_a_store_that_is_away_for_a_moment(world: World) -> None:
    await world.datacenter()
    away = Failure(reason="StorageUnreachable", message="s3://bucket: no route", retryable=True)
    world.agents["cassandra-foo-cassandra-0"].script(Kind.PROBE, fail=[away, away])
    await world.backup()
    await world.run(lambda: world.phase() == "Completed")
    assert world.condition("StorageReachable")[0] == "True"
    assert ("Warning", "NodeRetry", f"cassandra-foo-cassandra-0: {away.message}") in await world.events()


async def test_a_probe_is_asked_of_whoever_is_there(world: World) -> None:
    datacenter = await world.datacenter()
    world.agents["cassandra-foo-cassandra-0"].script(Kind.PROBE, stuck=True)
    await world.backup()
    await world.run(lambda: world.phase() == "Snapshotting")
    await world.lose_pod("cassandra-foo-cassandra-0")
    await world.rest(30)
    assert world.condition("StorageReachable")[0] == "True"
    await world.pod(datacenter, "rack1", "cassandra-foo-cassandra-0")
    await world.run(lambda: world.phase() == "Completed")


async def test_nobody_answers_the_probe(world: World) -> None:
    await world.datacenter()
    for agent in world.agents:
        agent.silent = True
    await world.backup(nodeProgressDeadlineSeconds=60)
    await world.run(lambda: world.phase() == "Failed")
    assert world.get().status.reason == "AgentUnreachable"
    assert "cassandra-foo-cassandra-0 does not answer" in world.get().status.message


async def test_the_active_deadline(world: World) -> None:
    await world.datacenter()
    world.agents.script(Kind.BACKUP, seconds=100)
    world.agents[NODE].script(Kind.BACKUP, seconds=1000)
    await world.backup(activeDeadlineSeconds=200)
    await world.run(lambda: world.phase() == "Failed")
    status = world.get().status
    assert status.reason == "DeadlineExceeded"
    assert status.message == f"the backup did not end within 200 s: Uploading, waiting for {NODE}"
    assert clean(world)
    assert ("Warning", "DeadlineExceeded", status.message) in await world.events()


async def test_an_ending_backup_does_not_wait_for_who_is_silent(world: World) -> None:
    await world.datacenter()
    world.agents[NODE].script(Kind.BACKUP, seconds=10, fail=[DENIED])
    world.agents.script(Kind.BACKUP, seconds=100)
    world.agents[NODE].script(Kind.BACKUP, seconds=10)
    await world.backup(nodeProgressDeadlineSeconds=100_000)
    await world.run(lambda: world.phase() == "Uploading")
    world.agents["cassandra-foo-cassandra-0"].silent = True
    started = world.clock.monotonic()
    await world.run(lambda: world.phase() == "Failed")
    assert world.clock.monotonic() - started < 120
    assert not world.agents["cassandra-foo-cassandra-2"].snapshots
