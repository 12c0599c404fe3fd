"""Over a real HTTPS server with a datacenter's identity, and over the API server's proxy with a scripted client."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from aiohttp import web

from agent import routes
from agent.protocol import TOKEN_HEADER, Endpoint, Kind, Location, Node, SnapshotSpec, State, StoreOptions
from controller.client import RawResponse
from controller.errors import ConnectionFailed
from reconcilers.agents import (
    Address,
    AgentRefused,
    Agents,
    AgentUnreachable,
    DirectTransport,
    ProxyTransport,
    UnknownOperation,
)
from reconcilers.identity import MasterKey

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

MASTER = MasterKey(b"k" * 32)
UID = "dc-uid"
OPERATION = {"id": "a", "kind": "snapshot", "state": "Running", "revision": 7, "session": "s"}
RECORD = {"format": 1, "tag": "t", "backupId": "b", "cluster": "c", "datacenter": "d", "nodes": []}
ADDRESS = Address("ns", "p-0", "uid", "127.0.0.1", UID)
LOCATION = Location(backup_type="AWS_S3", target="bucket/p", endpoint=Endpoint(url="https://m", path_style=True))


class Server:
    """Answers what ``answer`` says and keeps what it was asked."""

    def __init__(self) -> None:
        self.answer: tuple[int, Any] = (200, OPERATION)
        self.requests: list[web.Request] = []
        self.bodies: list[bytes] = []
        self.port = 0
        self.headers: dict[str, str] = {}
        self.hang: asyncio.Event | None = None

    async def handle(self, request: web.Request) -> web.Response:
        self.requests.append(request)
        self.bodies.append(await request.read())
        if self.hang is not None:
            await self.hang.wait()
        status, body = self.answer
        data = body if isinstance(body, bytes) else msgspec.json.encode(body)
        return web.Response(status=status, body=data, content_type="application/json", headers=self.headers)


@asynccontextmanager
async def serving(tmp_path: Path, uid: str = UID) -> AsyncIterator[Server]:
    identity = MASTER.identity(uid)
    (tmp_path / "crt").write_text(identity.certificate)
    (tmp_path / "key").write_text(identity.private_key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "crt", tmp_path / "key")
    server = Server()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    server.port = runner.addresses[0][1]
    try:
        yield server
    finally:
        await runner.cleanup()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with serving(tmp_path) as found:
        yield found


@pytest.fixture
async def direct(server: Server) -> AsyncIterator[Agents]:
    transport = DirectTransport(MASTER, server.port)
    yield Agents(transport, MASTER)
    await transport.close()


@pytest.mark.parametrize("status", [200, 201])
async def test_put(direct: Agents, server: Server, status: int) -> None:
    server.answer = (status, OPERATION)
    operation = await direct.put(ADDRESS, "uid.snapshot.1", Kind.SNAPSHOT, SnapshotSpec(tag="t"))
    assert (operation.state, operation.revision) == (State.RUNNING, 7)
    request = server.requests[0]
    assert (request.method, request.path) == ("PUT", "/v1/operations/uid.snapshot.1")
    assert request.headers[TOKEN_HEADER] == MASTER.token(UID)
    assert "Authorization" not in request.headers
    assert msgspec.json.decode(server.bodies[0]) == {"kind": "snapshot", "spec": {"tag": "t"}}


async def test_poll(direct: Agents, server: Server) -> None:
    await direct.poll(ADDRESS, "a", since=7, wait=30)
    assert (server.requests[0].method, dict(server.requests[0].query)) == ("GET", {"since": "7", "wait": "30"})


async def test_cancel(direct: Agents, server: Server) -> None:
    await direct.cancel(ADDRESS, "a")
    assert (server.requests[0].method, server.requests[0].path) == ("DELETE", "/v1/operations/a")


async def test_ids_are_quoted(direct: Agents, server: Server) -> None:
    await direct.cancel(ADDRESS, "a b?c")
    assert server.requests[0].raw_path == "/v1/operations/a%20b%3Fc"


@pytest.mark.parametrize(
    ("status", "body", "error", "reason", "text"),
    [
        (404, {"error": "no such", "reason": "UnknownOperation"}, UnknownOperation, "UnknownOperation", "not know"),
        (409, {"error": "another spec", "reason": "OtherSpec"}, AgentRefused, "OtherSpec", "another spec"),
        (401, {"error": "the token is wrong", "reason": "Unauthorized"}, AgentRefused, "Unauthorized", "token"),
        (400, {"error": "bad", "reason": "InvalidSpec"}, AgentRefused, "InvalidSpec", "bad"),
        (405, {"error": "no", "reason": ""}, AgentRefused, "AgentRefused", "no"),
        (418, b"<html>", AgentRefused, "AgentRefused", "answered 418"),
        (302, b"", AgentRefused, "AgentRefused", "answered 302"),
        (503, b"", AgentUnreachable, "AgentUnreachable", "answered 503"),
        (503, {"error": "it stops", "reason": "Stopping"}, AgentUnreachable, "AgentUnreachable", "it stops"),
        (500, {"error": "a bug", "reason": "Internal"}, AgentUnreachable, "AgentUnreachable", "a bug"),
    ],
)
async def test_answers_of_an_operation(
    direct: Agents, server: Server, *, status: int, body: Any, error: type[Exception], reason: str, text: str
) -> None:
    server.answer = (status, body)
    server.headers = {"Location": "https://elsewhere/"}
    with pytest.raises(error, match=text) as e:
        await direct.poll(ADDRESS, "a", since=0, wait=1)
    assert e.value.reason == reason
    assert e.type is error
    assert len(server.requests) == 1, "no redirect is followed: it would take the token along"


async def test_a_bad_answer_is_an_error_of_its_own(direct: Agents, server: Server) -> None:
    server.answer = (200, b"{}")
    with pytest.raises(msgspec.ValidationError):
        await direct.poll(ADDRESS, "a", since=0, wait=1)


async def test_node(direct: Agents, server: Server) -> None:
    server.answer = (200, {"session": "s", "agentVersion": "1", "schemaVersion": "v", "unheardOf": 1})
    assert (await direct.node(ADDRESS)).schema_version == "v"
    assert server.requests[0].path == "/v1/node"


async def test_cluster_record(direct: Agents, server: Server) -> None:
    server.answer = (200, RECORD)
    found = await direct.cluster_record(ADDRESS, LOCATION, cluster="c", datacenter="d", tag="a/b")
    assert found.tag == "t"
    assert server.requests[0].raw_path.startswith("/v1/catalog/backups/a%2Fb?")
    assert dict(server.requests[0].query) == {
        "backupType": "AWS_S3", "target": "bucket/p", "cluster": "c", "datacenter": "d", "endpointUrl": "https://m",
        "pathStyle": "true",
    }  # fmt: skip


async def test_a_record_by_its_tag_alone(direct: Agents, server: Server) -> None:
    server.answer = (200, RECORD)
    await direct.cluster_record(ADDRESS, LOCATION, tag="t", manifests=True)
    query = dict(server.requests[0].query)
    assert query.keys() == {"backupType", "target", "manifests", "endpointUrl", "pathStyle"}
    assert query["manifests"] == "true"


async def test_a_location_is_read_as_it_was_told(direct: Agents, server: Server) -> None:
    endpoint = Endpoint(url="https://m", region="r", path_style=False, ca_file="/ca/ca.crt")
    told = Location(
        backup_type="AWS_S3", target="b/p", endpoint=endpoint, credentials="/keys",
        options=StoreOptions(requester_pays=True),
    )  # fmt: skip
    server.answer = (200, {"names": [], "total": 0})
    await direct.backup_names(ADDRESS, told, limit=1)
    assert routes.location(server.requests[0]) == told


async def test_backup_names(direct: Agents, server: Server) -> None:
    server.answer = (200, {"names": [{"cluster": "c", "datacenter": "d", "tag": "t"}], "total": 7})
    found = await direct.backup_names(ADDRESS, LOCATION, limit=1)
    assert (found.total, found.names[0].tag) == (7, "t")
    assert server.requests[0].path == "/v1/catalog/names"
    assert server.requests[0].query["limit"] == "1"


@pytest.mark.parametrize(
    ("status", "reason"),
    [(404, "BackupNotFound"), (502, "BucketMissing"), (502, "CredentialsRefused"), (500, "Internal")],
)
async def test_what_the_bucket_says_is_the_agents_word(
    direct: Agents, server: Server, status: int, reason: str
) -> None:
    server.answer = (status, {"error": "the store's own words", "reason": reason})
    with pytest.raises(AgentRefused, match="the store's own words") as e:
        await direct.cluster_record(ADDRESS, LOCATION, cluster="c", datacenter="d", tag="t")
    assert e.value.reason == reason


async def test_nobody_listens(server: Server) -> None:
    transport = DirectTransport(MASTER, 1)
    with pytest.raises(AgentUnreachable, match="the agent of p-0 does not answer"):
        await Agents(transport, MASTER).cancel(ADDRESS, "a")
    await transport.close()


async def test_a_hanging_agent_is_left(direct: Agents, server: Server) -> None:
    server.hang = asyncio.Event()
    with pytest.raises(AgentUnreachable):
        await direct._call(ADDRESS, "GET", "/v1/node", Node, timeout=0.05)
    server.hang.set()


async def test_another_datacenters_agent_gets_no_token(tmp_path: Path) -> None:
    async with serving(tmp_path, "other-dc") as server:
        transport = DirectTransport(MASTER, server.port)
        with pytest.raises(AgentUnreachable, match="Hostname mismatch"):
            await Agents(transport, MASTER).cancel(ADDRESS, "a")
        await transport.close()
        assert server.requests == []


class ScriptedClient:
    def __init__(self, *answers: RawResponse | Exception) -> None:
        self.answers = list(answers)
        self.calls: list[tuple[str, str, dict[str, Any]]] = []

    async def raw(self, method: str, path: str, **named: Any) -> RawResponse:
        self.calls.append((method, path, named))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def proxied(*answers: Any) -> tuple[Agents, ScriptedClient]:
    client = ScriptedClient(*(a if isinstance(a, Exception) else RawResponse(a[0], {}, a[1]) for a in answers))
    return Agents(ProxyTransport(client, 4567), MASTER), client  # type: ignore[arg-type]


async def test_proxy_paths_and_headers() -> None:
    through, client = proxied((200, msgspec.json.encode(OPERATION)), (200, msgspec.json.encode(OPERATION)))
    await through.poll(ADDRESS, "a", since=7, wait=30)
    await through.put(ADDRESS, "a", Kind.SNAPSHOT, SnapshotSpec(tag="t"))
    method, path, named = client.calls[0]
    assert (method, path) == ("GET", "/api/v1/namespaces/ns/pods/https:p-0:4567/proxy/v1/operations/a")
    assert named["query"] == {"since": "7", "wait": "30"}
    assert named["headers"][TOKEN_HEADER] == MASTER.token(UID)
    assert named["timeout"] == 40
    assert client.calls[1][0] == "PUT"


STATUS = b'{"kind":"Status","apiVersion":"v1","status":"Failure","message":"%s","reason":"x","code":%d}'


@pytest.mark.parametrize("code", [400, 403, 404, 502, 503, 504])
async def test_the_api_servers_own_no_is_not_the_agents(code: int) -> None:
    through, _ = proxied((code, STATUS % (b"pods p-0 not found", code)))
    with pytest.raises(AgentUnreachable, match="pods p-0 not found"):
        await through.poll(ADDRESS, "a", since=0, wait=1)


async def test_the_agents_no_through_the_proxy() -> None:
    through, _ = proxied((404, b'{"error":"x","reason":"UnknownOperation"}'), (503, b"gateway"))
    with pytest.raises(UnknownOperation):
        await through.poll(ADDRESS, "a", since=0, wait=1)
    with pytest.raises(AgentUnreachable):
        await through.poll(ADDRESS, "a", since=0, wait=1)


async def test_no_api_server() -> None:
    through, _ = proxied(ConnectionFailed("refused"))
    with pytest.raises(AgentUnreachable, match="refused"):
        await through.cancel(ADDRESS, "a")
