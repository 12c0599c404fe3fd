from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backends.checksums import combine, crc32c, from_base64, to_base64


def test_the_known_value() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # RFC 3720's polynomial, the usual check value
    assert to_base64(crc32c(b"123456789")) == "4waSgw=="


@given(st.lists(st.binary(max_size=200)))
def test_pieces_combine_to_the_whole(pieces: list[bytes]) -> None:
    whole = crc32c(b"".join(pieces))
    assert combine((crc32c(piece), len(piece)) for piece in pieces) == whole
    running = 0
    for piece in pieces:
        running = crc32c(memoryview(piece), running)
    assert running == whole


@given(st.integers(0, 2**32 - 1))
def test_base64_goes_both_ways(crc: int) -> None:
    assert from_base64(to_base64(crc)) == crc
