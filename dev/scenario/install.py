"""The operator into a namespace, as docs/install.md tells a user to do it; and the namespace away again."""

from __future__ import annotations

import contextlib
import secrets

from dev.scenario import nodes
from dev.scenario.bed import REPO
from dev.scenario.kubectl import Kubectl, KubectlError, Object, WaitedTooLong, eventually

MANIFESTS = REPO / "manifests"
OPERATOR = "cassandra-operator"
OPERATOR_SELECTOR = f"app.kubernetes.io/name={OPERATOR}"
NODES_SELECTOR = "operator=instaclustr-cassandra-operator"
MASTER_KEY = "cassandra-operator-master-key"
KINDS = ("cassandrarestores", "cassandrabackups", "cassandrabackupschedules", "cassandradatacenters")
_BY_THE_OPERATOR = 60.0  # seconds that it has to finish with deleted objects


def definitions(kubectl: Kubectl) -> None:
    """The four kinds, known to the API server."""
    kubectl.run("apply", "--server-side", "--force-conflicts", "-f", str(MANIFESTS / "crds"))
    names = [f"crd/{kind}.stable.instaclustr.com" for kind in KINDS]
    kubectl.run("wait", "--for=condition=Established", *names, "--timeout=30s")


def operator(kubectl: Kubectl) -> None:
    """Into the namespace of ``kubectl``, which exists; returns when a replica is ready."""
    definitions(kubectl)
    master_key(kubectl)
    kubectl.run("apply", "--server-side", "--force-conflicts", "-k", str(MANIFESTS))
    kubectl.run("wait", "--for=condition=Available", f"deployment/{OPERATOR}", "--timeout=120s", seconds=130)


def operators(kubectl: Kubectl) -> dict[str, str]:
    """Container by pod, of the replicas that run."""
    found = kubectl.list("pods", OPERATOR_SELECTOR)
    return {pod["metadata"]["name"]: nodes.container_of(pod, "operator")["containerID"] for pod in found}


def master_key(kubectl: Kubectl) -> None:
    """Made once: another one would cut the operator off from the agents that run."""
    if kubectl.find("secret", MASTER_KEY) is None:
        kubectl.run("create", "secret", "generic", MASTER_KEY, f"--from-literal=key={secrets.token_hex(32)}")


def namespace(kubectl: Kubectl) -> None:
    """Makes the namespace of ``kubectl``, held to the strictest of the Pod Security Standards."""
    kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": kubectl.namespace,
                "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
            },
        }
    )


def remove_namespace(kubectl: Kubectl) -> None:
    """The namespace and all in it, also where the operator that should let go of its objects is gone."""
    if kubectl.find("namespace", kubectl.namespace) is None:
        return
    for kind in KINDS:
        with contextlib.suppress(KubectlError):  # no such kind, or nobody to finish: seen to below
            kubectl.run("delete", kind, "--all", "--wait=false")
    with contextlib.suppress(KubectlError):
        kubectl.delete(",".join(KINDS), "--all", seconds=_BY_THE_OPERATOR)
    for kind in KINDS:
        for left in _left(kubectl, kind):
            name = left["metadata"]["name"]
            kubectl.run("patch", kind, name, "--type=merge", "--patch", '{"metadata":{"finalizers":null}}')
    # Where a pod is left, the namespace's own deletion sleeps for half of that pod's grace period: minutes for a node.
    kubectl.run("delete", "deployments,statefulsets", "--all", "--wait=false")
    kubectl.run("delete", "pods", "--all", "--grace-period=1", "--wait=false")  # nobody wants these rows any more
    with contextlib.suppress(WaitedTooLong):
        eventually("the pods are gone", lambda: not kubectl.list("pods"), seconds=120)
    kubectl.delete("namespace", kubectl.namespace, seconds=300)


def _left(kubectl: Kubectl, kind: str) -> list[Object]:
    try:
        return kubectl.list(kind)
    except KubectlError:
        return []
