"""Lists and watches from a script: what ``controller.watch`` asks of a client."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from controller.client import Page

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


def obj(name: str, version: int | str, **more: Any) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "ns", "name": name, "uid": f"uid-{name}", "resourceVersion": str(version)},
        **more,
    }


def line(type_: str, body: dict[str, Any]) -> bytes:
    return msgspec.json.encode({"type": type_, "object": body})


class ScriptedClient:
    """Answers requests in the order of ``script``: a Page, a list of lines, or an exception.

    In a watch's list an exception breaks the stream off, a float lets that much time pass on ``clock``, and
    ``...`` keeps it open. After the script every request hangs. ``requests`` has what was asked.
    """

    def __init__(self, *script: Any, clock: Any = None) -> None:
        self.script = list(script)
        self.requests: list[tuple[str, str]] = []
        self.timeouts: list[float] = []
        self.clock = clock

    async def list_page(self, resource: Any, namespace: str = "", *, label_selector: str = "", token: str = "") -> Page:
        self.requests.append(("list", token))
        answer = await self._next()
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, Page), f"a list was asked for, not {answer}"
        return answer

    async def watch_lines(
        self,
        resource: Any,
        namespace: str = "",
        *,
        resource_version: str,
        timeout: float,  # noqa: ASYNC109  as Client has it
        label_selector: str = "",
    ) -> AsyncGenerator[bytes, None]:
        self.requests.append(("watch", resource_version))
        self.timeouts.append(timeout)
        answer = await self._next()
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, list), f"a watch was asked for, not {answer}"
        for got in answer:
            if isinstance(got, Exception):
                raise got
            if isinstance(got, float):
                self.clock.jump(got)
            elif got is ...:
                await asyncio.Event().wait()
            else:
                yield got

    async def _next(self) -> Any:
        if not self.script:
            await asyncio.Event().wait()
        return self.script.pop(0)


def page(*objects: dict[str, Any], version: int | str, token: str = "") -> Page:
    return Page([msgspec.Raw(msgspec.json.encode(o)) for o in objects], str(version), token)
