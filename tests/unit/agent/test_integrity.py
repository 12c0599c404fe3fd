from __future__ import annotations

import itertools
import os
import random
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent import integrity
from agent.cache import Cache, Known
from agent.errors import AgentError
from agent.integrity import Sums
from agent.sstables import DIGEST, scan
from backends.checksums import crc32c
from tests.fakes.sstables import NodeData

if TYPE_CHECKING:
    from agent.sstables import FoundSSTable


def test_one_pass_gives_both_checksums_and_parts_combine(tmp_path: Path) -> None:
    data = random.Random(1).randbytes(3_000_001)
    path = tmp_path / "f"
    path.write_bytes(data)
    whole = integrity.measure(path, digest=True)
    assert (whole.size, whole.crc32c, whole.crc32) == (len(data), crc32c(data), zlib.crc32(data))
    cuts = [0, 1, 70_000, 2_999_999, len(data)]
    pieces = [data[a:b] for a, b in itertools.pairwise(cuts)]
    assert integrity.combine([Sums(len(one), crc32c(one), zlib.crc32(one)) for one in pieces]) == whole
    assert integrity.measure(path).crc32 is None
    assert integrity.measure(path, 70_000).crc32c == crc32c(data[:70_000])


@pytest.mark.parametrize("gone", [True, False])
def test_a_file_that_is_gone_or_shorter_is_a_snapshot_gone(tmp_path: Path, gone: bool) -> None:
    path = tmp_path / "f"
    if not gone:
        path.write_bytes(b"short")
    with pytest.raises(AgentError) as caught:
        integrity.measure(path, 10)
    assert caught.value.reason == "SnapshotGone"


@pytest.mark.parametrize(
    ("text", "value"), [("123\n", 123), ("", None), ("x", None), ("-1", None), ("4294967296", None)]
)
def test_digests_are_read_with_care(tmp_path: Path, text: str, value: int | None) -> None:
    (tmp_path / "d").write_text(text)
    assert integrity.read_digest(tmp_path / "d") == value
    assert integrity.read_digest(tmp_path / "none") is None


def sstable_in(tmp_path: Path) -> FoundSSTable:
    data = NodeData([tmp_path])
    directory = data.table("ks", "t", 1, ("da-1-bti",))
    for path in directory.iterdir():
        os.utime(path, (1_700_000_000, 1_700_000_000))
    data.snapshot("co-t")
    return scan([tmp_path], "co-t").tables[0].sstables["da-1-bti"]


def test_data_is_known_by_its_digest_without_being_read(tmp_path: Path) -> None:
    sstable = sstable_in(tmp_path)
    digest = Path(sstable.files[DIGEST].path)
    content = Path(sstable.files["Data.db"].path).read_bytes()
    digest.write_text("0000000077")
    assert integrity.identities(sstable, Known())["Data.db"] == 77
    digest.write_text("unreadable")
    assert integrity.identities(sstable, Known())["Data.db"] == zlib.crc32(content)
    del sstable.files[DIGEST]
    assert integrity.identities(sstable, Known())["Data.db"] == zlib.crc32(content)


def test_what_is_known_is_not_read_and_what_is_read_is_known(tmp_path: Path) -> None:
    sstable = sstable_in(tmp_path)
    cache = Cache(tmp_path / "state")
    known = cache.load()
    crcs = integrity.identities(sstable, known)
    assert set(crcs) == {name for name, file in sstable.files.items() if file.size}
    assert "Rows.db" not in crcs
    cache.keep(known)
    for file in sstable.files.values():
        Path(file.path).unlink()
    assert integrity.identities(sstable, cache.load()) == crcs


@pytest.mark.parametrize(("digest", "reason"), [("5", "Corrupt"), ("6", "SnapshotGone"), (None, "SnapshotGone")])
def test_whose_fault_it_is_says_the_digest(tmp_path: Path, digest: str | None, reason: str) -> None:
    """Bytes of checksum 6, planned as 5: damage where Cassandra said 5 too, else another file than was planned."""
    path = tmp_path / "nb-1-big-Data.db"
    if digest:
        path.with_name("nb-1-big-Digest.crc32").write_text(digest)
    integrity.check_data(path, 5, 5)
    with pytest.raises(AgentError) as caught:
        integrity.check_data(path, 5, 6)
    assert (caught.value.reason, caught.value.retryable) == (reason, reason == "SnapshotGone")
    assert str(path.name) in caught.value.message


def test_passes_over_a_file_do_not_mix() -> None:
    """One that was given up may still be reading when the next begins."""
    told: list[int] = []
    inspector = integrity.ContentSum(told.append)
    first, second = inspector.start(), inspector.start()
    first.update(b"a")
    second.update(b"a")
    first.update(b"bx")
    second.update(b"bc")
    second.finish()
    assert told == [inspector.value] == [zlib.crc32(b"abc")]


def test_what_the_check_raises_ends_the_pass() -> None:
    def refuse(crc: int) -> None:
        raise ValueError(crc)

    inspector = integrity.ContentSum(refuse)
    one = inspector.start()
    with pytest.raises(ValueError, match="0"):
        one.finish()
