from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from controller.lines import LineTooLong, read_lines

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def read(*parts: bytes, cap: int = 100) -> list[bytes]:
    return [line async for line in read_lines(chunks(*parts), cap=cap)]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 100])
async def test_lines_wherever_the_chunks_end(size: int) -> None:
    data = b'{"a":1}\n\n{"b":2}\r\n{"c":3}\nunfinished'
    parts = [data[i : i + size] for i in range(0, len(data), size)]
    assert [line.strip() for line in await read(*parts)] == [b'{"a":1}', b'{"b":2}', b'{"c":3}']


async def test_a_line_longer_than_any_buffer() -> None:
    line = b"x" * (6 << 20)
    assert await read(line[: 5 << 20], line[5 << 20 :] + b"\nnext\n", cap=32 << 20) == [line, b"next"]


@pytest.mark.parametrize("parts", [(b"x" * 101,), (b"x" * 60, b"x" * 60), (b"ok\n" + b"x" * 101 + b"\n",)])
async def test_a_line_without_an_end_is_not_gathered_for_ever(parts: tuple[bytes, ...]) -> None:
    with pytest.raises(LineTooLong):
        await read(*parts)
