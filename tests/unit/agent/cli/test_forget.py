"""``forget``: what it needs to be told, what it deletes, and what it says. The operation has its own tests."""

from __future__ import annotations

import asyncio
import sys
from subprocess import run
from typing import TYPE_CHECKING

import pytest

from agent.cli.console import Exit
from backends.memory import MemoryStore
from tests.fakes.faulty_store import Fault, FaultyStore
from tests.fakes.faulty_store import error as store_error
from tests.unit.agent.cli.conftest import TARGET, Stopped
from tests.unit.agent.cli.test_verify_gc import DAY, Aging

if TYPE_CHECKING:
    from tests.fakes.command import Ended

WHOSE = ("--cluster", "shop", "--datacenter", "dc1")
RECORD, MANIFEST = "shop/_backups/t1/dc1.json", "shop/dc1/node-1/manifests/t1.json.zst"


@pytest.fixture
def bucket(node: Stopped) -> Aging:
    return Aging(node)


@pytest.fixture
def kept(node: Stopped, bucket: Aging) -> Stopped:
    """A node with two backups."""
    for tag in ("t1", "t2"):
        done = node.back_up(tag)
        assert done.code == Exit.DONE, done.err
    return node


def forget(node: Stopped, *more: object, tag: str = "t1") -> Ended:
    return node.agent("forget", "--tag", tag, "--target", TARGET, "--state-dir", node.root / "forget-state", *more)


def keys(node: Stopped) -> set[str]:
    return {key.removeprefix("backups/") for key in node.stored()}


def test_it_is_asked_twice(kept: Stopped) -> None:
    before = keys(kept)
    done = forget(kept)
    assert done.code == Exit.USAGE
    assert "--yes" in done.err
    dry = forget(kept, "--dry-run")
    assert dry.code == Exit.DONE, dry.err
    assert "would be forgotten" in dry.out
    assert forget(kept, "--dry-run", "--yes", "--json").json["nodes"] == ["node-1"]
    assert keys(kept) == before


def test_its_record_and_manifest_go_and_nothing_else(kept: Stopped) -> None:
    before = keys(kept)
    done = forget(kept, "--yes")
    assert done.code == Exit.DONE, done.err
    assert before - keys(kept) == {RECORD, MANIFEST, RECORD.replace(".json", ".cql")}
    assert kept.restore("other", tag="t2").code == Exit.DONE
    assert kept.restore("again").code == Exit.FAILED
    assert not list((kept.root / "forget-state" / "operations").iterdir())
    again = forget(kept, "--yes")
    assert again.code == Exit.FAILED
    assert "no backup t1" in again.err


def test_what_was_half_forgotten_is_forgotten_to_its_end(kept: Stopped, bucket: Aging) -> None:
    asyncio.run(bucket.store.delete([f"backups/{RECORD}"]))
    assert forget(kept, "--yes").code == Exit.FAILED, "whose it is nobody says"
    early = forget(kept, "--yes", *WHOSE)
    assert early.code == Exit.FAILED, "its record may be on its way"
    assert MANIFEST in keys(kept)
    bucket.ahead = DAY
    late = forget(kept, "--yes", *WHOSE)
    assert late.code == Exit.DONE, late.err
    assert "never completed or half forgotten" in late.out
    assert MANIFEST not in keys(kept)


def test_a_backup_of_another_datacenter_is_not_found(kept: Stopped) -> None:
    before = keys(kept)
    done = forget(kept, "--yes", "--cluster", "shop", "--datacenter", "dc2")
    assert done.code == Exit.FAILED
    assert "no backup t1 of datacenter dc2" in done.err
    assert keys(kept) == before


def test_an_upload_may_take_its_time(kept: Stopped, monkeypatch: pytest.MonkeyPatch) -> None:
    paces = []

    def pace(seconds: float, total: int) -> None:
        paces.append((seconds, total > 0))

    monkeypatch.setattr("agent.flow.Pace", pace)
    assert kept.back_up("t3", "--full", "--finish-within", "90m").code == Exit.DONE
    assert paces == [(5400, True)]
    for wrong in ("0m", "5", "1d", "-5m"):
        assert kept.back_up("t4", "--finish-within", wrong).code == Exit.USAGE


def test_a_journal_of_another_node_is_put_aside(node: Stopped) -> None:
    """As when a volume was copied with a command that was not finished."""
    store = FaultyStore(MemoryStore())
    node.buckets.stores["s3://bucket"] = store
    store.fail("put", Fault(store_error(), times=1000, skip=2))
    assert node.back_up("t1").code == Exit.FAILED
    store._faults.clear()
    directory = node.root / ".cassandra-agent" / "operations"
    left = {path.stem for path in directory.glob("*.json")}
    assert left
    other = node.back_up("t2", "--node", "node-2")
    assert other.code == Exit.DONE, other.err
    assert {path.name for path in directory.iterdir()} == {f"{name}.foreign" for name in left}
    assert node.back_up("t1").code == Exit.DONE


def test_the_sidecar_imports_no_command() -> None:
    code = (
        "import sys; from agent.__main__ import parser; parser().parse_args(['serve']);"
        " print([name for name in sys.modules if name.startswith('agent.cli.')])"
    )
    done = run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert set(eval(done.stdout)) <= {"agent.cli.main", "agent.cli.options", "agent.cli.console"}
