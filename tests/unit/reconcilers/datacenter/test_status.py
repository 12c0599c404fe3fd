from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from reconcilers.api.backup import CassandraBackup
from reconcilers.api.datacenter_status import DataCenterPhase as Phase
from reconcilers.api.datacenter_status import DataCenterStatus, NodeStatus, RestoreSummary
from reconcilers.datacenter import events
from reconcilers.datacenter.bootstrap import Gate
from reconcilers.datacenter.observed import RackState
from reconcilers.datacenter.status import View, compute, phase_of
from reconcilers.datacenter.verdict import Verdict
from tests.unit.reconcilers.datacenter.samples import NOW, UID, cdc, pod, rack, view

SHUT = Gate(open=False, summary=RestoreSummary(name="r", phase="Validating"))
FILLING = Gate(open=True, summary=RestoreSummary(name="r", phase="Downloading"))
FILLED = Gate(open=True, summary=RestoreSummary(name="r", phase="Completed"))
FAILED = Gate(open=False, failed=True)


def conditions(status: DataCenterStatus) -> dict[str, tuple[str, str]]:
    return {c.type: (c.status, c.reason) for c in status.conditions}


@pytest.mark.parametrize(
    ("before", "wanted", "state", "gate", "phase"),
    [
        ({}, 3, RackState(), None, Phase.CREATING),
        ({"phase": "Creating"}, 3, rack(3, 2), None, Phase.CREATING),
        ({"phase": "Creating"}, 3, rack(3, 3), None, Phase.READY),
        ({"phase": "Ready", "replicas": 3}, 3, rack(3, 3, updated=0), None, Phase.READY),
        ({"phase": "Ready", "replicas": 3}, 3, rack(3, 2), None, Phase.DEGRADED),
        ({"phase": "Degraded", "replicas": 3}, 3, rack(3, 2), None, Phase.DEGRADED),
        ({"phase": "Degraded", "replicas": 3}, 3, rack(3, 3), None, Phase.READY),
        ({"phase": "Degraded"}, 3, rack(3, 0), None, Phase.CREATING),
        ({"phase": "Ready", "replicas": 3}, 5, rack(3, 3), None, Phase.SCALING),
        ({"phase": "Ready", "replicas": 3}, 5, rack(5, 3), None, Phase.SCALING),
        ({"phase": "Scaling", "replicas": 5}, 5, rack(5, 4), None, Phase.SCALING),
        ({"phase": "Scaling", "replicas": 5}, 5, rack(5, 5), None, Phase.READY),
        ({"phase": "Ready", "replicas": 3}, 2, rack(3, 3), None, Phase.READY),
        ({}, 0, rack(0, 0), None, Phase.STOPPED),
        ({}, 3, RackState(), SHUT, Phase.RESTORING),
        ({"phase": "Restoring"}, 3, rack(3, 3), FILLING, Phase.RESTORING),
        ({"phase": "Restoring"}, 3, rack(3, 3), FILLED, Phase.READY),
        ({"phase": "Restoring"}, 3, rack(3, 1), FILLED, Phase.CREATING),
        ({"phase": "Restoring"}, 3, RackState(), FAILED, Phase.DEGRADED),
    ],
)
def test_phase(before: dict[str, Any], wanted: int, state: RackState, gate: Gate | None, phase: Phase) -> None:
    assert phase_of(view(cdc(status=before, replicas=wanted), state, gate=gate)) == phase


def test_a_datacenter_on_its_way_out() -> None:
    given = cdc()
    given.metadata.deletion_timestamp = "2026-01-01T00:00:00Z"
    assert phase_of(view(given, rack(3, 3))) == Phase.DELETING


def test_an_invalid_spec_shows_where_there_is_nothing_else() -> None:
    finding = Verdict("SpecValid", "False", "FieldNotSupported", "no")
    new, running = view(cdc(), RackState()), view(cdc(status={"phase": "Ready", "replicas": 3}), rack(3, 3))
    new.findings.append(finding)
    running.findings.append(finding)
    assert phase_of(new) == Phase.DEGRADED
    assert phase_of(running) == Phase.READY


