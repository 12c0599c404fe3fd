"""The API over real TLS: who may ask, and what every answer looks like."""

from __future__ import annotations

import asyncio
import datetime as dt
import io
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agent import catalog, routes, server
from agent.catalog import NodePath
from agent.errors import AgentError
from agent.protocol import (
    BackupNames,
    ClusterRecord,
    CommitSpec,
    Kind,
    Location,
    Node,
    Operation,
    RecordedNode,
    State,
)
from agent.serve import Agent, inspect
from backends.base import BytesBody, ObjectMeta
from backends.errors import Kind as StoreKind
from tests.fakes.faulty_store import Fault, FaultyStore
from tests.fakes.faulty_store import error as store_error
from tests.fakes.jolokia import HOST_ID
from tests.unit.agent.conftest import LOCATION, digest_of, request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from backends.base import ObjectStore
    from tests.unit.agent.conftest import World

TOKEN = "s3cret-token"
QUERY = {"backupType": "MEMORY", "target": "bucket", "cluster": "my cluster"}


def write_credentials(directory: Path) -> None:
    directory.mkdir()
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "agent")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("agent")]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    (directory / "tls.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pem, pkcs8, bare = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (directory / "tls.key").write_bytes(key.private_bytes(pem, pkcs8, bare))
    (directory / "token").write_text(TOKEN + "\n")


class Api:
    def __init__(self, session: aiohttp.ClientSession, port: int, tls: ssl.SSLContext) -> None:
        self.session = session
        self.url = f"https://127.0.0.1:{port}"
        self.tls = tls

    async def __call__(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, **more: Any
    ) -> tuple[int, Any]:
        headers = {"X-Agent-Token": TOKEN} if headers is None else headers
        async with self.session.request(
            method, self.url + path, headers=headers, ssl=self.tls, server_hostname="agent", **more
        ) as response:
            body = await response.read()
            kind = response.content_type
            return response.status, msgspec.json.decode(body) if kind == "application/json" else body.decode()


@asynccontextmanager
async def serving(world: World, run: Any) -> AsyncIterator[Api]:
    """``run(stop, started)`` in the background; the API once it listens."""
    write_credentials(world.settings.credentials_dir)
    stop, ports = asyncio.Event(), asyncio.Queue[int]()
    enter = server.Server.__aenter__

    async def entered(self: server.Server) -> server.Server:
        found = await enter(self)
        ports.put_nowait(found.port)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server.Server, "__aenter__", entered)
        task = asyncio.create_task(run(stop))
        listening = asyncio.create_task(ports.get())
        await asyncio.wait([task, listening], return_when=asyncio.FIRST_COMPLETED)
        if not listening.done():
            listening.cancel()
            await task
        tls = ssl.create_default_context(cafile=str(world.settings.credentials_dir / "tls.crt"))
        try:
            async with aiohttp.ClientSession() as session:
                yield Api(session, listening.result(), tls)
        finally:
            stop.set()
            async with asyncio.timeout(10):
                await task


@pytest.fixture
async def api(world: World) -> AsyncIterator[Api]:
    agent = Agent(world.settings, open_store=world.open_store)
    async with serving(world, agent.run) as api:
        yield api


SNAPSHOT = msgspec.to_builtins(request(Kind.SNAPSHOT, {"tag": "t1"}))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Agent-Token": "wrong"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": "Bearer "},
        {"X-Agent-Token": "é"},
    ],
)
async def test_without_the_token_nothing_is_told(api: Api, headers: dict[str, str]) -> None:
    for method, path in (
        ("GET", "/v1/node"),
        ("PUT", "/v1/operations/a"),
        ("GET", "/v1/operations/a"),
        ("GET", "/nowhere"),
    ):
        status, body = await api(method, path, headers=headers)
        assert (status, body["reason"]) == (401, "Unauthorized")


@pytest.mark.parametrize("headers", [{"X-Agent-Token": TOKEN}, {"Authorization": f"Bearer {TOKEN}"}])
async def test_both_headers_let_in(api: Api, headers: dict[str, str]) -> None:
    status, body = await api("GET", "/v1/node", headers=headers)
    node = msgspec.convert(body, Node)
    assert status == 200
    assert (node.host_id, node.state, node.pod) == (HOST_ID, "NORMAL", "c-0")
    assert node.data_directories[0].free > 0


