"""The same verbs with kind, where a Docker daemon answers. Written from kind's documentation; not tried."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from dev.bed import contexts, stores
from dev.bed.paths import REPO
from dev.bed.say import BedError, Steps, note
from dev.bed.settings import Settings

NODE_IMAGE = "kindest/node:v1.34.0"
IMAGES = {
    "cassandra": [contexts.CASSANDRA],
    "operator": [contexts.OPERATOR],
    "all": [contexts.CASSANDRA, contexts.OPERATOR],
}


def available() -> bool:
    if not (shutil.which("docker") and shutil.which("kind")):
        return False
    return subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0


def _run(*argv: str | Path) -> str:
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True, check=False)
    if done.returncode:
        msg = f"{' '.join(map(str, argv))}: {done.stderr.strip()}"
        raise BedError(msg)
    return done.stdout


def _exists(bed: Settings) -> bool:
    return bed.name in _run("kind", "get", "clusters").split()


def up(bed: Settings) -> None:
    steps = Steps(3)
    bed.state.mkdir(parents=True, exist_ok=True)
    steps("the cluster (kind)")
    if not _exists(bed):
        argv = ["create", "cluster", "--name", bed.name, "--image", NODE_IMAGE, "--wait", "120s"]
        _run("kind", *argv, "--kubeconfig", bed.kubeconfig)
    steps("MinIO, a container on the cluster's network")
    store(bed, stores.ALWAYS)
    steps("images")
    load(bed, "all")
    note(f"up in {steps.elapsed():.0f} s; export KUBECONFIG={bed.kubeconfig}")


def load(bed: Settings, which: str) -> None:
    for image in IMAGES[which]:
        parts = image.parts()
        if parts is None:
            note(f"  {image.name}: left out, there is no pyproject.toml yet")
            continue
        tags = [word for name in image.names for word in ("--tag", name)]
        _run("docker", "build", *tags, image.stage(parts))  # on the public base images that the Dockerfiles name
        _run("kind", "load", "docker-image", "--name", bed.name, *image.names)


def store(bed: Settings, name: str) -> None:
    server, container = stores.SERVERS[name], _container(bed, name)
    if not _run("docker", "ps", "-q", "-f", f"name=^{container}$").strip():
        variables = [word for key, value in server.environment.items() for word in ("-e", f"{key}={value}")]
        command = [*server.command, *server.arguments("0.0.0.0", server.port, Path("/data"))]
        _run(
            *("docker", "run", "-d", "--rm", "--name", container, "--network", "kind", *variables, server.image),
            *command,
        )
    stores.wait_ready(_address(bed, name), name)
    if name == "gcs":  # only now is there an address to send clients on to
        stores.tell_external_url(_address(bed, name))


def _container(bed: Settings, name: str) -> str:
    return f"{bed.name}-{stores.SERVERS[name].tool}"


def _address(bed: Settings, name: str) -> str:
    """Of the container, on the network that it shares with the nodes; "" where it does not run."""
    form = "{{.NetworkSettings.Networks.kind.IPAddress}}"
    argv = ["docker", "inspect", "-f", form, _container(bed, name)]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip()


def down(bed: Settings) -> None:
    _run("kind", "delete", "cluster", "--name", bed.name)
    containers = [_container(bed, name) for name in stores.SERVERS]
    subprocess.run(["docker", "rm", "-f", *containers], capture_output=True, check=False)
    shutil.rmtree(bed.state, ignore_errors=True)


def status(bed: Settings) -> dict[str, Any]:
    up_now = _exists(bed)
    server, nodes = "", []
    if up_now:
        config = json.loads(_run("kubectl", "--kubeconfig", bed.kubeconfig, "config", "view", "-o", "json"))
        server = config["clusters"][0]["cluster"]["server"]
        nodes = json.loads(_run("kubectl", "--kubeconfig", bed.kubeconfig, "get", "nodes", "-o", "json"))["items"]
    ready = [
        any(one["type"] == "Ready" and one["status"] == "True" for one in node["status"]["conditions"])
        for node in nodes
    ]
    return {
        "name": bed.name,
        "backend": "kind",
        "up": bool(ready) and all(ready),
        "apiserver": server,
        "kubeconfig": str(bed.kubeconfig),
        "node": {"name": f"{bed.name}-control-plane", "ready": bool(ready) and all(ready)},
        "stores": {name: one.describe(_address(bed, name)) for name, one in stores.SERVERS.items()},
        "audit_log": None,  # kind's own policy would need a mount of ours into its node
        "state": str(bed.state),
        "repo": str(REPO),
    }
