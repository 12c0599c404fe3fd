"""The agent's HTTPS API (protocol.py): who may ask, and what an error looks like. What is done lives elsewhere.

Every answer is JSON; an error is ``{"error": sentence, "reason": CamelCase}``. The token is compared in constant time.
``/healthz``, ``/readyz`` and ``/metrics`` need none: kubelet and Prometheus have none.
"""

from __future__ import annotations

import hmac
import ssl
from typing import TYPE_CHECKING, Any, Self, cast

import msgspec
import structlog
from aiohttp import web

from agent.errors import AgentError, Reason, failure
from agent.operations import OtherSpecError
from agent.protocol import TOKEN_HEADER, OperationRequest
from backends.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from agent.operations import Operations

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

MAX_BODY = 1 << 20
MAX_WAIT = 60.0
OPEN = frozenset({"/healthz", "/readyz", "/metrics"})
_STATUS = {
    Reason.INVALID_SPEC: 400,
    Reason.AGENT_TOO_OLD: 400,
    Reason.OPERATION_WITHDRAWN: 410,
    Reason.BACKUP_NOT_FOUND: 404,
    Reason.BACKUP_AMBIGUOUS: 409,
    Reason.CASSANDRA_UNAVAILABLE: 503,
    Reason.STORAGE_INVALID: 400,
    Reason.INTERNAL: 500,
    Reason.DISK_FULL: 507,
    Reason.FILE_UNREADABLE: 500,
}
_STORE_FAILED = 502  # the agent is well, what it asked is not

log = structlog.get_logger(__name__)


def reply(value: object, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")


def refuse(status: int, error: str, reason: str = "") -> web.Response:
    return reply({"error": error, "reason": reason}, status)


def authenticate(token: bytes) -> Any:
    """A middleware that lets ``token`` in, as ``Authorization: Bearer`` or in the header that survives a proxy."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path not in OPEN:
            scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
            given = request.headers.get(TOKEN_HEADER) or (bearer.strip() if scheme.casefold() == "bearer" else "")
            if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), token):
                return refuse(401, "the token is missing or wrong", "Unauthorized")
        return await handler(request)

    return check


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """One place where exceptions become answers."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        return refuse(error.status, error.reason)
    except OtherSpecError as error:
        return refuse(409, str(error), "OtherSpec")
    except (AgentError, StoreError, OSError) as error:
        found = failure(error)
        return refuse(_STATUS.get(Reason(found.reason), _STORE_FAILED), found.message, found.reason)
    except msgspec.MsgspecError as error:
        return refuse(400, f"the request cannot be read: {error}", Reason.INVALID_SPEC)
    except Exception:
        log.exception("a request met a bug", method=request.method, path=request.path)
        return refuse(500, "the agent met a bug; its log has the trace", Reason.INTERNAL)


class OperationRoutes:
    """``/v1/operations``."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    def add_to(self, app: web.Application) -> None:
        app.router.add_put("/v1/operations/{id}", self.put)
        app.router.add_get("/v1/operations/{id}", self.get, allow_head=False)
        app.router.add_delete("/v1/operations/{id}", self.delete)
        app.router.add_get("/v1/operations", self.all, allow_head=False)

    async def put(self, request: web.Request) -> web.Response:
        wanted = msgspec.json.decode(await request.read(), type=OperationRequest)
        operation, started = await self._operations.put(request.match_info["id"], wanted)
        return reply(operation, 201 if started else 200)

    async def get(self, request: web.Request) -> web.Response:
        since = _number(request, "since")
        wait = min(MAX_WAIT, max(0.0, _number(request, "wait") or 0.0))
        try:
            if since is None:
                return reply(self._operations.get(request.match_info["id"]))
            return reply(await self._operations.wait(request.match_info["id"], int(since), wait))
        except KeyError:
            return _unknown(request)

    async def delete(self, request: web.Request) -> web.Response:
        try:
            return reply(await self._operations.cancel(request.match_info["id"]))
        except KeyError:
            return _unknown(request)

    async def all(self, _request: web.Request) -> web.Response:
        return reply(self._operations.all())


def _unknown(request: web.Request) -> web.Response:
    return refuse(404, f"there is no operation {request.match_info['id']} here", "UnknownOperation")


def _number(request: web.Request, name: str) -> float | None:
    text = request.query.get(name)
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        raise AgentError(Reason.INVALID_SPEC, f"{name} must be a number, not {text[:40]!r}") from None


def application(token: bytes) -> web.Application:
    """Without routes but ``/healthz``: a process that answers is alive."""

    async def healthy(_request: web.Request) -> web.Response:
        return reply({"ok": True})

    app = web.Application(middlewares=[authenticate(token), errors], client_max_size=MAX_BODY)
    app.router.add_get("/healthz", healthy)
    return app


def read_token(directory: Path) -> bytes:
    """An empty token would let everyone in."""
    token = (directory / "token").read_bytes().strip()
    if not token:
        raise AgentError(Reason.CONFIGURATION_INVALID, f"{directory / 'token'} is empty")
    return token


def tls(directory: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(directory / "tls.crt", directory / "tls.key")
    return context


class Server:
    """``async with``: listens inside, and finishes its requests on the way out."""

    def __init__(self, app: web.Application, address: str, port: int, context: ssl.SSLContext | None) -> None:
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=5.0)
        self._place = address, port
        self._context = context

    @property
    def port(self) -> int:
        """The one it got, where 0 was asked for."""
        return cast("int", self._runner.addresses[0][1])

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        address, port = self._place
        await web.TCPSite(self._runner, address, port, ssl_context=self._context, reuse_address=True).start()
        log.info("listening", address=address, port=self.port, tls=self._context is not None)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