@pytest.mark.parametrize(
    ("states", "available"),
    [
        ([rack(3, 3)], "True"),
        ([rack(3, 2)], "True"),
        ([rack(3, 1)], "False"),
        ([rack(2, 1)], "False"),
        ([rack(1, 1)], "True"),
        ([rack(0, 0)], "False"),
        ([rack(3, 3), rack(3, 1)], "False"),
        ([rack(3, 3), rack(0, 0)], "True"),
    ],
)
def test_available_is_a_quorum_of_every_rack(states: list[RackState], available: str) -> None:
    racks = [{"name": "a"}, {"name": "b"}][: len(states)]
    found = compute(view(cdc(racks=racks), *states), [], NOW)
    assert conditions(found)["Available"][0] == available


@pytest.mark.parametrize(
    ("state", "ready", "settled"), [(rack(1, 1), True, True), (rack(1, 1), False, False), (rack(2, 1), True, False)]
)
def test_the_next_node_may_come_when_all_are_up(state: RackState, ready: bool, settled: bool) -> None:
    assert view(cdc(), state, pods=(pod("cassandra-foo-cassandra-0", ready=ready),)).settled == settled


def test_at_rest_the_status_is_always_the_same() -> None:
    given = cdc()
    first = compute(view(given, rack(3, 3), pods=(pod("cassandra-foo-cassandra-0"),)), [], NOW)
    given.status = msgspec.convert(msgspec.to_builtins(first), DataCenterStatus)  # as it comes back

    again = compute(view(given, rack(3, 3), pods=(pod("cassandra-foo-cassandra-0"),)), [], NOW + timedelta(days=1))

    assert again == first
    assert list(events.of_change(given.status, again)) == []


def test_a_transition_has_its_time() -> None:
    given = cdc()
    given.status = compute(view(given, rack(3, 3)), [], NOW)
    later = compute(view(given, rack(3, 2)), [], NOW + timedelta(seconds=1))
    times = {c.type: c.last_transition_time for c in later.conditions}
    assert times["Ready"] == "2026-01-02T03:04:06Z"
    assert times["SpecValid"] == "2026-01-02T03:04:05Z"


def test_numbers_and_names() -> None:
    given = cdc(status={"clusterName": "c", "datacenterName": "d"}, racks=[{"name": "a"}, {"name": "b"}])
    found = view(given, rack(2, 1, updated=1), rack(1, 1))
    found.nodes = {"cassandra-foo-cassandra-a-0": NodeStatus(pod="cassandra-foo-cassandra-a-0", host_id="h")}
    status = compute(found, [], NOW)

    assert (status.replicas, status.ready_replicas, status.updated_replicas) == (3, 2, 2)
    assert (status.cluster_name, status.datacenter_name, status.observed_generation) == ("c", "d", 2)
    assert [(r.name, r.replicas, r.ready) for r in status.racks] == [("a", 2, 1), ("b", 1, 1)]
    assert [(n.pod[-3:], n.rack, n.host_id) for n in status.nodes] == [
        ("a-0", "", "h"),
        ("a-1", "a", ""),
        ("b-0", "b", ""),
    ]
    assert status.selector.startswith("operator=")


def test_pods_behind_their_template_are_named_with_what_to_do() -> None:
    old = pod("cassandra-foo-cassandra-1", revision="old")
    found = compute(view(cdc(), rack(3, 3, updated=2), pods=(pod("cassandra-foo-cassandra-0"), old)), [], NOW)
    said = next(c for c in found.conditions if c.type == "RequiresUpdate")
    assert (said.status, said.reason) == ("True", "TemplateChanged")
    assert "kubectl -n ns delete pod cassandra-foo-cassandra-1" in said.message
    assert "cassandra-foo-cassandra-0" not in said.message


def test_trouble_of_a_pod_is_what_a_person_reads_first() -> None:
    broken = pod("cassandra-foo-cassandra-1", ready=False, trouble="image x cannot be pulled")
    found = compute(view(cdc(), rack(3, 1), pods=(broken,)), [], NOW)
    messages = {c.type: c.message for c in found.conditions}
    assert conditions(found)["Degraded"] == ("True", "PodFailing")
    assert messages["Ready"] == "1 of 3 nodes are ready; pod cassandra-foo-cassandra-1: image x cannot be pulled"


