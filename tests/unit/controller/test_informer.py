from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from controller.builtin import CONFIGMAPS
from controller.errors import Gone
from controller.informer import Informer
from controller.objects import RawObject, decode_raw
from tests.fakes.clock import FakeClock, settle
from tests.fakes.watches import ScriptedClient, line, obj, page

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def running(informer: Informer[Any]) -> AsyncIterator[None]:
    task = asyncio.create_task(informer.run())
    await settle()
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def informer_of(*script: Any) -> Informer[RawObject]:
    return Informer(ScriptedClient(*script), CONFIGMAPS, decode_raw, clock=FakeClock())  # type: ignore[arg-type]


class Heard(list[str]):
    def __call__(self, old: RawObject | None, new: RawObject | None) -> None:
        self.append(f"{old.metadata.name if old else '-'} {new.metadata.name if new else '-'}")


async def test_an_object_deleted_while_the_watch_was_down_is_told_after_the_relist() -> None:
    informer = informer_of(
        page(obj("a", 1), obj("b", 2), version=5), Gone("old", status=410), page(obj("b", 2), version=9)
    )
    heard = Heard()
    informer.subscribe(heard)
    async with running(informer):
        assert heard == ["- a", "- b", "a -"]


async def test_the_store_has_the_new_state_when_a_handler_hears() -> None:
    informer = informer_of(page(version=5), [line("ADDED", obj("a", 6)), ...])
    seen: list[int] = []
    informer.subscribe(lambda _old, _new: seen.append(len(informer.store)))
    async with running(informer):
        assert seen == [1]


async def test_who_subscribes_late_hears_of_what_is_there() -> None:
    informer = informer_of(page(obj("a", 1), version=5))
    async with running(informer):
        heard = Heard()
        informer.subscribe(heard)
        assert heard == ["- a"]


async def test_a_handler_that_raises_silences_nobody() -> None:
    informer = informer_of(page(obj("a", 1), obj("b", 1), version=5))
    heard = Heard()

    def broken(_old: Any, _new: Any) -> None:
        raise RuntimeError("a defect")

    informer.subscribe(broken)
    informer.subscribe(heard)
    async with running(informer):
        assert heard == ["- a", "- b"]
