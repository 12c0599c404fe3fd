"""One real Cassandra on the loopback address, from the jars that the image is built of, with Jolokia beside it."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import yaml

from benchmarks.paths import REPO, free_port
from dev.bed import fetch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STORAGE_SERVICE = "org.apache.cassandra.db:type=StorageService"
COMPACTIONS = "org.apache.cassandra.db:type=CompactionManager"
ADDRESS = "127.0.0.1"
_START_TIMEOUT = 180.0


class Cassandra:
    """A running node."""

    def __init__(self, directory: Path, native: int, jolokia: int) -> None:
        self.directory = directory
        self.native = native
        self._jolokia = jolokia

    @property
    def data(self) -> Path:
        return self.directory / "data"

    def exec(self, mbean: str, operation: str, *arguments: Any) -> Any:
        """A JMX operation, to its end."""
        return self._post({"type": "exec", "mbean": mbean, "operation": operation, "arguments": list(arguments)})

    def read(self, attribute: str) -> Any:
        return self._post({"type": "read", "mbean": STORAGE_SERVICE, "attribute": attribute})

    def flush(self, keyspace: str, *tables: str) -> None:
        self.exec(STORAGE_SERVICE, "forceKeyspaceFlush(java.lang.String,[Ljava.lang.String;)", keyspace, list(tables))

    def compact(self, data_files: list[str]) -> None:
        self.exec(COMPACTIONS, "forceUserDefinedCompaction(java.lang.String)", ",".join(data_files))

    def snapshot(self, name: str) -> None:
        operation = "takeSnapshot(java.lang.String,java.util.Map,[Ljava.lang.String;)"
        self.exec(STORAGE_SERVICE, operation, name, {}, [])

    def _post(self, request: dict[str, Any]) -> Any:
        connection = http.client.HTTPConnection(ADDRESS, self._jolokia, timeout=600)
        try:
            connection.request("POST", "/jolokia/", json.dumps(request))
            answer = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        if answer.get("status") != 200:
            raise RuntimeError(f"Cassandra refused {request}: {answer.get('error')}")
        return answer.get("value")


@contextmanager
def running(directory: Path) -> Iterator[Cassandra]:
    """A node that has ``directory`` for itself; ended by its process."""
    native, storage, jmx, jolokia = (free_port() for _ in range(4))
    configuration = _configuration(directory, native, storage)
    (agent,) = fetch.jars("operator").glob("jolokia-*.jar")
    home = directory / "home"
    home.mkdir()
    (home / "lib").symlink_to(fetch.jars("cassandra"))
    extra = [
        f"-javaagent:{agent}=host={ADDRESS},port={jolokia},discoveryEnabled=false",
        f"-Dcassandra.storagedir={directory}",
        "-XX:-AlwaysPreTouch",
    ]
    environment = {
        "PATH": os.environ["PATH"], "CASSANDRA_HOME": str(home), "CASSANDRA_CONF": str(configuration),
        "CASSANDRA_LOG_DIR": str(directory / "logs"), "JMX_PORT": str(jmx), "MAX_HEAP_SIZE": "1536M",
        "JVM_EXTRA_OPTS": " ".join(extra),
    }  # fmt: skip
    command = [str(REPO / "images/cassandra/bin/cassandra"), "-f", "-R"]
    log = directory / "cassandra.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    node = Cassandra(directory, native, jolokia)
    try:
        _wait(node, process, log)
        yield node
    finally:
        process.terminate()
        process.wait(60)


def _configuration(directory: Path, native: int, storage: int) -> Path:
    """Memtables off the heap and large: an SSTable of 200 MB is one flush."""
    target = directory / "conf"
    shutil.copytree(REPO / "images/cassandra/conf", target)
    settings = yaml.safe_load((target / "cassandra.yaml").read_text())
    settings |= {
        "storage_port": storage, "native_transport_port": native, "memtable_allocation_type": "offheap_objects",
        "memtable_offheap_space": "1024MiB", "memtable_flush_writers": 1,
        "seed_provider": [
            {
                "class_name": "org.apache.cassandra.locator.SimpleSeedProvider",
                "parameters": [{"seeds": f"{ADDRESS}:{storage}"}],
            }
        ],
    }  # fmt: skip
    (target / "cassandra.yaml").write_text(yaml.safe_dump(settings))
    return target


def _wait(node: Cassandra, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT
    while True:
        try:
            if node.read("NativeTransportRunning") is True:
                return
        except (OSError, http.client.HTTPException, RuntimeError):
            pass
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"Cassandra does not start: {log.read_text()[-4000:]}")
        time.sleep(0.2)  # another process: there is nothing to wait on
