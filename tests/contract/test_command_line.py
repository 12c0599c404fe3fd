"""The command line from end to end: a real MinIO, a directory, real processes and real signals."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from agent.cli import options
from agent.cli.console import Exit
from backends.base import BytesBody, Endpoint
from backends.registry import open_store
from tests.contract import azurite as azure_server
from tests.contract import fake_gcs as gcs_server
from tests.contract.conftest import new_bucket
from tests.contract.server import ROOT
from tests.fakes import medusa_bucket
from tests.fakes.command import Ended, agent
from tests.fakes.sstables import SAI, UUID_ID, NodeData, live_files, write_sstable

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from backends.base import ObjectStore

HOST_ID = "7d9b1c3e-0000-4000-8000-00000000000b"


@dataclass
class Place:
    """A bucket, or a directory: its target, and the options that lead there."""

    target: str
    options: tuple[str, ...]
    root: Path

    def agent(self, *arguments: object) -> Ended:
        return agent(*arguments, "--target", self.target, *self.options)

    def back_up(self, tag: str, *more: object, target: str | None = None) -> Ended:
        return agent(*self.backup_command(tag, *more, target=target))

    def backup_command(self, tag: str, *more: object, target: str | None = None) -> list[str]:
        command = [
            "backup", "--tag", tag, "--target", target or self.target, *self.options, "--data-dir", self.data,
            "--offline", "--cluster", "shop", "--datacenter", "dc1", "--node", "node-1", "--host-id", HOST_ID,
            "--tokens-file", self.root / "tokens", "--single-node", "--config-dir", self.root, *more,
        ]  # fmt: skip
        return [str(one) for one in command]

    @property
    def data(self) -> Path:
        return self.root / "data"

    def restore(self, where: str, tag: str, *more: object) -> Ended:
        return self.agent("restore", "--tag", tag, "--data-dir", self.root / where / "data", *more)


@pytest.fixture(params=["s3", "file"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    data = NodeData([tmp_path / "data"])
    users = data.table("app", "users", 1, ("nb-1-big", f"nc-{UUID_ID}-big"), size=3_000_000)
    write_sstable(users / ".by_name", "nb-1-big")
    data.table("app", "events", 2, ("da-2-bti",), extra=SAI)
    data.table("system_schema", "tables", 4, ("nb-7-big",))
    (tmp_path / "tokens").write_text("-1,2\n")
    match request.param:
        case "file":
            return Place(f"file://{tmp_path / 'bucket'}", (), tmp_path)
        case "gcs":
            gcs = request.getfixturevalue("fake_gcs")
            made = f"gs://{asyncio.run(_made(gcs_server.new_bucket(gcs)))}"
            url = gcs.url
        case "azure":
            azurite = request.getfixturevalue("azurite")
            environment = request.getfixturevalue("monkeypatch")
            for name, value in azurite.env.items():
                environment.setenv(name, value)
            made, url = f"azure://{asyncio.run(_made(azure_server.new_container(azurite)))}", azurite.url
        case _:
            request.getfixturevalue("aws")
            minio = request.getfixturevalue("minio")
            made, url = f"s3://{asyncio.run(_made(new_bucket(minio)))}", minio.url
    return Place(f"{made}/some/prefix", ("--endpoint", url), tmp_path)


async def _made(opened: AbstractAsyncContextManager[ObjectStore]) -> str:
    """The new bucket's name."""
    async with opened as store:
        return store.name.rpartition("/")[2]


async def _opened(place: Place) -> ObjectStore:
    found = options.place(place.target)
    return await open_store(found.backup_type, found.target, Endpoint(place.options[1]) if place.options else None)


@pytest.mark.parametrize("place", ["s3", "file", "gcs", "azure"], indirect=True)
def test_back_up_list_show_restore(place: Place) -> None:
    done = place.back_up("t1", "--json")
    assert done.code == Exit.DONE, done.err
    assert done.json["complete"]
    assert place.back_up("t2").code == Exit.DONE
    listed = place.agent("list", "--json")
    assert [record["tag"] for record in listed.json] == ["t1", "t2"]
    shown = place.agent("show", "t2", "--json").json["nodes"][0]
    assert shown["totals"]["newBytes"] == 0
    back = place.restore("restored", "t2", "--json")
    assert back.code == Exit.DONE, back.err
    assert back.json["settings"]["initial_token"] == "-1,2"
    assert live_files(place.root / "restored" / "data") == live_files(place.data)


def test_what_is_wrong_is_one_sentence(place: Place) -> None:
    place.back_up("t1")
    for ended in (place.back_up("t1"), place.restore("x", "t7"), place.agent("show", "t7")):
        assert (ended.code, ended.err.count("\n")) == (Exit.FAILED, 1), ended.err
        assert ended.err.startswith("error: ")
        assert ended.out == ""


