from __future__ import annotations

import asyncio
import errno
import os
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends import file as file_module
from backends import file_io
from backends.base import BytesBody
from backends.errors import Kind, NotFound, StoreError
from backends.file import FileStore
from backends.file_io import Tree


@pytest.fixture
async def store(tmp_path: Path) -> FileStore:
    return await FileStore.open(tmp_path / "root")


def leftovers(store: FileStore) -> list[Path]:
    return list(store._tree.temporary.glob("*")) if store._tree.temporary.exists() else []


def failing(number: int):
    def call(*_args: object, **_kwargs: object) -> None:
        raise OSError(number, os.strerror(number))

    return call


async def test_opening_makes_nothing(tmp_path: Path) -> None:
    store = await FileStore.open(tmp_path / "root")
    assert [meta async for meta in store.list("")] == []
    with pytest.raises(NotFound):
        await store.head("key")
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize(
    ("number", "kind", "retryable"),
    [
        (errno.ENOSPC, Kind.STORE_FULL, False), (errno.EDQUOT, Kind.STORE_FULL, False),
        (errno.EROFS, Kind.FORBIDDEN, False), (errno.EACCES, Kind.FORBIDDEN, False),
        (errno.EIO, Kind.UNAVAILABLE, True),
    ],
)  # fmt: skip
async def test_a_disk_that_refuses(
    store: FileStore, monkeypatch: pytest.MonkeyPatch, number: int, kind: Kind, retryable: bool
) -> None:
    await store.put("key", BytesBody(b"old"))
    monkeypatch.setattr(file_module, "write", failing(number))
    with pytest.raises(StoreError) as caught:
        await store.put("key", BytesBody(b"new"))
    assert (caught.value.kind, caught.value.retryable) == (kind, retryable)
    assert os.strerror(number) in str(caught.value)
    assert [chunk async for chunk in store.get("key")] == [b"old"]
    assert leftovers(store) == []


async def test_full_at_the_last_moment(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_io.os, "fsync", failing(errno.ENOSPC))
    with pytest.raises(StoreError) as caught:
        await store.put("key", BytesBody(b"new"))
    assert caught.value.kind is Kind.STORE_FULL
    assert [meta async for meta in store.list("")] == []
    assert leftovers(store) == []


async def test_links_do_not_lead_out(store: FileStore, tmp_path: Path) -> None:
    await store.put("here", BytesBody(b"x"))
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    root = tmp_path / "root"
    (root / "way").symlink_to(outside)
    (root / "file").symlink_to(outside / "secret")
    for attempt in (store.head("way/secret"), store.put("way/new", BytesBody(b"x")), store.delete(["way/secret"])):
        with pytest.raises(StoreError) as caught:
            await attempt
        assert caught.value.kind is Kind.INVALID
    with pytest.raises(StoreError):
        await anext(aiter(store.get("file")))
    assert [meta.key async for meta in store.list("")] == ["here"]
    assert sorted(path.name for path in outside.iterdir()) == ["secret"]


async def test_its_own_directory_is_no_key(store: FileStore) -> None:
    await store.create_upload("key")
    with pytest.raises(StoreError) as caught:
        await store.put(".store/tmp/x", BytesBody(b"x"))
    assert caught.value.kind is Kind.INVALID
    assert [meta async for meta in store.list("")] == []
    assert [meta async for meta in store.list(".store/")] == []


async def test_a_key_is_no_directory(store: FileStore) -> None:
    await store.put("a/b", BytesBody(b"x"))
    for attempt in (
        store.put("a", BytesBody(b"x")),
        store.put("a/b/c", BytesBody(b"x")),
        store.put("n" * 256, BytesBody(b"")),
    ):
        with pytest.raises(StoreError) as caught:
            await attempt
        assert caught.value.kind is Kind.INVALID
    for attempt in (
        store.head("a"),
        store.head("a/b/c"),
        anext(aiter(store.get("a"))),
        anext(aiter(store.get("a/b/c"))),
    ):
        with pytest.raises(NotFound):
            await attempt
    await store.delete(["a", "a/b/c"])
    assert [meta.key async for meta in store.list("")] == ["a/b"]
    assert leftovers(store) == []


async def test_deleting_prunes_and_putting_survives_it(store: FileStore, tmp_path: Path) -> None:
    await store.put("a/b/c/key", BytesBody(b"x"))
    await store.delete(["a/b/c/key"])
    assert not (tmp_path / "root/a").exists()

    async def put(number: int) -> None:
        for _ in range(20):
            await store.put(f"a/b/{number}", BytesBody(b"x"))
            await store.delete([f"a/b/{number}"])

    await asyncio.gather(*map(put, range(4)))


async def test_a_dead_process_leaves_nothing_for_ever(store: FileStore, tmp_path: Path) -> None:
    await store.put("key", BytesBody(b"x"))
    old, new = store._tree.temporary / "old", store._tree.temporary / "new"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 2 * file_io.ABANDONED,) * 2)
    await FileStore.open(tmp_path / "root")
    assert leftovers(store) == [new]


async def test_a_cancelled_put_closes_and_removes(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    open_files = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    created = asyncio.Event()
    loop = asyncio.get_running_loop()
    real = Tree.create

    def create(tree: Tree) -> tuple[int, Path]:
        made = real(tree)
        loop.call_soon_threadsafe(task.cancel)
        loop.call_soon_threadsafe(created.set)
        return made

    monkeypatch.setattr(Tree, "create", create)
    task = asyncio.create_task(store.put("key", BytesBody(b"x")))
    await created.wait()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert leftovers(store) == []
    assert len(os.listdir("/proc/self/fd")) == open_files  # noqa: PTH208


segment = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0", min_codepoint=33), min_size=1, max_size=3
).filter(lambda name: name not in {".", "..", ".store"})
key = st.lists(segment, min_size=1, max_size=3).map("/".join)


@given(st.sets(key, max_size=12), key, key)
def test_walking_is_sorting_and_filtering(keys: set[str], prefix: str, after: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        kept = set()
        for name in sorted(keys):
            path = Path(directory, name)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
            except OSError:
                continue  # another key's directory, or below another key
            kept.add(name)
        tree = Tree(Path(directory))
        for wanted in ("", prefix, prefix[:1], *sorted(kept)[:2]):
            for start in ("", after, *sorted(kept)[-2:]):
                expected = sorted(name for name in kept if name.startswith(wanted) and name > start)
                assert [meta.key for meta in tree.walk(wanted, start)] == expected
