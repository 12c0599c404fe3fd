"""A volume that has an end, for FILE: a pod's own memory, which the kubelet mounts with a size, as anybody's volume."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dev.scenario.helper_pod import helper_pod

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dev.scenario.bed import Bed
    from dev.scenario.kubectl import Kubectl, Object

NAME = "small-volume"  # of the claim, and of all that stands behind it
_SIZE, _ROOM = 64 << 20, 256 << 10  # bytes; what is not room is taken
_SCRIPT = f"""
import pathlib, time
pathlib.Path("/data/filler").write_bytes(bytes({_SIZE - _ROOM}))
pathlib.Path("/data/filled").touch()
time.sleep(10**6)
"""


@dataclass(frozen=True)
class SmallVolume:
    kubectl: Kubectl

    def make_room(self) -> None:
        self.kubectl.run("exec", NAME, "--", "rm", "-f", "/data/filler")


@contextlib.contextmanager
def small_volume(bed: Bed, kubectl: Kubectl) -> Iterator[SmallVolume]:
    """A claim while the block runs, almost full."""
    data = {"emptyDir": {"medium": "Memory", "sizeLimit": str(_SIZE)}}
    probe = {"exec": {"command": ["ls", "/data/filled"]}}
    with helper_pod(kubectl, NAME, ["-c", _SCRIPT], probe=probe, volumes={"data": data}) as pod:
        path = f"{bed.kubelet}/pods/{pod['metadata']['uid']}/volumes/kubernetes.io~empty-dir/data"
        try:
            for each in _volume(path, kubectl.namespace):
                kubectl.apply(each)
            yield SmallVolume(kubectl)
        finally:
            kubectl.delete("persistentvolumeclaim", NAME)
            kubectl.delete("persistentvolume", NAME)


def _volume(path: str, namespace: str) -> tuple[Object, Object]:
    size = {"storage": str(_SIZE)}
    common: Object = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
    volume = {
        **common,
        "capacity": size,
        "hostPath": {"path": path, "type": "Directory"},
        "persistentVolumeReclaimPolicy": "Retain",
        "claimRef": {"namespace": namespace, "name": NAME},
    }
    claim = {**common, "resources": {"requests": size}, "volumeName": NAME}
    return (
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": NAME}, "spec": volume},
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": NAME}, "spec": claim},
    )