def test_a_broken_record_hides_no_other(place: Place) -> None:
    place.back_up("t1")

    async def damage() -> None:
        store = await _opened(place)
        await store.put("shop/_backups/t0/dc1.json", BytesBody(b'{"format": 1'))
        await store.close()

    asyncio.run(damage())
    listed = place.agent("list", "--json")
    assert listed.code == Exit.FINDINGS
    assert [one.get("tag") or one["error"]["reason"] for one in listed.json] == ["ManifestInvalid", "t1"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_stopped_and_again(place: Place, number: signal.Signals) -> None:
    """The first try is slow, and ends while it sends; the second one goes on with its snapshot."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "agent", *place.backup_command("t1", "--bandwidth", "100K")]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if line.startswith(b"Uploading"):
            break
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (-number if number == signal.SIGKILL else Exit.INTERRUPTED, b""), (said, err)
    assert (b"give the same command again" in err) == (number == signal.SIGINT)
    assert b"Traceback" not in err
    taken = {path.stat().st_ino for path in place.data.glob("*/*/snapshots/*/*-Data.db")}
    assert taken
    assert place.agent("list", "--json").json == []
    before = live_files(place.data)
    write_sstable(next(place.data.glob("app/events-*")), "da-9-bti", extra=SAI)
    done = subprocess.run(
        [*command[:-2], "--json"], cwd=ROOT, env=environment, check=True, capture_output=True, timeout=60
    )
    assert json.loads(done.stdout)["complete"]
    assert done.stderr == b""
    assert not list(place.data.glob("*/*/snapshots/*"))
    assert place.restore("restored", "t1").code == Exit.DONE
    assert live_files(place.root / "restored" / "data") == before


@pytest.mark.slow
def test_a_restore_is_stopped_and_goes_on(place: Place) -> None:
    place.back_up("t1")
    command = [
        sys.executable, "-m", "agent", "restore", "--tag", "t1", "--target", place.target, *place.options,
        "--data-dir", str(place.root / "restored" / "data"),
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    slow = subprocess.Popen(
        [*command, "--bandwidth", "100K"], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert slow.stderr is not None
    assert next(line for line in slow.stderr if line.startswith(b"Downloading"))
    slow.send_signal(signal.SIGTERM)
    _, err = slow.communicate(timeout=60)
    assert (slow.returncode, b"Traceback" in err) == (Exit.INTERRUPTED, False)
    done = subprocess.run([*command, "--quiet"], cwd=ROOT, env=environment, check=True, capture_output=True, timeout=60)
    assert (b"initial_token" in done.stdout, done.stderr) == (True, b"")
    assert live_files(place.root / "restored" / "data") == live_files(place.data)


@pytest.mark.parametrize("place", ["s3"], indirect=True)
def test_no_credentials_no_bucket_wrong_key(place: Place, aws: pytest.MonkeyPatch) -> None:
    absent = place.back_up("t1", target="s3://no-such-bucket/x")
    assert (absent.code, absent.err.count("\n")) == (Exit.FAILED, 1)
    assert "bucket" in absent.err
    wrong = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    aws.setenv("AWS_SECRET_ACCESS_KEY", wrong)
    refused = place.agent("list")
    assert (refused.code, wrong in refused.err) == (Exit.FAILED, False)
    aws.delenv("AWS_ACCESS_KEY_ID")
    aws.delenv("AWS_SECRET_ACCESS_KEY")
    none = place.agent("list")
    assert (none.code, "redentials" in none.err, none.err.count("\n")) == (Exit.FAILED, True, 1)


@pytest.mark.parametrize("place", ["file"], indirect=True)
def test_a_directory_that_is_none(place: Place) -> None:
    (place.root / "letter").write_text("x")
    refused = place.back_up("t1", target=f"file://{place.root / 'letter'}")
    assert (refused.code, refused.err.count("\n")) == (Exit.FAILED, 1), refused.err
    assert not list(place.data.glob("*/*/snapshots/*"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "backup"),
    [("s3", "b1"), ("s3", "f1"), ("file", "b2"), ("gcs", "b1"), ("azure", "b1")],
    indirect=["place"],
)
def test_migrate_from_medusa(place: Place, backup: str) -> None:
    """In the bucket that the real Medusa's objects are in: the store copies, and the files are the same."""

    async def fill() -> None:
        store = await _opened(place)
        await medusa_bucket.fill(store)
        await store.close()

    asyncio.run(fill())
    source = f"{place.target}/{medusa_bucket.PREFIX}"
    state = ("--state-dir", place.root / "state", "--cluster", "shop")
    planned = place.agent("migrate", backup, "--from", source, *state, "--dry-run", "--json")
    assert planned.code == Exit.DONE, planned.err
    done = place.agent("migrate", backup, "--from", source, *state, "--json")
    assert done.code == Exit.DONE, done.err
    assert done.json["copiedByStore"] == (not place.target.startswith("file://"))
    assert place.agent("migrate", backup, "--from", source, *state).code == Exit.FINDINGS
    for node in ("c-0", "c-1"):
        back = place.restore(node, backup, "--source-node", node)
        assert back.code == Exit.DONE, back.err
        assert medusa_bucket.hashes(place.root / node / "data") == medusa_bucket.expected(backup, node)


@pytest.mark.parametrize("place", ["s3"], indirect=True)
def test_a_medusa_object_that_was_written_over_is_found_by_its_etag(place: Place) -> None:
    async def damage() -> None:
        store = await _opened(place)
        await medusa_bucket.fill(store)
        async for meta in store.list("some-prefix/c-1/data/app/users"):
            if meta.key.endswith("nb-1-big-Data.db") and meta.size > 1 << 20:
                await store.put(meta.key, BytesBody(bytes(meta.size)))
        await store.close()

    asyncio.run(damage())
    refused = place.agent(
        "migrate", "b1", "--from", f"{place.target}/some-prefix", "--cluster", "shop", "--state-dir", place.root / "s"
    )
    assert (refused.code, "other bytes than the manifest says (MD5)" in refused.err) == (Exit.FAILED, True), refused.err


def test_help_says_how_it_ends() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "agent", "backup", "--help"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert "exit codes:" in done.stdout
    for code in Exit:
        assert str(int(code)) in done.stdout
