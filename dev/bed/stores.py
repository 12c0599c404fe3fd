"""The object stores of the bed: real servers on the bridge's address, for pods and for this machine alike.

MinIO is up with the cluster. The others are started when asked for (`dev/cluster store`), since not everybody needs
them: fake-gcs-server has 30 MB and starts in 0.2 s, Azurite has 150 MB and takes 4 s.
"""

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dev.bed.process import Inside
from dev.bed.say import wait_for
from dev.bed.settings import Settings

ALWAYS = "s3"
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy knows the way


@dataclass(frozen=True)
class Server:
    """One store's server. The credentials are fixed: no other machine can reach it."""

    tool: str  # its name in dev/bed/tools.py, and of its process and log
    port: int
    path: str  # of the endpoint's URL
    user: str
    password: str
    probe: str  # a path that answers when it serves, whatever the code says
    arguments: Callable[[str, int, Path], list[str | Path]]  # of address, port and the folder for its data
    environment: dict[str, str]
    image: str  # where a container takes the place of a process
    command: tuple[str, ...] = ()  # in that image, before the arguments

    def endpoint(self, address: str) -> str:
        return f"http://{address}:{self.port}{self.path}"

    def describe(self, address: str) -> dict[str, Any]:
        return {
            "endpoint": self.endpoint(address),
            "user": self.user,
            "password": self.password,
            "running": answers(f"http://{address}:{self.port}{self.probe}"),
        }


SERVERS = {
    "s3": Server(
        tool="minio",
        port=9000,
        path="",
        user="minioadmin",
        password="minioadmin",
        probe="/minio/health/ready",
        arguments=lambda address, port, data: ["server", "--address", f"{address}:{port}", data],
        environment={
            "MINIO_ROOT_USER": "minioadmin",
            "MINIO_ROOT_PASSWORD": "minioadmin",
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",
        },
        image="minio/minio:latest",
    ),
    "gcs": Server(
        tool="fake-gcs-server",
        port=4443,
        path="",
        user="",  # it asks nobody who he is
        password="",
        probe="/_internal/healthcheck",
        # The external URL is where it sends a client on to with a resumable upload.
        arguments=lambda address, port, data: [
            *("-scheme", "http", "-host", address, "-port", str(port), "-log-level", "error"),
            *("-external-url", f"http://{address}:{port}", "-public-host", f"{address}:{port}"),
            *("-backend", "filesystem", "-filesystem-root", data),
        ],
        environment={},
        image="fsouza/fake-gcs-server:1.56.1",
    ),
    "azure": Server(
        tool="azurite",
        port=10000,
        path="/devstoreaccount1",
        user="devstoreaccount1",  # the development account that its documentation names
        password="Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
        probe="/devstoreaccount1?comp=list",
        arguments=lambda address, port, data: [
            *("--skipApiVersionCheck", "--disableTelemetry", "--silent"),
            *("--blobHost", address, "--blobPort", str(port), "--location", data),
        ],
        environment={},
        image="mcr.microsoft.com/azure-storage/azurite:3.37.0",
        command=("azurite-blob",),
    ),
}


def start(bed: Settings, inside: Inside, name: str, program: Path) -> None:
    server = SERVERS[name]
    data = bed.state / server.tool
    data.mkdir(exist_ok=True)
    inside.spawn(server.tool, [program, *server.arguments(bed.address, server.port, data)], server.environment)


def wait_ready(address: str, name: str, logs: Path | None = None) -> None:
    server = SERVERS[name]
    hint = logs / f"{server.tool}.log" if logs else None
    wait_for(server.tool, lambda: answers(f"http://{address}:{server.port}{server.probe}"), hint=hint)


def tell_external_url(address: str) -> None:
    """To a fake-gcs-server that could not know its address when it started."""
    url = SERVERS["gcs"].endpoint(address)
    body = json.dumps({"externalUrl": url, "publicHost": url.removeprefix("http://")}).encode()
    with _OPENER.open(urllib.request.Request(f"{url}/_internal/config", data=body, method="PUT"), timeout=5):
        pass


def answers(url: str) -> bool:
    try:
        with _OPENER.open(url, timeout=2):
            return True
    except urllib.error.HTTPError as error:
        return error.code < 500
    except (OSError, ValueError):  # also where there is no address yet
        return False
