"""A store that falls silent: a relay in a pod before the real one, stopped so that it accepts and does not answer."""

from __future__ import annotations

import contextlib
import signal
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dev.scenario import bed, nodes
from dev.scenario.helper_pod import helper_pod
from dev.scenario.relay_pod import PORT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dev.scenario.kubectl import Kubectl

_NAME = "relay"
_SCRIPT = Path(__file__).with_name("relay_pod.py")


@dataclass(frozen=True)
class Relay:
    """``url`` is the store's, for pods."""

    url: str
    container: str

    def silence(self) -> None:
        """Connections are made, by the kernel, and no byte comes or goes."""
        bed.signal_container(self.container, signal.SIGSTOP)

    def speak(self) -> None:
        bed.signal_container(self.container, signal.SIGCONT)


@contextlib.contextmanager
def relay(kubectl: Kubectl, store: str) -> Iterator[Relay]:
    """While the block runs, ``store`` has a second URL."""
    parts = urllib.parse.urlsplit(store)
    argv = ["-c", _SCRIPT.read_text(), str(parts.hostname), str(parts.port)]
    with helper_pod(kubectl, _NAME, argv, probe={"tcpSocket": {"port": PORT}}) as pod:
        url = parts._replace(netloc=f"{pod['status']['podIP']}:{PORT}").geturl()
        yield Relay(url, nodes.container_of(pod, _NAME)["containerID"])