async def test_kubelet_and_prometheus_need_no_token(api: Api, world: World) -> None:
    assert (await api("GET", "/healthz", headers={}))[0] == 200
    assert (await api("GET", "/readyz", headers={}))[0] == 200
    status, text = await api("GET", "/metrics", headers={})
    assert status == 200
    assert 'cassandra_agent_operations_total{kind="backup",state="Succeeded"} 0.0' in text
    world.cassandra.attributes["OperationMode"] = "JOINING"
    status, body = await api("GET", "/readyz", headers={})
    assert (status, "JOINING" in body["error"]) == (503, True)
    world.cassandra.down = True
    assert (await api("GET", "/readyz", headers={}))[0] == 503
    assert msgspec.convert((await api("GET", "/v1/node"))[1], Node).state == "DOWN"
    assert (await api("GET", "/healthz", headers={}))[0] == 200


async def test_an_operation_from_put_to_its_end(api: Api) -> None:
    status, body = await api("PUT", "/v1/operations/a", json=SNAPSHOT)
    assert status == 201
    while not (operation := msgspec.convert(body, Operation)).state.final:
        status, body = await api("GET", f"/v1/operations/a?since={operation.revision}&wait=10")
        assert status == 200
    assert operation.state is State.SUCCEEDED
    assert (await api("PUT", "/v1/operations/a", json=SNAPSHOT))[0] == 200
    other = msgspec.to_builtins(request(Kind.SNAPSHOT, {"tag": "other"}))
    status, body = await api("PUT", "/v1/operations/a", json=other)
    assert (status, body["reason"]) == (409, "OtherSpec")
    assert (await api("DELETE", "/v1/operations/a"))[1]["state"] == "Succeeded"
    assert [found["id"] for found in (await api("GET", "/v1/operations"))[1]] == ["a"]
    assert (
        'cassandra_agent_operations_total{kind="snapshot",state="Succeeded"} 1.0' in (await api("GET", "/metrics"))[1]
    )


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_an_unknown_operation_is_404(api: Api, method: str) -> None:
    status, body = await api(method, "/v1/operations/never?since=0&wait=0")
    assert (status, body["reason"]) == (404, "UnknownOperation")


async def test_a_request_that_comes_after_its_cancellation_is_refused(api: Api) -> None:
    assert (await api("DELETE", "/v1/operations/late"))[0] == 404
    status, body = await api("PUT", "/v1/operations/late", json=SNAPSHOT)
    assert (status, body["reason"]) == (410, "OperationWithdrawn")
    assert (await api("GET", "/v1/operations"))[1] == []


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/operations/a", b"{", 400),
        ("/v1/operations/a", b"[]", 400),
        ("/v1/operations/a", b'{"kind":"dance","spec":{}}', 400),
        ("/v1/operations/a", b'{"kind":"snapshot","spec":{}}', 400),
        ("/v1/operations/a", b'{"kind":"restore","spec":{}}', 400),
        ("/v1/operations/..%2Fa", msgspec.json.encode(SNAPSHOT), 400),
        ("/v1/operations/a%20b", msgspec.json.encode(SNAPSHOT), 400),
        ("/v1/operations/a", b" " * (1 << 20) + b"{}", 413),
    ],
)
async def test_odd_requests_are_refused_in_json(api: Api, path: str, body: bytes, status: int) -> None:
    got, answer = await api("PUT", path, data=io.BytesIO(body))
    assert got == status
    assert answer["error"]


@pytest.mark.parametrize("query", ["since=x", "since=0&wait=soon"])
async def test_odd_queries_are_refused(api: Api, query: str) -> None:
    status, body = await api("GET", f"/v1/operations/a?{query}")
    assert (status, body["reason"]) == (400, "InvalidSpec")


