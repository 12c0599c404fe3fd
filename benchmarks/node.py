"""A node without its Cassandra: a data directory, and a Jolokia that takes snapshots of what a data set holds.

A snapshot is hard links to the SSTables, and fresh copies of the two files that Cassandra writes into each. What that
takes is counted in ``seconds``: it is Cassandra's work and no tool's.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from benchmarks.dataset import BESIDE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.dataset import DataSet

HOST_ID = "7d9b1c3e-0000-4000-8000-00000000000b"
TOKENS = [str(-(2**63) + number * 2**59) for number in range(1, 17)]
_FACTS: dict[str, Any] = {
    "OperationMode": "NORMAL", "LocalHostId": HOST_ID, "ReleaseVersion": "5.0.6", "SchemaVersion": "5e1d",
    "ClusterName": "bench", "PartitionerName": "org.apache.cassandra.dht.Murmur3Partitioner", "Tokens": TOKENS,
    "LiveNodes": ["127.0.0.1"], "UnreachableNodes": [], "JoiningNodes": [], "NativeTransportRunning": True,
}  # fmt: skip


class Node:
    """``state`` says which of the data set's states a snapshot catches."""

    def __init__(self, dataset: DataSet, directory: Path) -> None:
        self.dataset = dataset
        self.state = "a"
        self.data = directory / "data"
        self.data.mkdir(parents=True)
        self.seconds = 0.0
        self.url = ""

    def take(self, name: str) -> None:
        for table in _tables(self.dataset.state(self.state)):
            target = self.data / table.parent.name / table.name / "snapshots" / name
            target.mkdir(parents=True)
            link(table, target)

    def clear(self, name: str) -> None:
        for snapshot in self.data.glob(f"*/*/snapshots/{name}"):
            shutil.rmtree(snapshot)

    def tree(self, target: Path) -> Path:
        """The state as a plain tree, for a tool that knows no snapshots."""
        for table in _tables(self.dataset.state(self.state)):
            below = target / table.parent.name / table.name
            below.mkdir(parents=True)
            link(table, below)
        return target

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if request["type"] == "read":
            wanted = request["attribute"]
            if isinstance(wanted, str):
                return {"status": 200, "value": {"5e1d": ["127.0.0.1"]}}
            return {"status": 200, "value": {name: _FACTS[name] for name in wanted if name in _FACTS}}
        began = time.monotonic()
        act = self.take if request["operation"].startswith("takeSnapshot") else self.clear
        act(request["arguments"][0])
        self.seconds += time.monotonic() - began
        return {"status": 200, "value": None}


def _tables(state: Path) -> list[Path]:
    return sorted(path for path in state.glob("*/*") if path.is_dir())


def link(source: Path, target: Path) -> None:
    for entry in os.scandir(source):
        if entry.name in BESIDE:
            shutil.copyfile(entry.path, target / entry.name)
        else:
            os.link(entry.path, target / entry.name)


@contextmanager
def serving(dataset: DataSet, directory: Path) -> Iterator[Node]:
    node = Node(dataset, directory)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found = [node.answer(one) for one in asked] if isinstance(asked, list) else node.answer(asked)
            body = json.dumps(found).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    node.url = f"http://127.0.0.1:{server.server_port}/jolokia"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield node
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
