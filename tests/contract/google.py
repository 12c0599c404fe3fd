"""Cloud Storage's JSON API as its documentation has it, in memory and in the test's own loop.

For what fake-gcs-server does not keep: sessions that hold what arrived before a connection broke, and that can be
asked; generation conditions and deleted sources of a compose; rewrites in steps; tokens. Beside it: the endpoint that
gives tokens, and the metadata server.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from aiohttp import web

from backends.base import Endpoint
from backends.checksums import crc32c, to_base64
from backends.gcs import GcsStore

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

    from backends.base import Options

STEP = 256 << 10  # a session keeps whole steps


@dataclass
class Session:
    fields: dict[str, Any]
    query: dict[str, str]
    data: bytearray = field(default_factory=bytearray)
    made: dict[str, Any] | None = None


@dataclass
class Google:
    """``objects``: resource and bytes by name. ``received``: body bytes of requests to sessions, kept or not."""

    url: str = ""
    objects: dict[str, tuple[dict[str, Any], bytes]] = field(default_factory=dict)
    sessions: dict[str, Session] = field(default_factory=dict)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    granted: list[str] = field(default_factory=list)
    valid: set[str] | None = None  # tokens that are good; None asks for none
    lifetime: int = 3600
    refuses: bool = False  # gives no token
    grants_good: bool = True  # the tokens that it gives are good
    batched: list[str] = field(default_factory=list)  # urls of the calls in batches
    received: int = 0
    mark: int = 0
    marked: asyncio.Event = field(default_factory=asyncio.Event)  # set when ``received`` has come to ``mark``
    answers: list[web.Response] = field(default_factory=list)  # said instead of doing, first come
    early: bool = False  # and before the body came
    forget: int = 0  # once, a session keeps no more than this
    spoil: bool = False  # a bit of what is stored falls over
    rewrite_steps: int = 1
    thinks: float = 0.0  # seconds before a compose or a step of a rewrite is answered
    ids: Any = field(default_factory=lambda: itertools.count(1_000))

    def store(self, fields: dict[str, Any], data: bytes, query: dict[str, str]) -> web.Response:
        name = str(fields["name"])
        there = self.objects.get(name)
        if "ifGenerationMatch" in query and query["ifGenerationMatch"] != (there[0]["generation"] if there else "0"):
            return error(412, "At least one of the pre-conditions you specified did not hold.", "conditionNotMet")
        if self.spoil:
            data = bytes([data[0] ^ 1]) + data[1:]
        crc = to_base64(crc32c(data))
        if fields.get("crc32c", crc) != crc:
            return error(
                400, f'Provided CRC32C "{fields["crc32c"]}" doesn\'t match calculated CRC32C "{crc}".', "invalid"
            )
        now = datetime.now(UTC).isoformat()
        resource = {
            "storageClass": "STANDARD", **fields, "size": str(len(data)), "generation": str(next(self.ids)),
            "crc32c": crc, "updated": now, "timeCreated": now, "kmsKeyName": query.get("kmsKeyName", ""),
        }  # fmt: skip
        self.objects[name] = (resource, data)
        return web.json_response(resource)

    def names(self) -> list[str]:
        return sorted(self.objects)


def error(status: int, message: str, reason: str = "") -> web.Response:
    body = {"error": {"code": status, "message": message, "errors": [{"reason": reason, "message": message}]}}
    return web.json_response(body, status=status)


def missing(name: str) -> web.Response:
    return error(404, f"No such object: bucket/{name}", "notFound")


@asynccontextmanager
async def google(context: ssl.SSLContext | None = None) -> AsyncIterator[Google]:
    state = Google()
    application = web.Application(client_max_size=1 << 30, middlewares=[_door(state)])
    application[STATE] = state
    application.router.add_route("*", "/{path:.*}", _route)
    runner = web.AppRunner(application, shutdown_timeout=1, lingering_time=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    state.url = f"http{'s' if context else ''}://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield state
    finally:
        await runner.cleanup()


STATE = web.AppKey("state", Google)


def _door(state: Google) -> Any:
    @web.middleware
    async def enter(request: web.Request, handler: Any) -> web.StreamResponse:
        path = request.raw_path.partition("?")[0]
        state.requests.append((request.method, path, dict(request.query)))
        if path == "/token" or path.startswith("/computeMetadata/"):
            return grant(state, request, dict(await request.post()))
        bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if state.valid is not None and "upload_id" not in request.query and bearer not in state.valid:
            return error(401, "Invalid Credentials", "authError")
        if state.answers:
            if not state.early:
                await request.read()
            return state.answers.pop(0)
        return await handler(request)

    return enter


def grant(state: Google, request: web.Request, form: dict[str, Any]) -> web.Response:
    if request.path == "/token" and not {"assertion", "refresh_token", "subject_token"} & form.keys():
        return web.json_response({"error": "invalid_grant", "error_description": "nothing to go by"}, status=400)
    if request.path != "/token" and request.headers.get("Metadata-Flavor") != "Google":
        return web.Response(status=403)
    if state.refuses:
        return web.json_response({"error": "invalid_grant", "error_description": "Invalid JWT Signature."}, status=400)
    token = f"token-{len(state.granted) + 1}"
    state.granted.append(token)
    if state.valid is not None and state.grants_good:
        state.valid.add(token)
    return web.json_response({"access_token": token, "expires_in": state.lifetime, "token_type": "Bearer"})


_OBJECT = re.compile(r"/storage/v1/b/bucket/o/([^/]+)(?:/(compose)|/rewriteTo/b/bucket/o/([^/]+))?")


async def _route(request: web.Request) -> web.StreamResponse:
    state = request.app[STATE]
    path = request.raw_path.partition("?")[0]
    query = dict(request.query)
    if path == "/upload/storage/v1/b/bucket/o":
        return await _upload(state, request, query)
    if path == "/batch/storage/v1":
        return await _batch(state, request)
    if path == "/storage/v1/b/bucket/o":
        return _list(state, query)
    if match := _OBJECT.fullmatch(path):
        name = unquote(match[1])
        if match[2] or match[3]:
            await asyncio.sleep(state.thinks)
        if match[2]:
            return _compose(state, name, await request.json(), query)
        if match[3]:
            return await _rewrite(state, name, unquote(match[3]), request, query)
        return _one(state, request, name, query)
    return error(404, "The specified bucket does not exist.", "notFound")


async def _upload(state: Google, request: web.Request, query: dict[str, str]) -> web.Response:
    if query.get("uploadType") == "multipart":
        reader = await request.multipart()
        fields, data = [await part.read() async for part in reader]  # type: ignore[union-attr]
        return state.store(json.loads(fields) | {"name": query["name"]}, bytes(data), query)
    if "upload_id" in query:
        return await _session(state, request, query["upload_id"])
    upload = f"s{next(state.ids)}"
    state.sessions[upload] = Session(await request.json() | {"name": query["name"]}, query)
    return web.Response(
        headers={"Location": f"{request.scheme}://{request.host}{request.path}?uploadType=resumable&upload_id={upload}"}
    )


async def _session(state: Google, request: web.Request, upload: str) -> web.Response:
    session = state.sessions.get(upload)
    if session is None:
        return error(410, "The upload session is gone.")
    if session.made is not None:
        return web.json_response(session.made)
    match = re.fullmatch(r"bytes (?:\*|(\d+)-(\d+))/(\d+)", request.headers["Content-Range"])
    assert match is not None
    total = int(match[3])
    if match[1] is not None:
        assert int(match[1]) == len(session.data), "a session takes the byte after its last"
        came = bytearray()
        try:
            async for piece in request.content.iter_any():
                came += piece
                whole = len(came) // STEP * STEP
                session.data += came[:whole]
                del came[:whole]
                state.received += len(piece)
                if state.received >= state.mark:
                    state.marked.set()
        except ConnectionError:
            return web.Response(status=499)
        session.data += came
    if state.forget:
        del session.data[state.forget :]
        state.forget = 0
    if len(session.data) < total:
        held = {"Range": f"bytes=0-{len(session.data) - 1}"} if session.data else {}
        return web.Response(status=308, headers=held)
    answer = state.store(session.fields, bytes(session.data), session.query)
    if answer.status == 200:
        session.made = json.loads(answer.text or "")
    else:
        del state.sessions[upload]
    return answer


def _one(state: Google, request: web.Request, name: str, query: dict[str, str]) -> web.Response:
    there = state.objects.get(name)
    if there is None or query.get("generation", there[0]["generation"]) != there[0]["generation"]:
        return missing(name)
    if request.method == "DELETE":
        del state.objects[name]
        return web.Response(status=204)
    if query.get("alt") != "media":
        return web.json_response(there[0])
    return web.Response(body=there[1], headers={"x-goog-hash": f"crc32c={there[0]['crc32c']}"})


def _list(state: Google, query: dict[str, str]) -> web.Response:
    start = query.get("pageToken") or query.get("startOffset", "")
    found = [name for name in state.names() if name.startswith(query.get("prefix", "")) and name >= start]
    limit = int(query["maxResults"])
    page: dict[str, Any] = {"items": [state.objects[name][0] for name in found[:limit]]}
    if found[limit:]:
        page["nextPageToken"] = found[limit]
    return web.json_response(page)


def _compose(state: Google, name: str, asked: dict[str, Any], query: dict[str, str]) -> web.Response:
    sources = asked["sourceObjects"]
    if not 1 <= len(sources) <= 32:
        return error(400, "The number of source components provided exceeds the maximum (32)", "invalid")
    data = b""
    for source in sources:
        there = state.objects.get(source["name"])
        if there is None or there[0]["generation"] != source["generation"]:
            return missing(source["name"])
        if there[0]["storageClass"] != asked["destination"]["storageClass"]:
            return error(400, "Composed objects have the storage class of their sources", "invalid")
        data += there[1]
    answer = state.store(asked["destination"] | {"name": name}, data, query)
    if answer.status == 200 and asked.get("deleteSourceObjects"):
        for source in sources:
            del state.objects[source["name"]]
    return answer


async def _rewrite(
    state: Google, source: str, target: str, request: web.Request, query: dict[str, str]
) -> web.Response:
    there = state.objects.get(source)
    if there is None:
        return missing(source)
    step = int(query.get("rewriteToken", "step-0").removeprefix("step-")) + 1
    if step < state.rewrite_steps:
        return web.json_response({"done": False, "rewriteToken": f"step-{step}"})
    answer = state.store(await request.json() | {"name": target}, there[1], query)
    if answer.status != 200:
        return answer
    return web.json_response({"done": True, "resource": json.loads(answer.text or "")})


async def _batch(state: Google, request: web.Request) -> web.Response:
    body = (await request.read()).decode()
    parts = []
    state.batched += re.findall(r"DELETE (\S+) HTTP/1.1", body)
    for number, name in re.findall(r"Content-ID: <(\d+)>\r\n\r\nDELETE /storage/v1/b/bucket/o/(\S+?)[? ]", body):
        gone = state.objects.pop(unquote(name), None)
        said = "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"
        if gone is None:
            text = missing(unquote(name)).text
            said = f"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\n\r\n{text}"
        parts.append(
            f"--batch_x\r\nContent-Type: application/http\r\nContent-ID: <response-{number}>\r\n\r\n{said}\r\n"
        )
    assert len(parts) <= 100
    text = "".join(reversed(parts)) + "--batch_x--"
    return web.Response(text=text, headers={"Content-Type": "multipart/mixed; boundary=batch_x"})


@asynccontextmanager
async def store_on(
    url: str, options: Options | None = None, stall: float = 10.0, **env: str
) -> AsyncIterator[GcsStore]:
    store = await GcsStore.open("bucket", Endpoint(url), options, env=env, stall=stall)
    try:
        yield store
    finally:
        await store.close()


async def everything(store: GcsStore, key: str) -> bytes:
    return b"".join([piece async for piece in store.get(key)])
