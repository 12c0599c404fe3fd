"""The pods of a datacenter, and what goes with them."""

from __future__ import annotations

from dev.scenario.kubectl import Kubectl, Object, eventually

SEED_LABEL = "cassandra-datacenter"
DATACENTER = "cassandradatacenter"


def pods(kubectl: Kubectl, datacenter: str) -> list[Object]:
    """By name."""
    return sorted(kubectl.list("pods", f"{SEED_LABEL}={datacenter}"), key=lambda pod: str(pod["metadata"]["name"]))


def names(kubectl: Kubectl, datacenter: str) -> list[str]:
    return [pod["metadata"]["name"] for pod in pods(kubectl, datacenter)]


def claims(kubectl: Kubectl, datacenter: str) -> list[str]:
    """The claims of the nodes' data; the directory of a FILE store is a claim too, and is no datacenter's own."""
    volumes = [volume for pod in pods(kubectl, datacenter) for volume in pod["spec"]["volumes"]]
    data = [volume for volume in volumes if volume["name"] == "data" and "persistentVolumeClaim" in volume]
    return [volume["persistentVolumeClaim"]["claimName"] for volume in data]


def delete_datacenter(kubectl: Kubectl, datacenter: str) -> None:
    """The object and its pods. The claims stay: they are the user's."""
    kubectl.delete(DATACENTER, datacenter)
    eventually("the pods are gone", lambda: not pods(kubectl, datacenter), seconds=180)


def delete_with_claims(kubectl: Kubectl, datacenter: str) -> int:
    """Everything that held a row. Returns the number of claims."""
    found = claims(kubectl, datacenter)
    delete_datacenter(kubectl, datacenter)
    if found:
        kubectl.delete("persistentvolumeclaim", *found)
    return len(found)


def snapshots(kubectl: Kubectl, pod: str, tag: str) -> list[str]:
    """Directories of the snapshot ``tag`` on the node's disk."""
    script = f"find /var/lib/cassandra/data -type d -path '*/snapshots/{tag}' 2>/dev/null || true"
    return kubectl.run("exec", pod, "-c", "sidecar", "--", "sh", "-c", script).split()


def container_of(pod: Object, name: str) -> Object:
    """The status of the pod's container ``name``."""
    statuses: list[Object] = pod["status"]["containerStatuses"]
    return next(each for each in statuses if each["name"] == name)


def init_failures(pod: Object) -> list[str]:
    """What the pod's init containers said when they failed, this time or the time before."""
    statuses: list[Object] = pod["status"].get("initContainerStatuses", [])
    ends = [each.get(when, {}).get("terminated", {}) for each in statuses for when in ("state", "lastState")]
    return [end.get("message", end["reason"]) for end in ends if end.get("exitCode")]
