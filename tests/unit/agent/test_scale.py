"""Very many SSTables: a backup with nothing new is nearly free, and none takes much memory."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agent import sstables
from tests.fakes.sstables import BIG, table_id
from tests.unit.agent.scale import TABLES, Node
from tests.unit.agent.test_backup import Reads

SSTABLES = 12_500
TOC = "\n".join(BIG).encode()


def plant(data: Path) -> None:
    """A snapshot of 100,000 files; Data.db is a hole of 3 MiB, whose Digest says something or other."""
    for number in range(TABLES):
        directory = data / "app" / f"t{number}-{table_id(number)}" / "snapshots" / "co-t"
        directory.mkdir(parents=True)
        place = str(directory)
        for one in range(SSTABLES // TABLES):
            for component in BIG:
                content = TOC if component == "TOC.txt" else b"%d" % (one * 100 + number)
                descriptor = os.open(f"{place}/nb-{one}-big-{component}", os.O_WRONLY | os.O_CREAT)
                if component == "Data.db":
                    os.ftruncate(descriptor, 3 << 20)
                else:
                    os.write(descriptor, content)
                os.close(descriptor)
        listed = [f"nb-{one}-big-Data.db" for one in range(SSTABLES // TABLES)]
        (directory / "manifest.json").write_text(json.dumps({"files": listed}))


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_nothing_new_is_nearly_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And one rewritten Statistics.db costs its own bytes."""
    monkeypatch.setattr("agent.cache.RACY", -(10**18))  # the files are new
    await asyncio.to_thread(plant, tmp_path / "data")
    node = Node(tmp_path, lambda: sstables.scan([tmp_path / "data"], "co-t"))
    first = await node.back_up("e1")
    assert first["files"] == 8 * SSTABLES
    assert node.store.sent == first["bytes"]

    with monkeypatch.context() as patched:
        reads = Reads(patched)
        node.store.requests = node.store.sent = 0
        began = time.process_time()  # of all threads; the wall's is the neighbours' too
        await node.back_up("e2")
        took = time.process_time() - began
    assert node.store.sent == 0
    assert {name.rpartition("-")[2] for name in reads.bytes} <= {"TOC.txt", "manifest.json"}  # which files there are
    sys.stdout.write(f"{node.store.requests} requests, {took:.1f} s\n")
    assert node.store.requests < 150
    assert took < 15

    (directory,) = (tmp_path / "data" / "app").glob("t7-*/snapshots/co-t")
    (directory / "tmp").write_bytes(b"rewritten")
    (directory / "tmp").rename(directory / "nb-70-big-Statistics.db")
    node.store.requests = 0
    await node.back_up("e3")
    assert node.store.sent == len(b"rewritten")
    assert node.store.requests < 150


LIMITS = {"tebibyte": 256, "million": 240, "verify": 240, "restore": 160, "collect": 160}  # MiB; 256 with a real client


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    "works", [["tebibyte"], ["million", "verify", "collect", "restore"]], ids=["tebibyte", "million"]
)
def test_memory_stays_small(tmp_path: Path, works: list[str]) -> None:
    """The peak of a process that backs up 1 TiB, or a million components, and of those that read the manifest."""
    root = Path(__file__).resolve().parents[3]
    for work in works:
        command = [sys.executable, "-m", "tests.unit.agent.scale", work, str(tmp_path)]
        ended = subprocess.run(command, check=False, cwd=root, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr[-3000:]
        told = json.loads(ended.stdout.splitlines()[-1])
        sys.stdout.write(f"{work}: {told}\n")
        assert told["peak"] < LIMITS[work], told
