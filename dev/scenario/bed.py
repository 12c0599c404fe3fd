"""What `dev/cluster` says of the cluster: where it is, where its store is, and which process is which."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from dev.scenario.kubectl import Kubectl

REPO = Path(__file__).resolve().parent.parent.parent
_CLUSTER = REPO / "dev" / "cluster"


class ClusterError(Exception):
    """`dev/cluster` failed; it has said why on stderr."""


@dataclass(frozen=True)
class Server:
    """An object store's. Its URL is one for pods and for this machine alike; the keys are its owner's."""

    url: str
    user: str
    password: str


@dataclass(frozen=True)
class Bed:
    """A cluster that is up."""

    name: str
    backend: str  # bed or kind
    kubeconfig: Path
    node: str
    audit_log: Path | None  # writes only, one JSON object a line; kind has none
    network: int | None  # PID of a process that is in the cluster's; of kind's none is known

    @property
    def kubelet(self) -> Path:
        """Where the node has the volumes of its pods, in its own words."""
        return Path("/var/lib/kubelet") if self.backend == "kind" else self.kubeconfig.parent / "kubelet"

    def kubectl(self, namespace: str) -> Kubectl:
        return Kubectl(self.kubeconfig, namespace)


def up() -> Bed:
    """Starts the cluster where it is not up, and loads the images that changed."""
    _run("up")
    return describe()


def server(store: str) -> Server:
    """Of the store ``s3``, ``gcs`` or ``azure``, started where it does not run."""
    _run("store", store)
    found = json.loads(_run("status", "--json", capture=True))["stores"][store]
    return Server(found["endpoint"], found["user"], found["password"])


def describe() -> Bed:
    status = json.loads(_run("status", "--json", capture=True))
    audit = status.get("audit_log")
    return Bed(
        name=status["name"],
        backend=status["backend"],
        kubeconfig=Path(status["kubeconfig"]),
        node=status["node"]["name"],
        audit_log=Path(audit) if audit else None,
        network=status.get("processes", {}).get("holder"),
    )


def kill_container(container_id: str) -> None:
    """SIGKILL to the first process of a container."""
    signal_container(container_id, signal.SIGKILL)


def signal_container(container_id: str, what: signal.Signals) -> None:
    """To the first process of a container, ``containerd://...`` as the pod's status names it.

    The processes of the cluster are this machine's own (also kind's, where Docker runs without a virtual machine), and
    each one's control group carries the container's id. Needs root.
    """
    wanted = container_id.removeprefix("containerd://")
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            if wanted in (folder / "cgroup").read_text():
                namespaces = next(line for line in (folder / "status").read_text().splitlines() if "NSpid" in line)
                found.append((int(namespaces.split()[-1]), int(folder.name)))
        except OSError:
            continue  # it has just ended
    if not found:
        raise ClusterError(f"no process of container {wanted} on this machine")
    os.kill(min(found)[1], what)  # the one that is process 1 inside


def _run(*arguments: str, capture: bool = False) -> str:
    """Progress goes to stderr, as `dev/cluster` prints it."""
    done = subprocess.run(
        [_CLUSTER, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if capture else None,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ClusterError(f"dev/cluster {' '.join(arguments)} failed")
    return done.stdout or ""