async def test_the_catalog_tells_what_the_bucket_holds(api: Api, world: World) -> None:
    async with world.agent() as agent:
        for tag in ("t1", "t10"):
            node = digest_of(await world.back_up(agent, tag, backup_id=tag))
            spec = CommitSpec(
                location=LOCATION, cluster="my cluster", datacenter="dc1", tag=tag, backup_id=tag, nodes=[node]
            )
            await world.do(agent, f"c-{tag}", Kind.COMMIT, spec)
    for query in (QUERY, QUERY | {"datacenter": "dc1", "pathStyle": "true", "endpointUrl": "http://x"}):
        status, body = await api("GET", "/v1/catalog/backups/t1", params=query)
        record = msgspec.convert(body, ClusterRecord)
        assert (status, record.tag, record.nodes[0].node) == (200, "t1", "c-0")
    status, body = await api("GET", "/v1/catalog/backups", params=QUERY)
    assert [found["tag"] for found in body] == ["t1", "t10"]
    status, body = await api("GET", "/v1/catalog/backups/t", params=QUERY)
    assert (status, body["reason"]) == (404, "BackupNotFound")
    status, body = await api("GET", "/v1/catalog/backups/t1", params=QUERY | {"datacenter": "dc2"})
    assert (status, body["reason"]) == (404, "BackupNotFound")
    status, body = await api("GET", "/v1/catalog/backups", params={"cluster": "c"})
    assert (status, body["reason"]) == (400, "InvalidSpec")


async def test_a_store_that_refuses_is_told_in_its_own_words(api: Api, world: World) -> None:
    faulty = FaultyStore(world.memory)
    faulty.fail("list", Fault(store_error(StoreKind.FORBIDDEN)))
    world.store = faulty
    status, body = await api("GET", "/v1/catalog/backups", params=QUERY)
    assert (status, body["reason"]) == (502, "AccessDenied")
    assert "as the test told" in body["error"]


async def test_a_bug_tells_nothing_but_that_it_is_one(api: Api, world: World) -> None:
    world.store = None  # type: ignore[assignment]
    status, body = await api("GET", "/v1/catalog/backups", params=QUERY)
    assert (status, body["reason"]) == (500, "Internal")
    assert "NoneType" not in body["error"]


async def test_sigterm_answers_those_who_wait_and_leaves_work_resumable(world: World) -> None:
    world.cassandra.hold = asyncio.Event()
    agent = Agent(world.settings, open_store=world.open_store)
    async with serving(world, agent.run) as api:
        operation = msgspec.convert((await api("PUT", "/v1/operations/a", json=SNAPSHOT))[1], Operation)
        while operation.phase != "Snapshotting":
            body = (await api("GET", f"/v1/operations/a?since={operation.revision}&wait=10"))[1]
            operation = msgspec.convert(body, Operation)
        waiting = asyncio.create_task(api("GET", f"/v1/operations/a?since={operation.revision}&wait=60"))
        await asyncio.sleep(0.05)
        stopping = asyncio.create_task(agent.operations.stop())
        async with asyncio.timeout(10):
            status, body = await waiting
            await stopping
        assert (status, body["state"]) == (200, "Running")
    world.cassandra.hold = None
    async with world.agent() as successor:
        await successor.operations.over("a")
        assert successor.operations.get("a").attempts == 2


