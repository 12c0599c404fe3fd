"""A second server of one of the bed's stores, for what nobody may do to the first: it has little room, other keys.

It runs in the cluster's network, on the port after the first one's, as a process of this one, and so needs the bed.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from dev.bed import stores, tools
from dev.scenario import bed
from dev.scenario.kubectl import eventually
from dev.scenario.places import owner

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dev.scenario.bed import Bed, Server
    from dev.scenario.store import Store

_READY = 60.0  # seconds: Azurite on a machine that has much to do
_ENDS = 20.0
# The volume is mounted where only the server sees it, and goes with it; the server goes with us.
_SMALL = 'mount -t tmpfs -o size=$1 own "$2"; shift 2; exec "$@"'


@dataclass
class OwnServer:
    """``name`` is the store's; ``room`` its volume's size in bytes, None for as much as there is."""

    name: str
    server: Server  # its URL, for pods and for this machine alike, and its owner's keys
    network: int  # PID of a process in the cluster's
    folder: Path
    room: int | None
    _running: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def store(self) -> Store:
        return owner(self.name, self.server)

    def start(self, keys: Sequence[str] = ()) -> None:
        """Returns when it serves. ``keys`` are all that Azure's account has, its owner's last."""
        made, at = stores.SERVERS[self.name], urlsplit(self.url)
        address, port = str(at.hostname), int(at.port or 0)
        (program,) = tools.ensure([made.tool]).values()
        argv = ["nsenter", "-t", str(self.network), "--net", "setpriv", "--pdeathsig", "KILL"]
        if self.room is not None:
            argv += ["unshare", "--mount", "sh", "-ec", _SMALL, "sh", str(self.room), str(self.folder)]
        argv += [str(program), *(str(word) for word in made.arguments(address, port, self.folder))]
        env = {**os.environ, **made.environment}
        if keys:
            env["AZURITE_ACCOUNTS"] = ":".join((self.server.user, *keys))
            self.server = replace(self.server, password=keys[-1])
        self._running = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=env)
        probe = f"http://{address}:{port}{made.probe}"
        eventually(f"a {made.tool} of the test's own", lambda: stores.answers(probe), _READY)

    def end(self) -> None:
        """It keeps what it has, but for what was on a volume with a size."""
        if self._running is not None:
            self._running.terminate()
            self._running.wait(_ENDS)

    def enlarge(self, room: int) -> None:
        """The volume, under the running server."""
        assert self._running is not None, "it does not run"
        inside = ["nsenter", "-t", str(self._running.pid), "--mount"]
        subprocess.run([*inside, "mount", "-o", f"remount,size={room}", self.folder], check=True)


@contextlib.contextmanager
def own_server(where: Bed, name: str, *, room: int | None = None, keys: Sequence[str] = ()) -> Iterator[OwnServer]:
    """While the block runs."""
    if where.network is None:
        raise NotImplementedError(f"no process of this machine can be put into the network of {where.backend}")
    first = bed.server(name)
    at = urlsplit(first.url)
    second = replace(first, url=at._replace(netloc=f"{at.hostname}:{int(at.port or 0) + 1}").geturl())
    with tempfile.TemporaryDirectory(prefix=f"own-{name}-") as folder:
        made = OwnServer(name, second, where.network, Path(folder), room)
        try:
            made.start(keys)
            yield made
        finally:
            made.end()
