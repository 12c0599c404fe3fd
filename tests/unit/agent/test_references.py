"""The objects that a manifest names, read as it comes out of its frame."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import zstandard

from agent import catalog
from agent.catalog import Manifest, StoredObject
from agent.errors import AgentError
from tests.unit.agent.test_collector import manifest, object_key

if TYPE_CHECKING:
    from collections.abc import Callable


def read(data: bytes, **more: Any) -> tuple[str, list[str]]:
    keys: list[str] = []
    return catalog.read_references(data, keys.append, **more), keys


@pytest.fixture(params=[10, 37, 1 << 18])
def piece(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the text is cut."""
    monkeypatch.setattr("agent.catalog.references._PIECE", request.param)


@pytest.mark.usefixtures("piece")
@pytest.mark.parametrize("count", [0, 1, 2, 700])
def test_every_key_is_told(count: int) -> None:
    keys = [object_key(f"nb-{number}-big") for number in range(count)]
    made = manifest("t1", keys, "uid-1")
    made.settings = {"odd": '"objects":[["x",1]],"tables":[]', "]": "]],[", "n": 1}
    assert read(catalog.encode(made)) == ("uid-1", keys)


@pytest.mark.usefixtures("piece")
def test_objects_may_have_more_fields_and_lines_of_their_own() -> None:
    keys = [object_key("nb-1-big"), object_key("nb-2-big")]
    text = msgspec.json.encode(manifest("t1", keys, "uid-1"))
    text = text.replace(b'"objects":[[', b'"objects":[\n[').replace(b",-1],[", b",-1],\n[").replace(b"]],", b"]\n],")
    assert read(zstandard.compress(text)) == ("uid-1", keys)


def test_a_real_one_is_read_as_the_decoder_reads_it() -> None:
    keys = [
        object_key(f"nb-{number}-big", epoch) for number, epoch in itertools.product(range(9), ("e1", "e2x0000000a"))
    ]
    made = catalog.encode(manifest("t1", keys, "uid-1"))
    assert read(made)[1] == [stored.key for stored in catalog.decode_manifest(made).objects]


def altered(change: Callable[[Manifest], object]) -> bytes:
    made = manifest("t1", [object_key("nb-1-big"), object_key("nb-2-big")], "uid-1")
    change(made)
    return msgspec.json.encode(made)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"[]",
        b'{"format":2,"backupId":"x","objects":[],"tables":[]}',
        b'{"format":2,"backupId":"x","tables":[],"objects":["a"]}',
        b'{"format":2,"backupId":"x","tables":[],"objects":[["a",1]]}',
        b'{"format":2,"backupId":"x","tables":[],"objects":[["a",1]',
        b'{"format":2,"backupId":"x","tables":[],"objects":[]',
        b'{"format":2,"tables":[],"objects":[]}',
        b'{"format":2,"backupId":"\xff","tables":[],"objects":[]}',
        altered(lambda made: setattr(made, "format", 99)),
        altered(lambda made: made.objects.append(StoredObject("../up", 1))),
        altered(lambda made: made.objects.append(StoredObject('x"]', 1))),
        altered(lambda _: None)[:-30],
        altered(lambda _: None).replace(b",-1],[", b",-1] ["),
        altered(lambda _: None).replace(b",-1],[", b",-1],,["),
    ],
)
def test_what_is_none_is_refused(text: bytes) -> None:
    with pytest.raises(AgentError) as caught:
        read(zstandard.compress(text))
    assert str(caught.value.reason) == "ManifestInvalid"


def test_neither_a_torn_frame_nor_a_bomb_is_read() -> None:
    whole = catalog.encode(manifest("t1", [object_key(f"nb-{number}-big") for number in range(5_000)], "uid-1"))
    for data in (b"torn", whole[: len(whole) // 2], b""):
        with pytest.raises(AgentError):
            read(data)
    with pytest.raises(AgentError, match="more bytes"):
        read(whole, limit=10_000)
    with pytest.raises(AgentError, match="no tables"):
        read(zstandard.compress(b" " * (32 << 20)))
