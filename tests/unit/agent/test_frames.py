"""Frames: what comes out is what went in, or it is refused; and no two contents are ever under one nonce."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent import catalog, frames
from agent.catalog import FRAME, OVERHEAD
from agent.coding import Coding
from agent.contents import Contents, Opening
from agent.errors import AgentError, Reason
from agent.frames import BadFrame, Sealer
from agent.keys import Key, KeyRing
from backends.base import BytesBody, FileBody
from backends.checksums import crc32c
from backends.errors import Kind, StoreError
from backends.helpers import read_all
from backends.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEY = Key(bytes(range(32)))
OTHER = Key(bytes(range(1, 33)))
STORED = FRAME + OVERHEAD
SIZES = [1, 2, FRAME - 1, FRAME, FRAME + 1, 2 * FRAME, 2 * FRAME + 7]


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def key_of(size: int, key: Key = KEY, epoch: str = "e1") -> str:
    identity = Coding(KeyRing([key])).name(f"h/data/ks/t-1/nb-1-big/Data.db~{size}-00000000")
    return f"{identity}-{epoch}"


def sealer(size: int, key: Key = KEY) -> Sealer:
    return Sealer(key, key_of(size, key), size)


async def stored(data: bytes, size: int, key: str | None = None) -> Contents:
    """An object of these very bytes, to be read."""
    store = MemoryStore()
    await store.put("r/" + (key or key_of(size)), BytesBody(data))
    return Contents(store, "r/", Coding(KeyRing([KEY])))


async def read(contents: Contents, key: str, offset: int = 0, length: int | None = None) -> bytes:
    return b"".join([piece async for piece in contents.get(f"r/{key}", offset=offset, length=length)])


@pytest.mark.parametrize("size", SIZES)
async def test_every_size_comes_back_and_has_the_size_that_its_name_says(size: int, tmp_path: Path) -> None:
    content = noise(size)
    whole = sealer(size).whole(content)
    assert len(whole) == catalog.stored_size(catalog.split_key(key_of(size))[0]) == sealer(size).size(0, size)
    assert content[:64] not in whole
    assert await read(await stored(whole, size), key_of(size)) == content
    # The same bytes from a file, in passing.
    (tmp_path / "file").write_bytes(content)
    body = FileBody(tmp_path / "file", encoder=sealer(size))
    assert await body.measure() == crc32c(whole)
    assert b"".join([chunk async for chunk in body.chunks()]) == whole
    assert (body.size, body.crc32c) == (len(whole), crc32c(whole))


CONTENT = noise(2 * FRAME + 4321)
WHOLE = sealer(len(CONTENT)).whole(CONTENT)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, len(CONTENT) - 1), st.integers(1, 3 * FRAME), st.integers(5000, 3 * FRAME))
def test_any_range_is_that_of_the_content(offset: int, length: int, piece: int) -> None:
    """However the store cuts what it gives."""
    found = bytearray()
    end = min(len(CONTENT), offset + length)
    opening = Opening(sealer(len(CONTENT)), found.extend, offset, end)
    part = WHOLE[offset // FRAME * STORED : catalog.frames(end) * STORED]
    for begin in range(0, len(part), piece):
        opening.write(part[begin : begin + piece])
    assert bytes(found) == CONTENT[offset:end]
    assert opening.position == end


def test_an_error_holds_no_buffer_of_the_store() -> None:
    """Which a connection uses again."""
    buffer = bytearray(flip(3)(WHOLE))
    with pytest.raises(BadFrame):
        Opening(sealer(len(CONTENT)), lambda _: None, 0, 5).write(memoryview(buffer))
    with pytest.raises(BadFrame) as caught:
        Opening(sealer(len(CONTENT)), lambda _: None, 0, 5).write(buffer)
    buffer.clear()
    assert caught.value.__traceback__ is not None


def test_byte_by_byte() -> None:
    found = bytearray()
    opening = Opening(sealer(9), found.extend, 2, 8)
    for byte in sealer(9).whole(b"123456789"):
        opening.write(bytes([byte]))
    assert bytes(found) == b"345678"


@pytest.mark.parametrize("offset", [0, 1, FRAME - 1, FRAME, 2 * FRAME + 4320, len(CONTENT), len(CONTENT) + 5])
@pytest.mark.parametrize("length", [1, 4096, FRAME, 2 * FRAME, None])
async def test_a_range_in_one_request_of_a_store(offset: int, length: int | None) -> None:
    contents = await stored(WHOLE, len(CONTENT))
    end = None if length is None else offset + length
    assert await read(contents, key_of(len(CONTENT)), offset, length) == CONTENT[offset:end]
    counts = [count async for count in contents.pour("r/" + key_of(len(CONTENT)), lambda _: None, length=length)]
    assert sum(counts) == len(CONTENT[:length])


def flip(at: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


SPOILT: dict[str, Callable[[bytes], bytes]] = {
    "a bit of the nonce": flip(3),
    "a bit of the ciphertext": flip(500),
    "a bit of the tag": flip(STORED - 1),
    "a bit of the last frame": flip(2 * STORED + 100),
    "cut at a frame": lambda data: data[: 2 * STORED],
    "cut within a frame": lambda data: data[: 2 * STORED + 100],
    "cut by a byte": lambda data: data[:-1],
    "empty": lambda _: b"",
    "two frames swapped": lambda data: data[STORED : 2 * STORED] + data[:STORED] + data[2 * STORED :],
    "a frame twice": lambda data: data[:STORED] + data[:STORED] + data[2 * STORED :],
    "the plain bytes": lambda _: CONTENT + b"x" * 3 * OVERHEAD,
    "another object's": lambda _: Sealer(KEY, key_of(len(CONTENT), epoch="e2"), len(CONTENT)).whole(CONTENT),
    "of another key": lambda _: Sealer(OTHER, key_of(len(CONTENT)), len(CONTENT)).whole(CONTENT),
    "a longer one's first frames": lambda _: sealer(len(CONTENT) + FRAME).whole(CONTENT + noise(FRAME))[: len(WHOLE)],
}


@pytest.mark.parametrize("how", SPOILT)
async def test_what_was_changed_is_corrupt_and_never_given_out(how: str) -> None:
    contents = await stored(SPOILT[how](WHOLE), len(CONTENT))
    given_out = bytearray()
    with pytest.raises(StoreError) as caught:
        async for _ in contents.pour("r/" + key_of(len(CONTENT)), given_out.extend):
            pass
    assert caught.value.kind is Kind.CORRUPT
    assert CONTENT.startswith(given_out)


async def test_without_its_key_nothing_is_asked_of_the_store() -> None:
    contents = Contents(MemoryStore(), "r/", Coding(KeyRing([OTHER])))
    with pytest.raises(AgentError) as caught:
        await read(contents, key_of(5))
    assert caught.value.reason is Reason.ENCRYPTION_KEY_MISSING
    assert KEY.id in caught.value.message


async def test_a_plain_object_is_read_as_it_is() -> None:
    key = "h/data/ks/t-1/nb-1-big/Data.db~5-00000000-e1"
    assert await read(await stored(b"plain", 5, key), key, 1, 3) == b"lai"


def test_a_nonce_follows_from_content_place_and_object() -> None:
    """The same again is the same bytes; anything else has another nonce, so no two contents are under one."""
    one = sealer(2 * FRAME)
    frame = noise(FRAME)
    assert one.seal(0, frame) == sealer(2 * FRAME).seal(0, frame)
    others = [
        one.seal(0, flip(FRAME - 1)(frame)), one.seal(1, frame), sealer(3 * FRAME).seal(0, frame),
        sealer(2 * FRAME, OTHER).seal(0, frame), sealer(2 * FRAME).seal(0, frame[:-1]),
    ]  # fmt: skip
    nonces = {found[:12] for found in (one.seal(0, frame), *others)}
    assert len(nonces) == 6


def test_the_nonces_hash_is_not_what_is_stored() -> None:
    """What hides GHASH's key: the hash itself is in no frame."""
    one = sealer(FRAME)
    hashed = one._hash.encrypt(bytes(12), b"", frames._PLACE.pack(0, True) + noise(FRAME))
    assert hashed[:12] not in one.seal(0, noise(FRAME))


def test_frames_that_do_not_begin_where_they_should_are_a_bug() -> None:
    with pytest.raises(AssertionError):
        sealer(2 * FRAME)(5, noise(FRAME))
    with pytest.raises(AssertionError):
        sealer(2 * FRAME)(0, noise(FRAME - 1))
    with pytest.raises(BadFrame):
        sealer(1).open(0, b"short")


async def test_a_store_has_no_plain_byte(tmp_path: Path) -> None:
    content = b"a secret that repeats. " * 100_000
    (tmp_path / "file").write_bytes(content)
    store = MemoryStore()
    await store.put("x", FileBody(tmp_path / "file", encoder=sealer(len(content))))
    assert b"secret" not in await read_all(store, "x", 9 << 20)
