"""Which pods, whether they may be backed up now, and what is said where not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from agent.protocol import Kind
from controller import builtin
from controller.reconcile import Done
from reconcilers.api import unsupported
from reconcilers.api.backup import BACKUPS
from reconcilers.api.common import Endpoint
from reconcilers.api.restore import RESTORES

if TYPE_CHECKING:
    from tests.api.backup.world import World

NODE = "cassandra-foo-cassandra-1"


async def refused(world: World, reason: str) -> str:
    """The message, which is the same wherever it stands."""
    await world.run(lambda: world.phase() == "FailedValidation")
    status = world.get().status
    assert status.reason == reason
    assert world.condition("Accepted") == ("False", reason, status.message)
    assert world.condition("Complete")[:2] == ("False", reason)
    assert world.condition("Failed")[:2] == ("True", reason)
    assert ("Warning", "BackupFailed", status.message) in await world.events()
    assert world.agents.requests == []
    await world.rest(1)
    assert world.get().metadata.finalizers == []
    assert await world.leases() == {}
    return status.message


@pytest.mark.parametrize("own", [{}, {"app.kubernetes.io/managed-by": "Helm", "helm.sh/chart": "x"}])
async def test_an_empty_selector_never_means_everything(world: World, own: dict[str, str]) -> None:
    await world.datacenter()
    await world.backup(own=own)
    message = await refused(world, "EmptySelector")
    assert "give this object labels" in message
    assert ("app.kubernetes.io/managed-by, helm.sh/chart say nothing" in message) == bool(own)


async def test_an_empty_spec_selector_neither(world: World) -> None:
    await world.datacenter()
    await world.backup(selector={})
    await refused(world, "EmptySelector")


async def test_a_selector_that_the_api_server_refuses(world: World) -> None:
    await world.datacenter()
    await world.backup(selector={"matchLabels": {"not a key!": "x"}})
    message = await refused(world, "InvalidSelector")
    assert "not a key!" in message


async def test_a_value_that_would_be_another_selector(world: World) -> None:
    """``app=x,app!=y`` in one value: the API server would take it for two terms."""
    await world.datacenter(own={"app": "x"})
    await world.backup(selector={"matchLabels": {"app": "x,operator"}})
    message = await refused(world, "InvalidSelector")
    assert "'x,operator' is no value" in message


async def test_the_tools_labels_choose_nothing_and_what_was_chosen_is_shown(world: World) -> None:
    await world.datacenter(own={"app": "x"})
    tools = {"app.kubernetes.io/instance": "backups", "helm.toolkit.fluxcd.io/name": "n", "helm.sh/chart": "c-1"}
    await world.backup(own={"app": "x", **tools})
    await world.run(lambda: world.phase() == "Completed")
    assert world.get().status.effective_selector == "app=x"
    assert len(world.get().status.nodes) == 3


async def test_what_was_chosen_stays_when_labels_change(world: World) -> None:
    await world.datacenter()
    world.agents.script(Kind.BACKUP, seconds=30)
    await world.backup()
    await world.run(lambda: world.phase() == "Uploading")
    await world.datacenter("late", replicas=1, own={"cassandra-datacenter": "foo-cassandra"})
    await world.patch(BACKUPS, "backup", {"metadata": {"labels": {"cassandra-datacenter": "late"}}})
    await world.run(lambda: world.phase() == "Completed")
    assert {n.datacenter for n in world.get().status.nodes} == {"foo-cassandra"}
    assert world.get().status.effective_selector == "cassandra-datacenter=foo-cassandra"


VOLUME = {"name": "b", "mountPath": "/backups", "persistentVolumeClaim": {"claimName": "b"}}


@pytest.mark.parametrize("target", ["/nowhere", "file:///backups-of-others", "/backups/../var/lib/cassandra", "/tmp"])
async def test_a_directory_that_is_on_no_volume_is_refused(world: World, target: str) -> None:
    await world.datacenter(backup={"volumes": [VOLUME]})
    await world.backup(backupType="FILE", target=target)
    message = await refused(world, "TargetNotMounted")
    assert target in message
    assert "spec.backup.volumes" in message


@pytest.mark.parametrize("target", ["/backups", "/backups/", "file:///backups/of/ours"])
async def test_a_directory_on_a_volume_is_taken(world: World, target: str) -> None:
    await world.datacenter(backup={"volumes": [VOLUME]})
    await world.backup(backupType="FILE", target=target)
    await world.run(lambda: world.get().status.nodes != [])
    assert world.condition("Accepted")[0] == "True"


async def test_a_part_of_a_datacenter_is_refused(world: World) -> None:
    await world.datacenter()
    await world.patch(builtin.PODS, NODE, {"metadata": {"labels": {"app": "x"}}})
    await world.backup(selector={"matchLabels": {"app": "x"}})
    message = await refused(world, "PartialSelection")
    assert "leaves out cassandra-foo-cassandra-0, cassandra-foo-cassandra-2 of datacenter foo-cassandra" in message


async def test_a_part_of_one_and_another_that_is_not_ready(world: World) -> None:
    await world.datacenter("a", replicas=2)
    await world.datacenter("b", replicas=1, ready=False)
    for pod in ("cassandra-a-0", "cassandra-b-0"):
        await world.patch(builtin.PODS, pod, {"metadata": {"labels": {"app": "x"}}})
    await world.backup(selector={"matchLabels": {"app": "x"}})
    message = await refused(world, "PartialSelection")
    assert "of datacenter a" in message
    failed = [e for e in await world.events() if e[0] == "Warning"]
    assert len(failed) == 1, "what has ended holds for nothing else"


async def test_a_field_that_is_not_acted_on_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a backup this release acts on all of them; a later one has more."""
    monkeypatch.setitem(unsupported._NOT_YET, Endpoint, {"region": ()})  # type: ignore[misc,arg-type]
    await world.datacenter()
    await world.backup(endpoint={"region": "r"})
    message = await refused(world, "FieldNotSupported")
    assert message == "spec.endpoint.region is not acted on yet: remove it"


