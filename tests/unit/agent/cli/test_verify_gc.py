"""``verify`` and ``gc``: what the options mean, what is printed, how they end. The operations have their own tests."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from agent.__main__ import parser
from agent.cli import gc as gc_command
from agent.cli import verify as verify_command
from agent.cli.console import Exit
from agent.cli.run import Run
from backends.base import BytesBody
from backends.memory import MemoryStore
from tests.unit.agent.cli.conftest import TARGET, Stopped

if TYPE_CHECKING:
    from tests.fakes.command import Ended

DAY = 86_400.0
PREFIX = "backups/"  # of the target; what is said is below it
WHOSE = ("--target", TARGET, "--cluster", "shop", "--datacenter", "dc1", "--node", "node-1")


class Aging:
    """The bucket's clock, which a test may put forward."""

    def __init__(self, node: Stopped) -> None:
        self.ahead = 0.0
        self.store = MemoryStore("s3://bucket", clock=lambda: time.time() + self.ahead)
        node.buckets.stores["s3://bucket"] = self.store

    def data(self) -> list[str]:
        return sorted(key for key in self.store._objects if "/data/" in key)

    def put(self, key: str, data: bytes) -> None:
        asyncio.run(self.store.put(key, BytesBody(data)))


@pytest.fixture
def bucket(node: Stopped) -> Aging:
    return Aging(node)


@pytest.fixture
def kept(node: Stopped, bucket: Aging) -> Stopped:
    """A node with a backup."""
    done = node.back_up()
    assert done.code == Exit.DONE, done.err
    assert bucket.data()
    return node


def verify(node: Stopped, *more: object) -> Ended:
    return node.agent("verify", *WHOSE, "--state-dir", node.root / "verify-state", *more)


def gc(node: Stopped, *more: object) -> Ended:
    return node.agent("gc", *WHOSE, "--state-dir", node.root / "gc-state", *more)


@pytest.mark.parametrize("level", ["Size", "Hash", "Read"])
def test_a_sound_backup(kept: Stopped, level: str) -> None:
    done = verify(kept, "--level", level, "--json")
    assert done.code == Exit.DONE, done.err
    found = done.json
    assert (found["backups"], found["missing"], found["damaged"]) == (1, 0, 0)
    assert found["readObjects"] == (found["objects"] if level == "Read" else 0)


def test_what_is_missing_is_named_and_healed_from_the_disk(kept: Stopped, bucket: Aging) -> None:
    gone = next(key for key in bucket.data() if "/app/users" in key and "/." not in key)
    content = bucket.store._objects.pop(gone)[1]
    done = verify(kept, "--quiet")
    assert done.code == Exit.FINDINGS
    assert f"Missing {gone.removeprefix(PREFIX)}" in done.out
    assert "(app.users, needed by t1)" in done.out
    dry = verify(kept, "--heal", "--dry-run", "--data-dir", kept.root / "data")
    assert dry.code == Exit.FINDINGS
    assert gone not in bucket.data(), "a dry run writes nothing"
    healed = verify(kept, "--heal", "--data-dir", kept.root / "data")
    assert healed.code == Exit.DONE, healed.out
    assert "1 healed" in healed.out
    assert bucket.store._objects[gone][1] == content
    assert verify(kept, "--level", "Read").code == Exit.DONE


def test_damage_is_found_by_reading(kept: Stopped, bucket: Aging) -> None:
    key = bucket.data()[0]
    data = bytearray(bucket.store._objects[key][1])
    data[-1] ^= 1
    bucket.put(key, bytes(data))
    assert verify(kept).code == Exit.DONE, "its size is as it was"
    done = verify(kept, "--level", "Read", "--share", "100%")
    assert done.code == Exit.FINDINGS
    assert f"Damaged {key.removeprefix(PREFIX)}" in done.out


def test_what_nothing_needs_goes_in_two_cycles(kept: Stopped, bucket: Aging) -> None:
    needed = bucket.data()
    idle = next(key for key in needed if "~" in key).rpartition("-")[0] + "-e0ld"
    bucket.ahead = -2 * DAY
    bucket.put(idle, b"x" * int(idle.rpartition("~")[2].split("-")[0]))
    bucket.ahead = 0
    before = dict(bucket.store._objects)
    dry = gc(kept, "--dry-run")
    assert dry.code == Exit.DONE, dry.err
    assert "Candidate" in dry.out
    assert bucket.store._objects == before, "a dry run writes nothing"
    first = gc(kept)
    assert first.code == Exit.DONE, first.err
    assert " 1 not" in first.out
    assert bucket.data() == sorted([*needed, idle]), "it is listed, and lies there for another day"
    bucket.ahead = 2 * DAY
    second = gc(kept, "--json")
    assert second.code == Exit.DONE, second.err
    assert second.json["deleted"] == 1
    assert bucket.data() == needed
    assert verify(kept, "--level", "Read").code == Exit.DONE


def test_a_node_without_any_backup_is_not_emptied(kept: Stopped, bucket: Aging) -> None:
    needed = bucket.data()
    for key in [key for key in bucket.store._objects if "/manifests/" in key or "/_backups/" in key]:
        del bucket.store._objects[key]
    bucket.ahead = 2 * DAY
    done = gc(kept)
    assert done.code == Exit.FAILED
    assert "no backup of node-1 is left" in done.err
    assert bucket.data() == needed


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["verify", "--target", TARGET, "--cluster", "shop", "--node", "n"], "give --datacenter"),
        (["gc", "--target", TARGET, "--datacenter", "dc1", "--node", "n"], "give --cluster"),
        (["verify", *WHOSE, "--heal"], "give --data-dir"),
        (["verify", *WHOSE, "--share", "0"], "no percentage"),
        (["verify", *WHOSE, "--level", "Deep"], "--level"),
        (["gc", *WHOSE, "--grace", "0"], "at least 1"),
        (["gc", *WHOSE, "--limit", "101"], "no percentage"),
        (["gc", "--target", TARGET, "--cluster", "shop", "--datacenter", "dc1"], "--node"),
    ],
)
def test_wrong_options_begin_nothing(node: Stopped, command: list[str], words: str) -> None:
    before = node.files()
    done = node.agent(*command, "--state-dir", node.root / "state")
    assert done.code == Exit.USAGE, done
    assert words in done.err
    assert node.files() - before <= {"state", "state/lock", "state/runs", "state/operations"}
    assert "Traceback" not in done.err


def test_what_the_operations_are_told() -> None:
    run = Run(id="r", epoch="e", what="")
    arguments = parser().parse_args(["gc", *WHOSE, "--grace", "36", "--limit", "10%", "--allow-empty"])
    found = gc_command.spec(arguments, run)
    assert (found.grace, found.limit, found.allow_empty, found.dry_run) == (129_600, 0.1, True, False)
    plain = gc_command.spec(parser().parse_args(["gc", *WHOSE, "--dry-run"]), run)
    assert (plain.grace, plain.limit, plain.allow_empty, plain.dry_run) == (86_400, 0.5, False, True)
    arguments = parser().parse_args(["verify", *WHOSE, "--level", "Read", "--share", "5", "--tag", "t1"])
    checked = verify_command.spec(arguments, run)
    assert (checked.level, checked.share, checked.tag, checked.heal) == ("Read", 0.05, "t1", False)
    healing = parser().parse_args(["verify", *WHOSE, "--heal", "--data-dir", "/d"])
    assert verify_command.spec(healing, run).heal
