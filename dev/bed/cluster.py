"""A cluster of our own, from nothing to ready and back."""

import os
import shutil
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from dev.bed import certs, controlplane, dns, holder, images, netns, node, packages, stores, tools, volumes
from dev.bed.contexts import Image
from dev.bed.paths import REPO, locked
from dev.bed.process import Inside
from dev.bed.say import BedError, Steps, note, wait_for
from dev.bed.settings import Settings

PROGRAMS = (
    *("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"),
    *("coredns", "minio"),
)
Built = dict[Image, Future[Any]]
DAEMONS = {*PROGRAMS, "containerd", "volumes"}


def up(bed: Settings) -> None:
    """Bring the cluster up, or find it up and only load what changed."""
    _root()
    with locked(f"cluster-{bed.name}"), ThreadPoolExecutor() as pool:
        steps = Steps(9)
        steps("programs: from the cache, or built now")
        packages.ensure()
        # Images need nothing of the cluster, so they are built meanwhile; where all is cached it takes no time.
        built = {image: pool.submit(images.build, image) for image in images.GROUPS["all"]}
        programs = tools.ensure(PROGRAMS)
        if status(bed)["up"]:
            note("  the cluster is up already")
            for image, one in built.items():
                _load_built(bed, image, one)
            return
        try:
            _start(bed, steps, programs, pool, built)
        except KeyboardInterrupt:
            note("interrupted: dev/cluster down clears what was begun")
            raise
        note(f"up in {steps.elapsed():.1f} s; export KUBECONFIG={bed.kubeconfig}")


def _start(bed: Settings, steps: Steps, programs: dict[str, Path], pool: Executor, built: Built) -> None:
    steps("what an earlier end left behind")
    _clear(bed)
    bed.logs.mkdir(parents=True)
    bed.state.chmod(0o711)  # pods' own users pass through to their volumes
    steps("namespaces, network, certificates")
    inside = Inside(holder.start(bed), bed.state)
    netns.up(bed, inside)
    pki = certs.make(bed)
    steps("etcd, kube-apiserver, containerd, MinIO")
    controlplane.start_store(inside, programs)
    controlplane.start_apiserver(bed, inside, programs, pki)
    stores.start(bed, inside, stores.ALWAYS, programs["minio"])
    node.start_containerd(bed, inside)
    steps("images: imported as they are built; waiting for the API server")
    loading = [pool.submit(_load_built, bed, image, one) for image, one in built.items()]
    api = controlplane.wait_ready(bed)
    steps("kube-controller-manager, kube-scheduler, kube-proxy, DNS, volumes")
    controlplane.start_controllers(inside, programs, pki)
    node.start_proxy(bed, inside, programs, pki)
    dns.start(bed, inside, programs, pki)
    volumes.start(bed, inside, REPO)
    steps("kubelet")
    node.start_kubelet(bed, inside, programs, pki)
    wait_for("a node that is ready", lambda: node.ready(bed, api), seconds=90, hint=bed.logs / "kubelet.log")
    steps("the node is ready; waiting for DNS and MinIO")
    dns.wait_ready(bed)
    stores.wait_ready(bed.address, stores.ALWAYS, bed.logs)
    steps("waiting for the images")
    for one in loading:
        one.result()


def _load_built(bed: Settings, image: Image, built: Future[Any]) -> None:
    images.load(bed, image, built.result())


def down(bed: Settings) -> None:
    """End it and remove everything, whatever state it is in."""
    _root()
    with locked(f"cluster-{bed.name}"):
        there = bed.state.exists() or holder.find(bed) is not None
        _clear(bed)
        note(f"cluster {bed.name}: {'removed' if there else 'there was none'}")


def _clear(bed: Settings) -> None:
    holder.end(bed)
    netns.down(bed)
    node.remove_cgroup(bed)
    if bed.state.exists():
        shutil.rmtree(bed.state)


def load(bed: Settings, which: str) -> None:
    _root()
    if holder.find(bed) is None:
        msg = "the cluster is not up: dev/cluster up"
        raise BedError(msg)
    for image in images.GROUPS[which]:
        images.load(bed, image, images.build(image))


def store(bed: Settings, name: str) -> None:
    """Start one of the object stores where it does not run."""
    _root()
    with locked(f"cluster-{bed.name}"):
        found = holder.find(bed)
        if found is None:
            msg = "the cluster is not up: dev/cluster up"
            raise BedError(msg)
        tool, inside = stores.SERVERS[name].tool, Inside(found, bed.state)
        if not inside.running(tool):
            stores.start(bed, inside, name, tools.ensure([tool])[tool])
        stores.wait_ready(bed.address, name, bed.logs)
        note(f"  {name}: {tool} at {stores.SERVERS[name].endpoint(bed.address)}")


def status(bed: Settings) -> dict[str, Any]:
    """What `status --json` prints. `up` is true if every part of it works."""
    found = holder.find(bed)
    daemons = Inside(found, bed.state).daemons() if found else {}
    running = {name for name, pid in daemons.items() if pid}
    is_ready = bool(found) and running >= DAEMONS and node.ready(bed, controlplane.Api(bed, "admin"))
    servers = {name: server.describe(bed.address) for name, server in stores.SERVERS.items()}
    return {
        "name": bed.name,
        "backend": "bed",
        "up": is_ready and servers[stores.ALWAYS]["running"],
        "apiserver": bed.apiserver,
        "kubeconfig": str(bed.kubeconfig),
        "node": {"name": bed.node, "ready": is_ready},
        "stores": servers,
        "audit_log": str(bed.audit_log),
        "state": str(bed.state),
        "logs": str(bed.logs),
        "networks": {"pods": bed.pods, "services": bed.services},
        "processes": {"holder": found.pid if found else None, **daemons},
    }


def _root() -> None:
    if os.geteuid():
        msg = "a cluster of our own needs root (namespaces, control groups); with Docker and kind it does not"
        raise BedError(msg)