async def test_no_pod_matches_and_then_one_does(world: World) -> None:
    await world.backup()
    await world.rest(30)
    assert world.phase() == "Pending"
    message = "no Cassandra pod in this namespace matches cassandra-datacenter=foo-cassandra"
    assert world.condition("Accepted") == ("False", "NoPodsMatch", message)
    assert [e for e in await world.events() if e[1] == "NoPodsMatch"] == [("Warning", "NoPodsMatch", message)]
    await world.datacenter()
    await world.run(lambda: world.phase() == "Completed")
    assert world.condition("Accepted")[0] == "True"


async def test_no_pod_matches_until_the_starting_deadline(world: World) -> None:
    await world.backup(startingDeadlineSeconds=60)
    await world.run(lambda: world.phase() == "Failed", within=120)
    status = world.get().status
    assert status.reason == "DeadlineExceeded"
    assert status.message == (
        "the backup did not start within 60 s: "
        "no Cassandra pod in this namespace matches cassandra-datacenter=foo-cassandra"
    )
    assert ("Warning", "DeadlineExceeded", status.message) in await world.events()
    assert world.condition("Failed")[:2] == ("True", "DeadlineExceeded")
    await world.rest(1)
    assert world.get().metadata.finalizers == []


async def test_another_namespaces_or_operators_pods_are_nobodys(world: World) -> None:
    await world.datacenter()
    for i in range(3):
        await world.patch(builtin.PODS, f"cassandra-foo-cassandra-{i}", {"metadata": {"labels": {"operator": "x"}}})
    await world.backup(startingDeadlineSeconds=60)
    await world.run(lambda: world.phase() == "Failed", within=120)
    assert "no Cassandra pod" in world.get().status.message


