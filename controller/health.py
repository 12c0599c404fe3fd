"""``/healthz`` ``/readyz`` ``/metrics`` ``/debug/statistics`` on a port of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from controller import metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Health:
    """``alive`` and ``ready`` give "" or one sentence on what is wrong (503); ``statistics`` numbers by name."""

    def __init__(
        self,
        *,
        alive: Callable[[], str] = str,
        ready: Callable[[], str] = str,
        statistics: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        self._alive = alive
        self._ready = ready
        self._statistics = statistics
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """Port 0 takes a free one; see ``port``."""
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", _metrics)
        app.router.add_get("/debug/statistics", self._debug)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _healthz(self, _request: web.Request) -> web.Response:
        return _answer(self._alive())

    async def _readyz(self, _request: web.Request) -> web.Response:
        return _answer(self._ready())

    async def _debug(self, _request: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(self._statistics()), content_type="application/json")


def _answer(problem: str) -> web.Response:
    return web.Response(text=problem or "ok", status=503 if problem else 200)


async def _metrics(_request: web.Request) -> web.Response:
    return web.Response(body=metrics.render(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})
