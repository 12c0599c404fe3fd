"""The object stores, real ones on loopback: started anew and empty for every run of every tool."""

from __future__ import annotations

import os
import re
import shutil
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks import measure
from benchmarks.paths import free_port
from dev.bed import tools

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

USER, PASSWORD = "bench-user", "bench-password"
BUCKET = "bench"
# The account of every Azurite, in its documentation.
AZURITE_ACCOUNT = "devstoreaccount1"
AZURITE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_START_TIMEOUT = 60.0
_COUNT = re.compile(r'^minio_api_requests_total\{.*?name="(?P<name>\w+)".*\} (?P<count>[0-9.e+]+)$', re.MULTILINE)


@dataclass
class Server:
    """A store that answers. ``kind``: http, https (both S3), azure or gcs."""

    kind: str
    port: int
    authority: Path | None = None
    pid: int = 0
    context: ssl.SSLContext | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"http{'s' if self.kind == 'https' else ''}://127.0.0.1:{self.port}"

    def cpu(self) -> float:
        return measure.cpu(self.pid)

    def requests(self) -> dict[str, int]:
        """By the API's name, since the start; of MinIO alone."""
        if self.kind not in {"http", "https"}:
            return {}
        url = f"{self.url}/minio/metrics/v3/api/requests"
        with urllib.request.urlopen(url, timeout=10, context=self.context) as answer:
            return counted(answer.read().decode())


def counted(text: str) -> dict[str, int]:
    """Requests by name, out of MinIO's metrics."""
    found: dict[str, int] = {}
    for match in _COUNT.finditer(text):
        found[match["name"]] = found.get(match["name"], 0) + int(float(match["count"]))
    return found


@contextmanager
def running(kind: str, directory: Path, certificates: Path) -> Iterator[Server]:
    """``certificates``: a folder of :mod:`benchmarks.certificates`."""
    starters: dict[str, Callable[[Server, Path, Path], list[str]]] = {
        "http": _minio, "https": _minio, "azure": _azurite, "gcs": _fake_gcs,
    }  # fmt: skip
    server = Server(kind, free_port())
    directory.mkdir(parents=True)
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(directory), "MINIO_BROWSER": "off", "MINIO_UPDATE": "off",
        "MINIO_ROOT_USER": USER, "MINIO_ROOT_PASSWORD": PASSWORD, "MINIO_PROMETHEUS_AUTH_TYPE": "public",
    }  # fmt: skip
    command = starters[kind](server, directory, certificates)
    log = directory / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    server.pid = process.pid
    try:
        _wait(server, process, log)
        if kind == "azure":
            _create_container(server)
        yield server
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(directory)


def _minio(server: Server, directory: Path, certificates: Path) -> list[str]:
    (directory / "data" / BUCKET).mkdir(parents=True)  # a folder of its one drive is a bucket
    binary = str(tools.ensure(["minio"])["minio"])
    command = [binary, "server", "--quiet", "--address", f"127.0.0.1:{server.port}"]
    if server.kind == "https":
        server.authority = certificates / "CAs" / "ca.crt"
        server.context = ssl.create_default_context(cafile=str(server.authority))
        command += ["--certs-dir", str(certificates)]
    return [*command, str(directory / "data")]


def _azurite(server: Server, directory: Path, _certificates: Path) -> list[str]:
    binary = str(tools.ensure(["azurite"])["azurite"])
    return [
        binary, "--silent", "--skipApiVersionCheck", "--disableTelemetry", "--location", str(directory / "data"),
        "--blobHost", "127.0.0.1", "--blobPort", str(server.port), "--blobKeepAliveTimeout", "120",
    ]  # fmt: skip


def _create_container(server: Server) -> None:
    from azure.storage.blob import BlobServiceClient  # noqa: PLC0415  0.5 s, for this server alone

    account = f"{server.url}/{AZURITE_ACCOUNT}"
    with BlobServiceClient(account, {"account_name": AZURITE_ACCOUNT, "account_key": AZURITE_KEY}) as client:
        client.create_container(BUCKET)


def _fake_gcs(server: Server, directory: Path, _certificates: Path) -> list[str]:
    binary = str(tools.ensure(["fake-gcs-server"])["fake-gcs-server"])
    (directory / "data" / BUCKET).mkdir(parents=True)
    return [
        binary, "-scheme", "http", "-host", "127.0.0.1", "-port", str(server.port), "-backend", "filesystem",
        "-filesystem-root", str(directory / "data"), "-public-host", f"127.0.0.1:{server.port}",
        "-external-url", server.url, "-log-level", "error",
    ]  # fmt: skip


def _wait(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    paths = {"azure": "/", "gcs": "/storage/v1/b"}
    url = server.url + paths.get(server.kind, "/minio/health/cluster")
    deadline = time.monotonic() + _START_TIMEOUT
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5, context=server.context):
                return
        except urllib.error.HTTPError as error:
            if error.code < 500:  # it answers, even if not to us
                return
        except OSError:
            pass
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the {server.kind} store does not start: {log.read_text()}")
        time.sleep(0.05)  # another process: there is nothing to wait on
