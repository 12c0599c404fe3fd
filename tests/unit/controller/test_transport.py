"""One request, against a server on loopback that answers what a test wants."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web

from controller import metrics, transport
from controller.builtin import CONFIGMAPS
from controller.client import Client
from controller.errors import ApiError, ConnectionFailed, Gone, ServerError, Timeout, TooManyRequests
from controller.resource import Key
from controller.transport import Answer, Transport
from reconcilers.identity import MasterKey

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

KEY = Key("ns", "a")


@asynccontextmanager
async def serving(answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[Client]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    tokens = iter(["one", "two", "three"])

    async def authorization() -> str:
        return f"Bearer {next(tokens)}"

    try:
        async with aiohttp.ClientSession() as session:
            yield Client(Transport(session, f"http://127.0.0.1:{runner.addresses[0][1]}", authorization))
    finally:
        await runner.cleanup()


def saying(status: int, body: str, **headers: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text=body, headers={k.replace("_", "-"): v for k, v in headers.items()})

    return answer


async def follow(client: Client, timeout: float = 5.0) -> list[bytes]:  # noqa: ASYNC109  that of the watch
    return [line async for line in client.watch_lines(CONFIGMAPS, resource_version="1", timeout=timeout)]


async def test_an_error_status_is_an_error_for_every_verb() -> None:
    status = '{"kind":"Status","code":410,"reason":"Expired","message":"too old"}'
    async with serving(saying(410, status)) as client:
        with pytest.raises(Gone, match="get configmaps ns/a: too old"):
            await client.get(CONFIGMAPS, KEY)
        with pytest.raises(Gone, match="list configmaps: too old"):
            await client.list(CONFIGMAPS)
        with pytest.raises(Gone, match="watch configmaps: too old"):
            await follow(client)


async def test_html_from_a_proxy_is_an_error_too() -> None:
    async with serving(saying(503, "<html>")) as client:
        with pytest.raises(ServerError, match="<html>"):
            await client.get(CONFIGMAPS, KEY)
    async with serving(saying(200, "<html>")) as client:
        with pytest.raises(ApiError, match="not what the API promises"):
            await client.get(CONFIGMAPS, KEY)


async def test_retry_after() -> None:
    async with serving(saying(429, "slow down", Retry_After="7")) as client:
        with pytest.raises(TooManyRequests) as e:
            await follow(client)
        assert e.value.retry_after == 7.0


async def test_a_watch_that_falls_silent_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server should have ended it after its timeout; a little later the client does."""
    monkeypatch.setattr(transport, "IDLE_MARGIN", 0.1)
    started = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"type":"ADDED"}\n')
        started.set()
        await asyncio.Event().wait()
        return response

    async with serving(answer) as client:
        lines = client.watch_lines(CONFIGMAPS, resource_version="1", timeout=0.1)
        assert await anext(lines) == b'{"type":"ADDED"}'
        with pytest.raises(Timeout):
            await anext(lines)
    assert started.is_set()


async def test_a_watch_keeps_its_connection_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[int] = []
    original = transport._keep_alive

    def spy(response: aiohttp.ClientResponse) -> None:
        original(response)
        sock = response.connection.transport.get_extra_info("socket")  # type: ignore[union-attr]
        found.append(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))

    monkeypatch.setattr(transport, "_keep_alive", spy)

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"{}\n")
        await asyncio.Event().wait()
        return response

    async with serving(answer) as client:
        lines = client.watch_lines(CONFIGMAPS, resource_version="1", timeout=5)
        await anext(lines)
        await lines.aclose()
    assert found == [1]


async def test_a_watch_left_early_is_closed() -> None:
    closed = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"{}\n")
                await asyncio.sleep(0.01)
        except (ConnectionError, asyncio.CancelledError):
            closed.set()
            raise

    async with serving(answer) as client:
        lines = client.watch_lines(CONFIGMAPS, resource_version="1", timeout=5)
        await anext(lines)
        await lines.aclose()
        async with asyncio.timeout(10):
            await closed.wait()


async def test_the_request_on_the_wire() -> None:
    seen: list[web.Request] = []
    bodies: list[Any] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.append(request)
        bodies.append(await request.json())
        return web.json_response({})

    async with serving(answer) as client:
        await client.apply(CONFIGMAPS, {"metadata": {"namespace": "ns", "name": "a"}})
        await client.apply(CONFIGMAPS, {"metadata": {"namespace": "ns", "name": "a"}}, force=False)
        await client.delete(CONFIGMAPS, KEY, uid="u", grace_period=0)
    assert [dict(r.query) for r in seen[:2]] == [
        {"fieldManager": "cassandra-operator", "force": "true"},
        {"fieldManager": "cassandra-operator", "force": "false"},
    ]
    assert seen[0].headers["Content-Type"] == "application/apply-patch+yaml"
    assert [r.headers["Authorization"] for r in seen] == ["Bearer one", "Bearer two", "Bearer three"]  # fresh each time
    assert bodies[0] == {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "ns", "name": "a"}}
    assert bodies[2] == {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "propagationPolicy": "Background",
        "preconditions": {"uid": "u"},
        "gracePeriodSeconds": 0,
    }


async def test_no_answer_is_counted_and_has_a_timeout() -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    series = metrics.API_REQUESTS.labels("get", "0")._value
    before = series.get()
    async with serving(answer) as client:
        with pytest.raises(Timeout):
            await client.get(CONFIGMAPS, KEY, timeout=0.05)
        host = client._transport.host
    async with aiohttp.ClientSession() as session:

        async def nobody() -> str:
            return ""

        with pytest.raises(ConnectionFailed):
            await Client(Transport(session, host, nobody)).get(CONFIGMAPS, KEY)
    assert series.get() == before + 2


@pytest.mark.parametrize("answered", [False, True], ids=["before the answer", "in its body"])
async def test_a_request_that_is_given_up_waits_for_no_goodbye(tmp_path: Path, *, answered: bool) -> None:
    """The other side has stopped to read, so it answers no TLS goodbye."""
    identity = MasterKey(b"m" * 32).identity("uid")
    (tmp_path / "crt").write_text(identity.certificate)
    (tmp_path / "key").write_text(identity.private_key)
    trust = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trust.load_cert_chain(tmp_path / "crt", tmp_path / "key")
    asked = asyncio.Event()
    links: list[asyncio.StreamWriter] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        links.append(writer)
        if answered:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}\n")
        writer.transport.pause_reading()
        asked.set()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=trust)
    port = server.sockets[0].getsockname()[1]

    async def nobody() -> str:
        return ""

    connector = aiohttp.TCPConnector(ssl=False)
    async with aiohttp.ClientSession(connector=connector, response_class=Answer) as session:
        client = Client(Transport(session, f"https://127.0.0.1:{port}", nobody))
        lines: asyncio.Queue[bytes] = asyncio.Queue()

        async def watch() -> None:
            async with aclosing(client.watch_lines(CONFIGMAPS, resource_version="1", timeout=60)) as found:
                async for line in found:
                    lines.put_nowait(line)

        watching = asyncio.create_task(watch())
        await asyncio.wait_for(lines.get() if answered else asked.wait(), 10)
        before = sockets()
        watching.cancel()
        await asyncio.wait([watching])
        for _ in range(5):
            await asyncio.sleep(0)
        assert sockets() == before - 1
    for link in links:
        link.transport.abort()
    server.close()


def sockets() -> int:
    """Open ones of this process."""
    return sum(
        os.path.realpath(each.path).rpartition("/")[2].startswith("socket:") for each in os.scandir("/proc/self/fd")
    )
