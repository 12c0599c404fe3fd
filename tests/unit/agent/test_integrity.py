from __future__ import annotations

import itertools
import random
import zlib
from typing import TYPE_CHECKING

import pytest

from agent import integrity
from agent.errors import AgentError
from agent.sstables import DIGEST, scan
from backends.checksums import crc32c
from tests.fakes.sstables import NodeData

if TYPE_CHECKING:
    from pathlib import Path


def test_one_pass_gives_both_checksums_and_parts_combine(tmp_path: Path) -> None:
    data = random.Random(1).randbytes(3_000_001)
    path = tmp_path / "f"
    path.write_bytes(data)
    whole = integrity.measure(path, digest=True)
    assert (whole.size, whole.crc32c, whole.crc32) == (len(data), crc32c(data), zlib.crc32(data))
    cuts = [0, 1, 70_000, 2_999_999, len(data)]
    parts = [integrity.measure(path, a, b - a, digest=True) for a, b in itertools.pairwise(cuts)]
    assert integrity.combine(parts) == whole
    assert integrity.measure(path).crc32 is None


@pytest.mark.parametrize("gone", [True, False])
def test_a_file_that_is_gone_or_shorter_is_a_snapshot_gone(tmp_path: Path, gone: bool) -> None:
    path = tmp_path / "f"
    if not gone:
        path.write_bytes(b"short")
    with pytest.raises(AgentError) as caught:
        integrity.measure(path, 0, 10)
    assert caught.value.reason == "SnapshotGone"


@pytest.mark.parametrize(
    ("text", "value"), [("123\n", 123), ("", None), ("x", None), ("-1", None), ("4294967296", None)]
)
def test_digests_are_read_with_care(tmp_path: Path, text: str, value: int | None) -> None:
    (tmp_path / "d").write_text(text)
    assert integrity.read_digest(tmp_path / "d") == value
    assert integrity.read_digest(tmp_path / "none") is None


def test_data_is_known_by_its_digest_without_being_read(tmp_path: Path) -> None:
    data = NodeData([tmp_path])
    directory = data.table("ks", "t", 1)
    (directory / "nb-1-big-Digest.crc32").write_text("77")
    data.snapshot("co-t")
    sstable = scan([tmp_path], "co-t").tables[0].sstables["nb-1-big"]
    assert integrity.identities(sstable, DIGEST)["Data.db"] == 77
    sstable.files[DIGEST].path.write_text("unreadable")
    content = sstable.files["Data.db"].path.read_bytes()
    assert integrity.identities(sstable, DIGEST)["Data.db"] == zlib.crc32(content)
