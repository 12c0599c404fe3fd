"""A directory that pods share, seen from inside one: where it lies on the machine is its provisioner's affair."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dev.scenario.install import NODES_SELECTOR

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dev.scenario.kubectl import Kubectl


@dataclass(frozen=True)
class FileStore:
    """``bucket`` is the directory's path in the agents' containers. It is gone with its claim, and so its namespace."""

    kubectl: Kubectl

    def make_empty(self, bucket: str) -> int:
        found = self.keys(bucket)
        self.delete(bucket, found)
        return len(found)

    def remove(self, bucket: str) -> None:
        """The directory is a mount: it can be emptied, not removed."""
        self.make_empty(bucket)

    def delete(self, bucket: str, keys: Sequence[str]) -> None:
        for start in range(0, len(keys), 500):  # what fits a command line
            paths = " ".join(shlex.quote(f"{bucket}/{key}") for key in keys[start : start + 500])
            self._run(bucket, f"rm -f {paths}")

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        return sorted(key for key, _ in self._objects(bucket) if key.startswith(prefix))

    def read(self, bucket: str, key: str) -> bytes:
        """Text only: it comes through kubectl."""
        return self._run(bucket, f"cat {shlex.quote(f'{bucket}/{key}')}").encode()

    def size(self, bucket: str) -> int:
        return sum(size for _, size in self._objects(bucket))

    def _objects(self, bucket: str) -> Iterator[tuple[str, int]]:
        own = shlex.quote(f"{bucket}/.store/*")
        script = f"find {shlex.quote(bucket)} -type f -not -path {own} -printf '%s %P\\n'"
        for line in self._run(bucket, script).splitlines():
            size, _, key = line.partition(" ")
            yield key, int(size)

    def _run(self, bucket: str, script: str) -> str:
        """In a pod that has the directory mounted; nothing where there is none, and so no directory."""
        for pod in self.kubectl.list("pods", NODES_SELECTOR):
            sidecar = next(each for each in pod["spec"]["containers"] if each["name"] == "sidecar")
            mounted = any(mount["mountPath"] == bucket for mount in sidecar["volumeMounts"])
            if mounted and pod["status"].get("phase") == "Running":
                name = pod["metadata"]["name"]
                return self.kubectl.run("exec", name, "-c", "sidecar", "--", "sh", "-c", script)
        return ""
