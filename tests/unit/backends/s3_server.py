"""An S3 on loopback that answers as a test says, and stores on it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiohttp import web

from backends.base import Endpoint
from backends.s3 import S3Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

ERROR = "<Error><Code>{}</Code><Message>{}</Message></Error>"
ETAG = {"ETag": '"etag"'}


class Server:
    """``answers`` are given in turn, the last for ever; ``requests`` keeps what came."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[web.BaseRequest] = []
        self.bodies: list[bytes] = []
        self.over = asyncio.Event()
        self.answers: list[Callable[[web.BaseRequest], Awaitable[web.StreamResponse]] | web.Response] = []

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if not isinstance(answer, web.Response):
            return await answer(request)
        self.bodies.append(await request.content.read())
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

    def says(self, status: int, code: str = "", message: str = "", **headers: str) -> None:
        text = ERROR.format(code, message) if code else ""
        self.answers = [web.Response(status=status, text=text, headers={"Content-Type": "application/xml", **headers})]


@asynccontextmanager
async def opened(server: Server, **options: float) -> AsyncIterator[S3Store]:
    store = await S3Store.open("bucket", Endpoint(server.url), **options)  # type: ignore[arg-type]
    try:
        yield store
    finally:
        await store.close()
