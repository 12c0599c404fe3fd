"""Cassandra behind Jolokia, as far as the agent asks: attributes, takeSnapshot and clearSnapshot on real files."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any, Self

from aiohttp import web

if TYPE_CHECKING:
    import asyncio

    from tests.fakes.sstables import NodeData

HOST_ID = "7d9b1c3e-0000-4000-8000-00000000000a"
ATTRIBUTES: dict[str, Any] = {
    "OperationMode": "NORMAL", "LocalHostId": HOST_ID, "ReleaseVersion": "5.0.6", "SchemaVersion": "5e1d",
    "ClusterName": "test", "PartitionerName": "org.apache.cassandra.dht.Murmur3Partitioner",
    "Tokens": ["-3074457345618258603", "3074457345618258602"], "LiveNodes": ["10.0.0.1"], "UnreachableNodes": [],
    "JoiningNodes": [], "NativeTransportRunning": True,
}  # fmt: skip


class FakeCassandra:
    """``async with``. ``attributes`` may be changed; ``errors`` are answered, one an exec, before anything is done."""

    def __init__(self, data: NodeData) -> None:
        self.data = data
        self.attributes = dict(ATTRIBUTES)
        self.errors: list[str] = []
        self.after_snapshot: list[Any] = []  # called with the snapshot's name, once each, after it was taken
        self.executed: list[tuple[str, Any]] = []
        self.ring: dict[str, tuple[str, list[str], str, str]] = {}  # address -> host id, tokens, datacenter, rack
        self.keyspaces: list[str] = []  # without a table
        self.deaf = False  # takes all tables, whatever was asked for
        self.hold: asyncio.Event | None = None  # takeSnapshot waits for it
        self.down = False
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/jolokia/", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/jolokia"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.Response:
        if self.down:
            return web.Response(status=500, text="<html>down</html>")
        answers = [await self._answer(one) for one in await request.json()]
        return web.json_response(answers)

    async def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if request["type"] == "read":
            return {"status": 200, "value": self._read(request)}
        if request["type"] == "search":
            assert request["mbean"] == "org.apache.cassandra.db:type=Tables,*"
            return {"status": 200, "value": [self._mbean(name) for name in self.data.names()]}
        if request["mbean"].endswith("type=EndpointSnitchInfo"):
            _, _, datacenter, rack = self.ring[request["arguments"][0]]
            return {"status": 200, "value": rack if request["operation"].startswith("getRack(") else datacenter}
        self.executed.append((request["operation"].partition("(")[0], request["arguments"]))
        if self.errors:
            return {"status": 500, "error": self.errors.pop(0), "stacktrace": "at java.lang..."}
        name = request["arguments"][0]
        if request["operation"].startswith("takeSnapshot("):
            if self.hold is not None:
                await self.hold.wait()
            entities = request["arguments"][2]
            if refusal := self._refuses(name, entities):
                return {"status": 500, "error": refusal}
            self.data.snapshot(name, [] if self.deaf else entities)
            if self.after_snapshot:
                self.after_snapshot.pop(0)(name)
        else:
            assert request["operation"].startswith("clearSnapshot("), request
            assert name, "an empty tag clears every snapshot there is"
            for path in self.data.snapshots(name):
                shutil.rmtree(path)
        return {"status": 200, "value": None}

    def _refuses(self, name: str, entities: list[str]) -> str:
        """As Cassandra does: keyspaces or tables, each there, and none that has such a snapshot."""
        tables = bool(entities) and "." in entities[0]
        if any(("." in one) != tables for one in entities):
            return "java.lang.IllegalArgumentException : You must supply a column family name"
        known = {*self.data.names(), *(one.partition(".")[0] for one in self.data.names()), *self.keyspaces}
        if gone := [one for one in entities if one not in known]:
            return f"java.lang.IllegalArgumentException : {gone[0]} does not exist"
        taken = {f"{path.parts[-4]}.{path.parts[-3].rpartition('-')[0]}" for path in self.data.snapshots(name)}
        taken |= {one.partition(".")[0] for one in taken if not tables}
        if not self.deaf and taken & set(entities or taken):
            return f"java.io.IOException : Snapshot {name} already exists."
        return ""

    @staticmethod
    def _mbean(table: str) -> str:
        keyspace, _, name = table.partition(".")
        return f"org.apache.cassandra.db:keyspace={keyspace},table={name},type=Tables"

    def _read(self, request: dict[str, Any]) -> Any:
        if request["attribute"] == "SchemaVersions":
            return {"5e1d": ["10.0.0.1"]}
        if "EndpointToHostId" in request["attribute"]:
            return {
                "EndpointToHostId": {address: one[0] for address, one in self.ring.items()},
                "TokenToEndpointMap": {token: address for address, one in self.ring.items() for token in one[1]},
            }
        if request["attribute"] == ["Keyspaces"]:
            return {"Keyspaces": sorted({one.partition(".")[0] for one in self.data.names()} | {*self.keyspaces})}
        return {name: self.attributes.get(name, "ERROR: no such attribute") for name in request["attribute"]}
