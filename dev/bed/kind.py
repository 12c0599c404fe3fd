"""The same verbs with kind, where a Docker daemon answers. Written from kind's documentation; not tried."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from dev.bed import contexts
from dev.bed.paths import REPO
from dev.bed.say import BedError, Steps, note
from dev.bed.settings import MINIO_KEY, MINIO_SECRET, Settings

NODE_IMAGE = "kindest/node:v1.34.0"
MINIO_IMAGE = "minio/minio:latest"
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
    if not _run("docker", "ps", "-q", "-f", f"name=^{bed.name}-minio$").strip():
        argv = ["run", "-d", "--rm", "--name", f"{bed.name}-minio", "--network", "kind", "-p", "127.0.0.1:9000:9000"]
        argv += ["-e", f"MINIO_ROOT_USER={MINIO_KEY}", "-e", f"MINIO_ROOT_PASSWORD={MINIO_SECRET}"]
        _run("docker", *argv, MINIO_IMAGE, "server", "/data")
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


def down(bed: Settings) -> None:
    _run("kind", "delete", "cluster", "--name", bed.name)
    subprocess.run(["docker", "rm", "-f", f"{bed.name}-minio"], capture_output=True, check=False)
    shutil.rmtree(bed.state, ignore_errors=True)


def status(bed: Settings) -> dict[str, Any]:
    up_now = _exists(bed)
    server, nodes, address = "", [], ""
    if up_now:
        config = json.loads(_run("kubectl", "--kubeconfig", bed.kubeconfig, "config", "view", "-o", "json"))
        server = config["clusters"][0]["cluster"]["server"]
        nodes = json.loads(_run("kubectl", "--kubeconfig", bed.kubeconfig, "get", "nodes", "-o", "json"))["items"]
        form = "{{.NetworkSettings.Networks.kind.IPAddress}}"
        address = _run("docker", "inspect", "-f", form, f"{bed.name}-minio").strip()
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
        "minio": {"endpoint": f"http://{address}:9000", "access_key": MINIO_KEY, "secret_key": MINIO_SECRET},
        "audit_log": None,  # kind's own policy would need a mount of ours into its node
        "state": str(bed.state),
        "repo": str(REPO),
    }
