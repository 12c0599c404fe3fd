"""What one cluster is called and where everything of it lies.

All of it derives from the name, so that nothing need be stored to find what an unclean end left behind.
"""

import os
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

from dev.bed.paths import cache
from dev.bed.say import BedError


def default_name() -> str:
    return os.environ.get("CLUSTER_NAME", "cassandra-operator")


@dataclass(frozen=True)
class Settings:
    """Names, folders and addresses of the cluster `name`."""

    name: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?", self.name):
            msg = f"a cluster's name is lower case letters, digits and dashes, at most 32: {self.name!r}"
            raise BedError(msg)
        if len(str(self.containerd_socket)) > 100:
            msg = f"{self.containerd_socket} is too long for a socket: choose a shorter CASSANDRA_OPERATOR_CACHE"
            raise BedError(msg)

    @property
    def number(self) -> int:
        """Which of 60 address ranges: two clusters of different names can be up at once."""
        return zlib.crc32(self.name.encode()) % 60

    @property
    def state(self) -> Path:
        return cache() / "run" / self.name

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def kubeconfig(self) -> Path:
        return self.state / "kubeconfig"

    @property
    def audit_log(self) -> Path:
        return self.state / "audit.log"

    @property
    def containerd_socket(self) -> Path:
        return self.state / "containerd.sock"

    @property
    def node(self) -> str:
        return f"{self.name}-node"

    @property
    def cgroup(self) -> str:
        return f"bed-{self.name}"

    @property
    def veth(self) -> str:
        return f"bed{zlib.crc32(self.name.encode()):08x}"

    @property
    def link_host(self) -> str:
        return f"169.254.{100 + self.number}.1"

    @property
    def link_inside(self) -> str:
        return f"169.254.{100 + self.number}.2"

    @property
    def routed(self) -> str:
        """Pods and services together: the one route on the host."""
        return f"10.{100 + 2 * self.number}.0.0/15"

    @property
    def pods(self) -> str:
        return f"10.{100 + 2 * self.number}.0.0/16"

    @property
    def services(self) -> str:
        return f"10.{101 + 2 * self.number}.0.0/16"

    @property
    def address(self) -> str:
        """The bridge's: of the node, the API server, DNS and the object stores."""
        return f"10.{100 + 2 * self.number}.0.1"

    @property
    def first_service(self) -> str:
        return f"10.{101 + 2 * self.number}.0.1"

    @property
    def apiserver(self) -> str:
        return f"https://{self.address}:6443"
