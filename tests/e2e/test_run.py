"""`make run`: the operator on this machine does the same work, and reaches the agents through the API server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dev.scenario import install
from dev.scenario.bed import REPO
from dev.scenario.demo import CBACK
from dev.scenario.documents import RESTORED
from dev.scenario.kubectl import condition_of, eventually
from dev.scenario.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.conftest import World


def test_a_backup_by_an_operator_outside_the_cluster(world: World, tmp_path: Path) -> None:
    kubectl, name = world.kubectl, "by-make-run"
    with _scaled_to_zero(world), _operator_here(world, tmp_path / "operator.log"):
        kubectl.apply(world.documents.other_backup(name, {"cassandra-datacenter": RESTORED}))
        wait_for(kubectl, CBACK, name, "Complete", 180)
    assert condition_of(kubectl.get(CBACK, name), "Restorable")["status"] == "True"


@contextmanager
def _scaled_to_zero(world: World) -> Iterator[None]:
    kubectl = world.kubectl
    target = f"deployment/{install.OPERATOR}"
    kubectl.run("scale", target, "--replicas=0")
    try:
        eventually("no operator in the cluster", lambda: not kubectl.list("pods", install.OPERATOR_SELECTOR), 60)
        yield
    finally:
        kubectl.run("scale", target, "--replicas=2")
        kubectl.run("rollout", "status", target, "--timeout=120s", seconds=130)


@contextmanager
def _operator_here(world: World, log: Path) -> Iterator[None]:
    """What `make run NAMESPACE=...` starts, made to use the pod proxy also where pods could be reached."""
    argv = [
        sys.executable,
        "-m",
        "dev.scenario.local",
        "--namespace",
        world.kubectl.namespace,
        "--agent-access",
        "proxy",
    ]
    environment = {
        **os.environ,
        "KUBECONFIG": str(world.demo.bed.kubeconfig),
        "CASSANDRA_OPERATOR_HEALTH_ADDRESS": "127.0.0.1:0",
    }
    with log.open("wb") as out, subprocess.Popen(argv, cwd=REPO, env=environment, stdout=out, stderr=out) as child:
        try:
            yield
        finally:
            child.send_signal(signal.SIGTERM)
            code = child.wait(40)
            sys.stdout.write(log.read_text(errors="replace")[-4000:])
    assert code == 0, "the operator did not end as it should"
