"""A datacenter that needs nothing causes no write: not in a minute, and not by a new operator's first look."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from dev.scenario import install
from dev.scenario.kubectl import Object, eventually

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.conftest import World

_WATCHED = 60.0  # seconds, as issue 3 has it
_KINDS = (
    "cassandradatacenters,cassandrabackups,cassandrarestores,statefulsets,pods,persistentvolumeclaims,services,"
    "configmaps,serviceaccounts,poddisruptionbudgets,secrets,events"
)


def test_a_steady_datacenter_causes_no_write(world: World) -> None:
    eventually("nothing changes for ten seconds", lambda: _quiet(world, 10), 180)
    before = versions(world)
    audit = world.demo.bed.audit_log
    start = audit.stat().st_size if audit else 0
    time.sleep(_WATCHED)  # the minute is what is tested
    assert versions(world) == before
    if audit is None:
        pytest.skip("this cluster keeps no audit log; resourceVersions did not change")
    assert writes(audit, start, world.kubectl.namespace) == []


def test_a_new_operator_changes_nothing(world: World) -> None:
    kubectl = world.kubectl
    eventually("nothing changes for ten seconds", lambda: _quiet(world, 10), 180)
    before, holder = versions(world), _holder(world)
    kubectl.run("rollout", "restart", f"deployment/{install.OPERATOR}")
    kubectl.run("rollout", "status", f"deployment/{install.OPERATOR}", "--timeout=120s", seconds=130)
    eventually("another replica leads", lambda: _holder(world) not in ("", holder), 60)
    eventually("nothing changes for ten seconds", lambda: _quiet(world, 10), 60)
    ours = {key: version for key, version in versions(world).items() if not _of_the_operator(key)}
    assert ours == {key: version for key, version in before.items() if not _of_the_operator(key)}


def versions(world: World) -> dict[str, str]:
    """resourceVersion by kind and name."""
    found = world.kubectl.list(_KINDS)
    return {f"{each['kind']} {each['metadata']['name']}": each["metadata"]["resourceVersion"] for each in found}


def writes(log: Path, start: int, namespace: str) -> list[str]:
    """What the operator and the agents wrote since the log had ``start`` bytes, but for the leader's own Lease."""
    accounts = f"system:serviceaccount:{namespace}:cassandra-"  # the operator's, and each datacenter's
    found = []
    with log.open("rb") as lines:
        lines.seek(start)
        for line in lines:
            record: Object = json.loads(line)
            what = record.get("objectRef", {})
            lease = what.get("resource") == "leases" and what.get("name") == install.OPERATOR
            if record["user"]["username"].startswith(accounts) and not lease:
                found.append(f"{record['verb']} {what.get('resource')} {what.get('name')} {record.get('userAgent')}")
    return found


def _quiet(world: World, seconds: float) -> bool:
    before = versions(world)
    time.sleep(seconds)
    return versions(world) == before


def _holder(world: World) -> str:
    lease = world.kubectl.find("lease", install.OPERATOR) or {}
    return str(lease.get("spec", {}).get("holderIdentity", ""))


def _of_the_operator(key: str) -> bool:
    kind, name = key.split()
    return kind == "Event" or name.startswith(install.OPERATOR)