async def test_nodes_that_are_down_are_waited_for(world: World) -> None:
    await world.datacenter(ready=False)
    await world.backup()
    await world.rest(20)
    assert world.phase() == "Pending"
    assert world.get().status.reason == "NodesNotReady"
    assert world.get().status.message.startswith("datacenter foo-cassandra waits for cassandra-foo-cassandra-0, ")
    assert world.agents.requests == []
    for i in range(3):
        await world.pod_status(f"cassandra-foo-cassandra-{i}", ready=True)
    await world.run(lambda: world.phase() == "Completed")


async def test_a_datacenter_that_is_not_all_there_is_waited_for(world: World) -> None:
    datacenter = await world.datacenter()
    await world.lose_pod(NODE)
    await world.backup()
    await world.rest(20)
    assert world.get().status.message == "datacenter foo-cassandra waits for 1 of its pods"
    await world.pod(datacenter, "rack1", NODE)
    await world.run(lambda: world.phase() == "Completed")


async def test_what_was_selected_stays_selected(world: World) -> None:
    datacenter = await world.datacenter()
    await world.backup()
    await world.run(lambda: world.phase() == "Snapshotting")
    await world.pod(datacenter, "rack1", "cassandra-foo-cassandra-3")  # scaled up meanwhile
    await world.run(lambda: world.phase() == "Completed")
    assert world.get().status.nodes_completed == "3/3"


async def test_two_backups_take_turns(world: World) -> None:
    await world.datacenter()
    world.agents.script(Kind.BACKUP, seconds=30)
    await world.backup("first")
    await world.run(lambda: world.phase("first") == "Snapshotting")
    await world.backup("second")
    await world.run(lambda: world.phase("second") == "Queued" and world.get("second").status.queue_position)
    await world.rest(10)
    second = world.get("second").status
    assert (second.queue_position, second.reason) == (1, "Queued")
    assert second.message == "backup first is at work on foo-cassandra"
    assert await world.leases() == {"cback-foo-cassandra": world.get("first").metadata.uid}
    assert world.phase("first") == "Uploading"
    await world.run(lambda: world.phase("second") == "Snapshotting")
    assert world.phase("first") == "Completed"
    assert world.get("second").status.queue_position == 0
    await world.run(lambda: world.phase("second") == "Completed")
    assert ("Normal", "Queued", "backup first is at work on foo-cassandra") in await world.events("second")
    steps = [what for what, _ in world.agents.order]
    assert steps == (["snapshot"] * 3 + ["uploaded"] * 3 + ["commit"]) * 2
    assert set(world.agents.executed.values()) == {1}


async def test_three_backups_know_their_places(world: World) -> None:
    await world.datacenter()
    world.agents.script(Kind.BACKUP, seconds=60)
    for name in ("one", "two", "three"):
        await world.backup(name)
    await world.rest(40)
    phases = [world.phase(name) for name in ("one", "two", "three")]
    assert sorted(phases) == ["Queued", "Queued", "Uploading"]
    positions = [world.get(n).status.queue_position for n in ("one", "two", "three")]
    assert sorted(positions) == [0, 1, 2]
    await world.run(lambda: {world.phase(n) for n in ("one", "two", "three")} == {"Completed"})


async def test_first_come_first_served(world: World) -> None:
    await world.datacenter()
    world.agents.script(Kind.BACKUP, seconds=60)
    for name in ("c", "b", "a"):
        await world.backup(name)
        await world.rest(2)
    assert world.get("a").status.queue_position == 2
    assert world.get("a").status.message == "backup b is before it"
    await world.run(lambda: {world.phase(n) for n in ("a", "b", "c")} == {"Completed"})
    assert sorted("abc", key=lambda name: world.get(name).status.start_time) == ["c", "b", "a"]


async def test_of_one_second_by_name(world: World) -> None:
    await world.datacenter()
    world.agents.script(Kind.BACKUP, seconds=60)
    await world.backup("first")
    await world.run(lambda: world.phase("first") == "Uploading")
    names = [f"b{number}" for number in range(6)]  # by UID they would be in order once in 720 times
    for name in reversed(names):
        await world.backup(name, startingDeadlineSeconds=3600)
    await world.rest(2)
    assert [world.get(name).status.queue_position for name in names] == [1, 2, 3, 4, 5, 6]