def test_an_empty_token_is_no_token(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("\n")
    with pytest.raises(AgentError):
        server.read_token(tmp_path)


async def bring(world: World, *places: tuple[str, str, str]) -> None:
    """Records and a manifest of each place's one node: (cluster, datacenter, tag)."""
    for cluster, datacenter, tag in places:
        record = ClusterRecord(
            format=1, tag=tag, backup_id="b", cluster=cluster, datacenter=datacenter,
            nodes=[RecordedNode(node="n-0", rack="r", host_id="h", digest="d")],
        )  # fmt: skip
        await world.memory.put(catalog.record_key(cluster, tag, datacenter), BytesBody(msgspec.json.encode(record)))
        await world.memory.put(catalog.schema_key(cluster, tag, datacenter), BytesBody(b"-- schema"))
        await world.memory.put(NodePath(cluster, datacenter, "n-0").manifest(tag), BytesBody(b"x"))


PLACE = {"backupType": "MEMORY", "target": "bucket"}


async def test_a_backup_is_found_by_its_tag_alone(api: Api, world: World) -> None:
    await bring(world, ("one", "dc1", "t1"), ("one", "dc1", "t2"), ("my two", "dc1", "t2"), ("my two", "dc2", "t2"))
    status, body = await api("GET", "/v1/catalog/backups/t1", params=PLACE | {"manifests": "true"})
    assert (status, body["cluster"], body["datacenter"]) == (200, "one", "dc1")
    status, body = await api("GET", "/v1/catalog/backups/t2", params=PLACE)
    assert (status, body["reason"]) == (409, "BackupAmbiguous")
    assert "my two/dc1, my two/dc2, one/dc1" in body["error"]
    status, body = await api("GET", "/v1/catalog/backups/t2", params=PLACE | {"datacenter": "dc2"})
    assert (status, body["cluster"]) == (200, "my two")
    status, body = await api("GET", "/v1/catalog/backups/t3", params=PLACE)
    assert (status, body["reason"]) == (404, "BackupNotFound")


async def test_a_backup_without_one_of_its_manifests(api: Api, world: World) -> None:
    await bring(world, ("c", "dc1", "t1"))
    await world.memory.delete([NodePath("c", "dc1", "n-0").manifest("t1")])
    assert (await api("GET", "/v1/catalog/backups/t1", params=PLACE))[0] == 200, "it was not asked for"
    status, body = await api("GET", "/v1/catalog/backups/t1", params=PLACE | {"manifests": "true"})
    assert (status, body["reason"]) == (502, "ManifestMissing")
    assert "no manifest of n-0" in body["error"]


@pytest.mark.parametrize("names", [{}, {"cluster": "c", "datacenter": "dc1"}])
@pytest.mark.parametrize("content", [b"{", None])
async def test_a_record_that_is_not_what_its_key_says(
    api: Api, world: World, names: dict[str, str], content: bytes | None
) -> None:
    """It is told, and never taken for another one: what is read next is found by the names that are in it."""
    await bring(world, ("other", "dc1", "t1"))
    lies = b"".join([part async for part in world.memory.get(catalog.record_key("other", "t1", "dc1"))])
    await world.memory.delete([catalog.record_key("other", "t1", "dc1")])
    await world.memory.put(catalog.record_key("c", "t1", "dc1"), BytesBody(lies if content is None else content))
    status, body = await api("GET", "/v1/catalog/backups/t1", params=PLACE | names)
    assert (status, body["reason"]) == (502, "ManifestInvalid")
    assert "c/_backups/t1/dc1.json" in body["error"] or "cluster record cannot be read" in body["error"]


async def test_names_are_told_the_newest_first(api: Api, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    oldest_first = [("one", "dc1", "t1"), ("one", "dc1", "t10"), ("my two", "dc 2", "t1"), ("one", "dc1", "t2")]
    for age, place in enumerate(oldest_first):
        monkeypatch.setattr(world.memory, "_clock", lambda age=age: 1000.0 * age)
        await bring(world, place)
    await world.memory.put("one/_backups/half/dc1.cql", BytesBody(b"-- no record"))
    await world.memory.put("one/_backups/odd!XX/dc1.json", BytesBody(b"{}"))
    await world.memory.put("others/file", BytesBody(b"x"))
    status, body = await api("GET", "/v1/catalog/names", params=PLACE | {"limit": "3"})
    found = msgspec.convert(body, BackupNames)
    assert (status, found.total) == (200, 4)
    assert [(name.cluster, name.datacenter, name.tag) for name in found.names] == oldest_first[:0:-1]


@pytest.mark.parametrize("limit", ["0", "-1", "x", "10001", None])
async def test_names_are_bounded(api: Api, limit: str | None) -> None:
    status, body = await api("GET", "/v1/catalog/names", params=PLACE | ({"limit": limit} if limit else {}))
    assert (status, body["reason"]) == (400, "InvalidSpec")


async def test_a_bucket_that_hangs_is_left(api: Api, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    class Hangs(FaultyStore):
        async def list(self, prefix: str, *, start_after: str = "") -> AsyncIterator[ObjectMeta]:
            await asyncio.Event().wait()
            yield ObjectMeta("", 0)

    monkeypatch.setattr(routes, "_PATIENCE", 0.05)
    world.store = Hangs(world.memory)
    for path in ("names", "backups/t1"):
        status, body = await api("GET", f"/v1/catalog/{path}", params=PLACE | {"limit": "1"})
        assert (status, body["reason"]) == (502, "StorageUnreachable")


async def test_the_catalog_is_told_where_credentials_are(world: World) -> None:
    places: list[Location] = []

    @asynccontextmanager
    async def noting(where: Location) -> AsyncIterator[ObjectStore]:
        places.append(where)
        yield world.memory

    async with serving(world, lambda stop: inspect(world.settings, stop, open_store=noting)) as api:
        assert (await api("GET", "/v1/catalog/names", params=PLACE | {"limit": "1", "credentials": "/keys"}))[0] == 200
    assert [where.credentials for where in places] == ["/keys"]