def test_a_finding_stands_in_place_of_the_ordinary_and_others_follow() -> None:
    found = view(cdc(dataVolumeClaim=None), rack(3, 3))
    found.findings += [
        Verdict("Degraded", "True", "NameTaken", "x"),
        Verdict("ScalingDown", "False", "NotSupported", "y"),
    ]
    assert list(conditions(compute(found, [], NOW)).items()) == [
        ("Ready", ("True", "NodesReady")),
        ("Available", ("True", "QuorumReady")),
        ("Progressing", ("False", "Settled")),
        ("Degraded", ("True", "NameTaken")),
        ("SpecValid", ("True", "Valid")),
        ("RequiresUpdate", ("False", "UpToDate")),
        ("Ephemeral", ("True", "NoVolume")),
        ("ScalingDown", ("False", "NotSupported")),
    ]


def backup(name: str, phase: str, end: str, uid: str = UID) -> CassandraBackup:
    """``Lost`` is one that completed and is in the bucket no more."""
    gone = [{"type": "Restorable", "status": "False", "reason": "RecordGone"}] if phase == "Lost" else []
    phase = "Completed" if gone else phase
    covered = [{"name": "foo-cassandra", "uid": uid}]
    body = {
        "kind": "CassandraBackup",
        "metadata": {"name": name, "namespace": "ns"},
        "spec": {"backupType": "FILE", "target": "/b"},
        "status": {"phase": phase, "completionTime": end, "datacenters": covered, "conditions": gone},
    }
    return msgspec.convert(body, CassandraBackup)


@pytest.mark.parametrize(
    ("backups", "last", "failed", "verdict"),
    [
        ([], None, None, None),
        ([("a", "Completed", "2026-01-01T00:00:00Z")], "a", None, "True"),
        ([("a", "Completed", "2026-01-02T00:00:00Z"), ("b", "Completed", "2026-01-01T00:00:00Z")], "a", None, "True"),
        ([("a", "Completed", "2026-01-02T00:00:00Z"), ("b", "Failed", "2026-01-01T00:00:00Z")], "a", "b", "True"),
        ([("a", "Completed", "2026-01-01T00:00:00Z"), ("b", "Failed", "2026-01-02T00:00:00Z")], "a", "b", "False"),
        ([("a", "Uploading", ""), ("b", "Cancelled", "2026-01-02T00:00:00Z")], None, None, None),
        ([("a", "Completed", "2026-01-01T00:00:00Z", "of-another")], None, None, None),
        ([("a", "Lost", "2026-01-01T00:00:00Z")], None, None, "False"),
        ([("a", "Completed", "2026-01-01T00:00:00Z"), ("b", "Lost", "2026-01-02T00:00:00Z")], "a", None, "False"),
        ([("a", "Completed", "2026-01-02T00:00:00Z"), ("b", "Lost", "2026-01-01T00:00:00Z")], "a", None, "True"),
    ],
)
def test_backups(backups: list[tuple[str, ...]], last: str | None, failed: str | None, verdict: str | None) -> None:
    found = compute(view(cdc(), rack(3, 3)), [backup(*given) for given in backups], NOW)
    assert (found.last_backup.name if found.last_backup else None) == last
    assert (found.last_failed_backup.name if found.last_failed_backup else None) == failed
    assert conditions(found).get("LastBackupSucceeded", (None,))[0] == verdict


def changed(*findings: Verdict) -> View:
    found = view(cdc(), rack(3, 3))
    found.findings.extend(findings)
    return found


def test_events_speak_once() -> None:
    before = compute(changed(), [], NOW)
    after = compute(changed(Verdict("ScalingDown", "False", "NotSupported", "no")), [], NOW)
    assert list(events.of_change(before, after)) == [("Warning", "ScaleDownNotSupported", "no")]
    assert list(events.of_change(after, after)) == []
    assert list(events.of_change(after, before)) == []


@pytest.mark.parametrize(("reason", "told"), [("NotEmpty", ["RestoreRefused"]), ("Validating", [])])
def test_a_restore_under_way_reports_by_itself(reason: str, told: list[str]) -> None:
    before = compute(changed(), [], NOW)
    after = compute(changed(Verdict("Restored", "False", reason, "m")), [], NOW)
    assert [said.reason for said in events.of_change(before, after)] == told


def test_many_volumes_are_summed_up() -> None:
    said = events.volumes_kept([f"data-{n}" for n in range(9)])
    assert "data-0, data-1, data-2, data-3, data-4 and 4 more" in said