async def test_who_holds_a_lease_does_not_wait_for_an_older_one(world: World) -> None:
    """Else the older one would wait for that Lease for ever."""
    for name in ("a", "b"):
        await world.datacenter(name, replicas=1, own={"app": "x"})
    world.agents.script(Kind.BACKUP, seconds=60)
    await world.backup("of-b", {"cassandra-datacenter": "b"})
    await world.run(lambda: world.phase("of-b") == "Uploading")
    await world.pod_status("cassandra-a-0", ready=False, podIP="10.9.9.9")
    await world.backup("older", {"app": "x"})
    await world.rest(2)
    await world.backup("both", {"app": "x"})
    await world.refresh()
    await world.create_lease("cback-a", world.get("both").metadata.uid)
    await world.pod_status("cassandra-a-0", ready=True, podIP=world.agents["cassandra-a-0"].ip)
    await world.run(lambda: {world.phase(n) for n in ("of-b", "older", "both")} == {"Completed"})


async def test_backups_of_different_datacenters_run_side_by_side(world: World) -> None:
    await world.datacenter("a", replicas=1)
    await world.datacenter("b", replicas=1)
    world.agents.script(Kind.BACKUP, seconds=60)
    await world.backup("of-a", {"cassandra-datacenter": "a"})
    await world.backup("of-b", {"cassandra-datacenter": "b"})
    await world.run(lambda: world.phase("of-a") == world.phase("of-b") == "Uploading")
    await world.run(lambda: world.phase("of-a") == world.phase("of-b") == "Completed")


async def test_overlapping_backups_do_not_lock_each_other_out(world: World) -> None:
    for name in ("a", "b"):
        await world.datacenter(name, replicas=1, own={"app": "x"})
    for name, own in (("both", {"app": "x"}), ("of-b", {"cassandra-datacenter": "b"}), ("again", {"app": "x"})):
        await world.backup(name, own)
    await world.run(lambda: {world.phase(n) for n in ("both", "of-b", "again")} == {"Completed"})


async def test_a_queued_backup_that_waits_too_long(world: World) -> None:
    await world.datacenter()
    world.agents.script(Kind.BACKUP, seconds=300)
    await world.backup("first")
    await world.run(lambda: world.phase("first") == "Uploading")
    await world.backup("second", startingDeadlineSeconds=60)
    await world.run(lambda: world.phase("second") == "Failed")
    assert world.get("second").status.message == (
        "the backup did not start within 60 s: backup first is at work on foo-cassandra"
    )
    await world.run(lambda: world.phase("first") == "Completed")


async def test_a_lease_of_a_backup_that_is_gone_is_taken_over(world: World) -> None:
    await world.datacenter()
    body = {
        "metadata": {"name": "cback-foo-cassandra", "namespace": world.namespace},
        "spec": {"holderIdentity": "gone"},
    }
    await world.client.create(builtin.LEASES, body)
    await world.backup()
    await world.run(lambda: world.phase() == "Completed")
    await world.rest(1)
    assert await world.leases() == {}


async def test_a_restore_of_the_datacenter_goes_first(world: World) -> None:
    await world.datacenter()
    body = {"metadata": {"name": "r"}, "spec": {"datacenter": "foo-cassandra", "backup": {"name": "b"}}}
    await world.create(RESTORES, body)
    world.reconcilers[RESTORES.kind] = Asleep()
    await world.backup()
    await world.rest(30)
    assert world.phase() == "Queued"
    assert world.get().status.message == "restore r is at work on foo-cassandra"
    await world.patch(RESTORES, "r", {"status": {"phase": "Failed"}}, subresource="status")
    await world.run(lambda: world.phase() == "Completed")


class Asleep:
    async def reconcile(self, _key: object) -> Any:
        return Done()
