"""Lists and watches of a real API server, with its pages, bookmarks and 410s."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from controller.builtin import CONFIGMAPS
from controller.clock import RealClock
from controller.errors import Gone
from controller.informer import Informer
from controller.objects import RawObject, decode_raw
from controller.resource import Key, Resource
from controller.watch import Apply, Delete, InitDone, watch
from tests.api.apiserver import UNCACHED

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from controller.client import Client
    from tests.api.apiserver import ApiServer

TEMPLATES = Resource("", "v1", UNCACHED, "PodTemplate")


def configmap(namespace: str, name: str, size: int = 0) -> dict[str, Any]:
    return {"metadata": {"namespace": namespace, "name": name}, "data": {"x": "." * size}}


def template(namespace: str, name: str) -> dict[str, Any]:
    pod = {"containers": [{"name": "c", "image": "i"}]}
    return {"metadata": {"namespace": namespace, "name": name}, "template": {"spec": pod}}


@asynccontextmanager
async def following(informer: Informer[RawObject]) -> AsyncIterator[asyncio.Queue[str]]:
    """Changes as "+a" "-a" "~a", in order."""
    heard: asyncio.Queue[str] = asyncio.Queue()

    def handler(old: RawObject | None, new: RawObject | None) -> None:
        obj = new or old
        assert obj is not None
        heard.put_nowait(("+" if old is None else "-" if new is None else "~") + obj.metadata.name)

    informer.subscribe(handler)
    task = asyncio.create_task(informer.run())
    try:
        async with asyncio.timeout(10):
            await informer.store.wait_ready()
        yield heard
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def heard_of(heard: asyncio.Queue[str], count: int) -> list[str]:
    async with asyncio.timeout(10):
        return [await heard.get() for _ in range(count)]


async def test_a_list_of_many_comes_in_pages_and_at_once(client: Client, namespace: str) -> None:
    gate = asyncio.Semaphore(50)

    async def make(i: int) -> None:
        async with gate:
            await client.create(CONFIGMAPS, configmap(namespace, f"c{i:04}"))

    await asyncio.gather(*(make(i) for i in range(1100)))
    page = await client.list_page(CONFIGMAPS, namespace)
    assert (len(page.items), bool(page.next)) == (500, True)
    assert len(await client.list(CONFIGMAPS, namespace)) == 1100
    informer = Informer(client, CONFIGMAPS, decode_raw, namespace=namespace)
    sizes: set[int] = set()
    informer.subscribe(lambda _old, _new: sizes.add(len(informer.store)))
    async with following(informer):
        assert len(informer.store) == 1100
    assert sizes == {1100}  # nobody ever saw less


async def test_changes_are_followed_also_large_ones(client: Client, namespace: str) -> None:
    informer = Informer(client, CONFIGMAPS, decode_raw, namespace=namespace)
    async with following(informer) as heard:
        await client.create(CONFIGMAPS, configmap(namespace, "a"))
        await client.apply(CONFIGMAPS, configmap(namespace, "b", size=900_000))
        await client.patch(CONFIGMAPS, Key(namespace, "a"), {"data": {"x": "2"}})
        await client.delete(CONFIGMAPS, Key(namespace, "a"))
        assert await heard_of(heard, 4) == ["+a", "+b", "~a", "-a"]
        found = informer.store.get(Key(namespace, "b"))
        assert found is not None
        assert len(found.body["data"]["x"]) == 900_000


async def test_a_selector_that_no_longer_matches_is_a_delete(client: Client, namespace: str) -> None:
    body = configmap(namespace, "a")
    body["metadata"]["labels"] = {"mine": "yes"}
    await client.create(CONFIGMAPS, body)
    await client.create(CONFIGMAPS, configmap(namespace, "other"))
    informer = Informer(client, CONFIGMAPS, decode_raw, namespace=namespace, label_selector="mine=yes")
    async with following(informer) as heard:
        await client.patch(CONFIGMAPS, Key(namespace, "a"), {"metadata": {"labels": {"mine": "no"}}})
        assert await heard_of(heard, 2) == ["+a", "-a"]


async def test_bookmarks_move_the_resource_version_of_a_quiet_watch(client: Client, namespace: str) -> None:
    """The server sends one before the end of every watch; other namespaces move it on meanwhile."""
    versions: list[str] = []
    original = client.watch_lines

    def noted(*args: Any, **kwargs: Any) -> Any:
        versions.append(kwargs["resource_version"])
        return original(*args, **kwargs)

    client.watch_lines = noted  # type: ignore[method-assign]
    source = watch(client, CONFIGMAPS, decode_raw, clock=RealClock(), namespace=namespace, watch_seconds=(5, 5))
    writing = asyncio.create_task(_write(client, namespace, versions))
    async with asyncio.timeout(20), aclosing(source) as events:
        async for event in events:
            if isinstance(event, Apply):
                break
    await writing
    assert int(versions[1]) > int(versions[0])


async def _write(client: Client, namespace: str, watches: list[str]) -> None:
    """Elsewhere during the first watch; in the watched namespace once that has been resumed."""
    names = (Key("default", f"other-{namespace}"), Key(namespace, "a"))
    for count, key in enumerate(names, 1):
        while len(watches) < count:  # noqa: ASYNC110  seconds, by the server
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.2)  # a watch that begins after the write may get no bookmark for it
        await client.create(CONFIGMAPS, configmap(*key))


async def test_410_after_a_compaction_of_etcd_lists_again(
    client: Client, apiserver: ApiServer, connect: Any, namespace: str
) -> None:
    """And an object that was deleted while the watch was down is told, though no event of it will ever come."""
    for name in "abc":
        await client.create(TEMPLATES, template(namespace, name))
    async with connect("watcher") as (watcher, wire):
        informer = Informer(watcher, TEMPLATES, decode_raw, namespace=namespace)
        with capture_logs() as logs:
            async with following(informer) as heard:
                assert await heard_of(heard, 3) == ["+a", "+b", "+c"]
                wire.cut()
                await client.delete(TEMPLATES, Key(namespace, "b"))
                await client.create(TEMPLATES, template(namespace, "d"))
                apiserver.compact()
                wire.mend()
                assert await heard_of(heard, 2) == ["-b", "+d"]
                assert heard.empty()  # a and c are as they were
                await client.create(TEMPLATES, template(namespace, "e"))
                assert await heard_of(heard, 1) == ["+e"]
    errors = [entry["error"] for entry in logs if entry["event"] == "watch failed"]
    assert any("compacted" in e or "too old" in e for e in errors)


async def test_410_of_a_continue_token(client: Client, apiserver: ApiServer, namespace: str) -> None:
    for name in "abc":
        await client.create(TEMPLATES, template(namespace, name))
    page = await client.list_page(TEMPLATES, namespace, limit=1)
    await client.create(TEMPLATES, template(namespace, "d"))
    apiserver.compact()
    with pytest.raises(Gone):
        await client.list_page(TEMPLATES, namespace, limit=1, token=page.next)


async def test_a_short_cut_resumes_without_a_list(client: Client, connect: Any, namespace: str) -> None:
    await client.create(CONFIGMAPS, configmap(namespace, "a"))
    async with connect("watcher") as (watcher, wire):
        lists = 0
        original = watcher.list_page

        async def counted(*args: Any, **kwargs: Any) -> Any:
            nonlocal lists
            lists += 1
            return await original(*args, **kwargs)

        watcher.list_page = counted
        async with following(Informer(watcher, CONFIGMAPS, decode_raw, namespace=namespace)) as heard:
            assert await heard_of(heard, 1) == ["+a"]
            wire.cut()
            await client.delete(CONFIGMAPS, Key(namespace, "a"))
            await client.create(CONFIGMAPS, configmap(namespace, "b"))
            wire.mend()
            assert await heard_of(heard, 2) == ["-a", "+b"]
        assert lists == 1


async def test_events_say_what_was_removed(client: Client, namespace: str) -> None:
    await client.create(CONFIGMAPS, configmap(namespace, "a"))
    source = watch(client, CONFIGMAPS, decode_raw, clock=RealClock(), namespace=namespace)
    async with asyncio.timeout(10), aclosing(source) as events:
        async for event in events:
            if isinstance(event, InitDone):
                await client.delete(CONFIGMAPS, Key(namespace, "a"))
            if isinstance(event, Delete):
                assert event.key == Key(namespace, "a")
                break
