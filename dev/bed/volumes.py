"""Dynamic volumes: a folder for every claim.

Kubernetes' own host-path provisioner makes folders that only root can write, and kubelet does not apply `fsGroup` to
them. This one makes them writable for any user. It keeps nothing in memory that it may not lose: after every break of
the connection it lists everything again.
"""

import json
import shutil
import sys
import time
import urllib.error
from http.client import HTTPException
from pathlib import Path
from threading import Thread
from typing import Any

from dev.bed.controlplane import STORAGE_CLASS, Api
from dev.bed.process import Inside
from dev.bed.settings import Settings

CLASS = "local"
BY = "pv.kubernetes.io/provisioned-by"
SCHEDULED = "volume.kubernetes.io/selected-node"
PROVISIONER = STORAGE_CLASS["provisioner"]
CLAIMS = "/api/v1/persistentvolumeclaims"
VOLUMES = "/api/v1/persistentvolumes"


def start(bed: Settings, inside: Inside, repo: Path) -> None:
    argv = [sys.executable, "-m", "dev.bed.volumes", bed.name]
    inside.spawn("volumes", argv, {"PYTHONPATH": str(repo), "PYTHONUNBUFFERED": "1"})


class Provisioner:
    """Two level-triggered handlers: a claim whose pod was scheduled gets a volume, a volume without a claim goes."""

    def __init__(self, bed: Settings) -> None:
        self.api = Api(bed, "volumes")
        self.root = bed.state / "volumes"
        self.root.mkdir(exist_ok=True)

    def claim(self, claim: dict[str, Any]) -> None:
        meta, spec = claim["metadata"], claim["spec"]
        wanted = spec.get("storageClassName") == CLASS and SCHEDULED in meta.get("annotations", {})
        if not wanted or spec.get("volumeName") or "deletionTimestamp" in meta:
            return
        name = f"pvc-{meta['uid']}"
        folder = self.root / name
        folder.mkdir(exist_ok=True)
        folder.chmod(0o777)
        volume = {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name, "annotations": {BY: PROVISIONER}},
            "spec": {
                "capacity": {"storage": spec["resources"]["requests"]["storage"]},
                "accessModes": spec["accessModes"],
                "volumeMode": spec.get("volumeMode", "Filesystem"),
                "persistentVolumeReclaimPolicy": "Delete",
                "storageClassName": CLASS,
                "hostPath": {"path": str(folder), "type": "Directory"},
                "claimRef": {
                    "apiVersion": "v1",
                    "kind": "PersistentVolumeClaim",
                    **{key: meta[key] for key in ("name", "namespace", "uid")},
                },
            },
        }
        if self.api.create(VOLUMES, volume):
            print(f"{meta['namespace']}/{meta['name']}: made {name}")

    def volume(self, volume: dict[str, Any]) -> None:
        meta = volume["metadata"]
        ours = meta.get("annotations", {}).get(BY) == PROVISIONER
        policy = volume["spec"].get("persistentVolumeReclaimPolicy")
        phase = volume.get("status", {}).get("phase")
        if not ours or policy != "Delete" or phase not in {"Released", "Failed"}:
            return
        shutil.rmtree(self.root / meta["name"], ignore_errors=True)
        try:
            self.api.call("DELETE", f"{VOLUMES}/{meta['name']}")
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
        print(f"removed {meta['name']}")

    def follow(self, path: str) -> None:
        """List, handle all, watch from there; on any break do it again."""
        handle = self.claim if path == CLAIMS else self.volume
        while True:
            try:
                listed = json.loads(self.api.call("GET", path))
                for item in listed["items"]:
                    handle(item)
                version = listed["metadata"]["resourceVersion"]
                query = f"?watch=1&timeoutSeconds=300&resourceVersion={version}"
                with self.api.opener.open(f"{self.api.url}{path}{query}", timeout=330) as stream:
                    for line in stream:
                        event = json.loads(line)
                        if event["type"] in {"ADDED", "MODIFIED"}:
                            handle(event["object"])
                        elif event["type"] == "ERROR":
                            break
            except (OSError, HTTPException, ValueError, KeyError) as error:
                print(f"{path}: {error!r}; listing again")
                time.sleep(0.5)


def main() -> None:
    provisioner = Provisioner(Settings(sys.argv[1]))
    Thread(target=provisioner.follow, args=(VOLUMES,), daemon=True).start()
    provisioner.follow(CLAIMS)


if __name__ == "__main__":
    main()
