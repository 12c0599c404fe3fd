"""The harness's own parts: what it compares, what it measures, what its node and its sets look like."""

from __future__ import annotations

import json
import sys
import urllib.request
import zlib
from typing import TYPE_CHECKING

import pytest

from agent import sstables
from benchmarks import measure, node, peers, synthetic, verify
from benchmarks.dataset import DataSet
from benchmarks.servers import Server
from benchmarks.tool import Place

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def dataset(tmp_path: Path) -> DataSet:
    synthetic.many(tmp_path / "set", 3)
    return DataSet("many", tmp_path / "set")


def test_many_are_files_of_4_kib_that_the_agent_takes_for_sstables(dataset: DataSet, tmp_path: Path) -> None:
    assert set(dataset.files("a").values()) == {synthetic.BLOCK}
    assert len(dataset.files("a")) == 3 * 8
    with node.serving(dataset, tmp_path / "node") as served:
        served.take("co-x")
        found = sstables.scan([served.data], "co-x")
    assert sum(1 for _ in found.files()) == 24
    assert [table.missing() for one in found.tables for table in one.sstables.values()] == [[], [], []]


def test_a_huge_file_has_the_digest_that_is_beside_it(tmp_path: Path) -> None:
    synthetic.huge(tmp_path, 100_000)
    (data,) = tmp_path.glob("a/*/*/nb-1-big-Data.db")
    assert data.stat().st_size == 100_000
    assert int(data.with_name("nb-1-big-Digest.crc32").read_text()) == zlib.crc32(data.read_bytes())


@pytest.mark.parametrize("piece", [synthetic.BLOCK, 1 << 20])
def test_a_restored_set_must_be_the_same(
    piece: int, dataset: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "_PIECE", piece)
    with node.serving(dataset, tmp_path / "node") as served:
        target = served.tree(tmp_path / "restored")
    verify.same(dataset, "a", target)
    one, other, *_ = sorted(target.glob("*/*/*.db"))
    whole = one.read_bytes()
    for wrong in (whole[:-1], whole + b"x", bytes([whole[0] ^ 1]) + whole[1:]):
        one.unlink()  # a link: the data set's own file stays
        one.write_bytes(wrong)
        with pytest.raises(AssertionError, match="did not come back"):
            verify.same(dataset, "a", target)
    one.rename(one.with_name("nb-77-big-Data.db"))
    with pytest.raises(AssertionError, match=r"missing: .*too many: .*nb-77"):
        verify.same(dataset, "a", target)
    with other.with_name("nb-78-big-Data.db").open("wb"):
        one.with_name("nb-77-big-Data.db").unlink()
        one.write_bytes(whole)
    with pytest.raises(AssertionError, match=r"missing: \[\], too many: .*nb-78"):
        verify.same(dataset, "a", target)


def test_the_node_answers_the_agent_and_medusa_and_counts_its_own_time(dataset: DataSet, tmp_path: Path) -> None:
    def ask(url: str, body: object) -> object:
        with urllib.request.urlopen(url, json.dumps(body).encode(), timeout=60) as answer:
            return json.loads(answer.read())

    def take(operation: str, *arguments: object) -> dict[str, object]:
        return {"type": "exec", "mbean": "m", "operation": operation, "arguments": list(arguments)}

    with node.serving(dataset, tmp_path / "node") as served:
        facts = ask(f"{served.url}/", [{"type": "read", "mbean": "m", "attribute": ["LocalHostId", "Other"]}])
        assert facts == [{"status": 200, "value": {"LocalHostId": node.HOST_ID}}]
        assert ask(served.url, take("takeSnapshot(java.lang.String)", "medusa-x", {}, []))
        (snapshot,) = served.data.glob("*/*/snapshots/medusa-x")
        (table,) = (dataset.state("a") / "bench").iterdir()
        name = "nb-1-big-Data.db"
        assert (snapshot / name).stat().st_ino == (table / name).stat().st_ino
        assert (snapshot / "manifest.json").stat().st_ino != (table / "manifest.json").stat().st_ino
        took = served.seconds
        assert took > 0
        assert ask(served.url, take("clearSnapshot", "medusa-x", []))
        assert list(served.data.glob("*/*/snapshots/*")) == []
        assert served.seconds > took
    assert (table / name).exists()


_CHILD = "import time; b = bytearray(64 << 20); b[::4096] = b'x' * len(b[::4096]); t = time.process_time()\n"
_BUSY = _CHILD + "while time.process_time() < t + 0.3: pass"


@pytest.mark.slow
def test_a_program_is_charged_with_its_childrens_time_and_memory(tmp_path: Path) -> None:
    command = [sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {_BUSY!r}])"]
    usage = measure.program(command, {}, tmp_path / "log")
    assert 0.3 <= usage.cpu < 10
    assert usage.wall > 0.3
    assert 64 << 20 <= usage.memory < 400 << 20


@pytest.mark.slow
def test_a_program_that_fails_says_what_it_wrote(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"ended with 3:(.|\n)*no luck"):
        measure.program([sys.executable, "-c", "import sys; print('no luck'); sys.exit(3)"], {}, tmp_path / "log")


def test_the_high_water_mark_is_in_bytes() -> None:
    assert measure.high_water("Name:\tx\nVmHWM:\t    12 kB\nVmRSS:\t 3 kB\n") == 12288
    assert measure.high_water("Name:\tzombie\n") == 0


@pytest.mark.parametrize(
    ("kind", "provider", "lines"),
    [
        ("http", "s3_compatible", {"port = 9", "secure = False", "concurrent_transfers = 8"}),
        ("http", "s3_compatible", {"transfer_max_bandwidth = "}),
        ("https", "s3_compatible", {"secure = True"}),
        ("azure", "azure_blobs", set()),
        ("gcs", "google_storage", set()),
    ],
)  # fmt: skip
def test_medusa_is_told_where_things_are(
    kind: str, provider: str, lines: set[str], dataset: DataSet, tmp_path: Path
) -> None:
    with node.serving(dataset, tmp_path / "node") as served:
        place = Place(Server(kind, 9), served, tmp_path, tmp_path, tmp_path)
        text = peers.configuration(place, {"concurrent_transfers": "8", "transfer_max_bandwidth": ""})
    assert {f"storage_provider = {provider}", f"cassandra_url = {served.url}"} | lines <= set(text.split("\n"))
    assert ("key_file" in text) == (kind != "gcs")
