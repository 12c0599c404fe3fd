"""A real agent beside a fake Cassandra, in front of a real store: killed, started again, and its bytes counted."""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import aiohttp

from benchmarks import certificates
from tests.contract.minio import PASSWORD, USER
from tests.contract.server import ROOT
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

CLUSTER, DATACENTER, NODE = "my cluster", "dc1", "c-0"


class Counter:
    """Forwards TCP to a port and counts what goes there. ``reached`` waits for a count."""

    def __init__(self) -> None:
        self.bytes = 0
        self.port = 0
        self._more = asyncio.Event()

    async def reached(self, count: int) -> None:
        while self.bytes < count:
            self._more.clear()
            await self._more.wait()

    def count(self, size: int) -> None:
        self.bytes += size
        self._more.set()


@asynccontextmanager
async def counting(target: int) -> AsyncIterator[Counter]:
    counter = Counter()
    links: set[asyncio.Task[None]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool) -> None:
        while data := await reader.read(1 << 18):
            if up:
                counter.count(len(data))
            writer.write(data)
            await writer.drain()
        writer.write_eof()

    async def link(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        links.add(task)
        task.add_done_callback(links.discard)
        with suppress(OSError, RuntimeError, asyncio.CancelledError):
            there, back = await asyncio.open_connection("127.0.0.1", target)
            try:
                await asyncio.gather(pump(reader, back, up=True), pump(there, writer, up=False))
            finally:
                writer.transport.abort()
                back.transport.abort()

    server = await asyncio.start_server(link, "127.0.0.1", 0, limit=1 << 18)
    counter.port = server.sockets[0].getsockname()[1]
    try:
        yield counter
    finally:
        server.close()
        for one in links:
            one.cancel()
        await asyncio.gather(*links, return_exceptions=True)


class Agent:
    """``python -m agent serve``, and a client of it that bears its absence."""

    def __init__(self, root: Path, jolokia: str, data: Path) -> None:
        self._credentials = certificates.make(root / "credentials")
        self._port = free_port()
        (root / "cassandra.yaml").write_text("num_tokens: 16\n")
        self._environment = {
            "PATH": os.environ["PATH"], "HOME": str(root), "POD_NAME": NODE, "POD_IP": "127.0.0.1",
            "AGENT_PORT": str(self._port), "AGENT_CREDENTIALS_DIR": str(self._credentials), "JOLOKIA_URL": jolokia,
            "CASSANDRA_DATA_DIRS": str(data), "AGENT_STATE_DIR": str(root / "state"), "CASSANDRA_CONF": str(root),
            "AWS_ACCESS_KEY_ID": USER, "AWS_SECRET_ACCESS_KEY": PASSWORD, "AWS_EC2_METADATA_DISABLED": "true",
        }  # fmt: skip
        self.log = root / "agent.log"
        self._process: asyncio.subprocess.Process | None = None
        self._token = (self._credentials / "token").read_text()
        self._tls = ssl.create_default_context(cafile=str(self._credentials / "CAs" / "ca.crt"))

    async def start(self) -> None:
        output = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "agent", "serve", env=self._environment, cwd=ROOT, stdout=output, stderr=output
            )
        finally:
            os.close(output)

    async def kill(self) -> None:
        assert self._process is not None
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    async def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """As soon as an agent answers."""
        while True:
            try:
                async with aiohttp.ClientSession(headers={"X-Agent-Token": self._token}) as session:
                    url = f"https://127.0.0.1:{self._port}{path}"
                    async with session.request(method, url, json=body, ssl=self._tls) as answer:
                        assert answer.status < 300, await answer.text()
                        found: dict[str, Any] = await answer.json()
                        return found
            except (aiohttp.ClientError, OSError):
                await asyncio.sleep(0.05)  # another process: there is nothing to wait on

    async def over(self, name: str) -> dict[str, Any]:
        """The operation, when it is over; over any number of processes."""
        revision = 0
        while True:
            operation = await self.ask("GET", f"/v1/operations/{name}?since={revision}&wait=30")
            if operation["state"] not in {"Pending", "Running"}:
                return operation
            revision = operation["revision"]
