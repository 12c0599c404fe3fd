"""What a command line means, and what it must not mean."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path

import pytest

from agent.cli import options
from agent.cli.console import UsageError
from agent.cli.options import Place
from agent.protocol import Endpoint


@pytest.mark.parametrize(
    ("target", "place"),
    [
        ("s3://bucket", Place("AWS_S3", "s3://bucket", "")),
        ("s3://bucket/some/prefix/", Place("AWS_S3", "s3://bucket", "some/prefix")),
        ("gs://bucket/x", Place("GCP_BLOB", "gs://bucket", "x")),
        ("azure://container/x", Place("AZURE_BLOB", "azure://container", "x")),
        (
            "https://account.blob.core.windows.net/container/x/y",
            Place("AZURE_BLOB", "https://account.blob.core.windows.net/container", "x/y"),
        ),
        ("file:///var/backups/", Place("FILE", "file:///var/backups", "")),
        ("/var/backups", Place("FILE", "/var/backups", "")),
    ],
)
def test_a_target_in_its_parts(target: str, place: Place) -> None:
    assert options.place(target) == place


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("bucket/prefix", "has no scheme"),
        ("ftp://bucket", "no store has the scheme ftp://"),
        ("s3://", "names no bucket"),
        ("s3:///prefix", "names no bucket"),
        ("https://account.blob.core.windows.net", "names no container"),
        ("file://relative/path", "three slashes"),
    ],
)
def test_a_target_that_names_nothing(target: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        options.place(target)


def test_whom_to_trust() -> None:
    parser = ArgumentParser()
    options.add_location(parser)
    told = options.location(parser.parse_args(["--target", "s3://b", "--ca-file", "/ca.crt"])).endpoint
    assert told == Endpoint(ca_file="/ca.crt")
    with pytest.raises(SystemExit):
        parser.parse_args(["--target", "s3://b", "--ca-file", "/ca.crt", "--insecure-skip-verify"])


@pytest.mark.parametrize(("text", "size"), [("800", 800), ("800K", 800 << 10), ("50M", 50 << 20), ("2GiB/s", 2 << 30)])
def test_sizes(text: str, size: int) -> None:
    assert options._size(text) == size


@pytest.mark.parametrize("text", ["", "fast", "-1", "1.5M", "50X"])
def test_no_size(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="is no size"):
        options._size(text)


@pytest.mark.parametrize("text", ["0", "65", "many", "-3"])
def test_no_number_of_transfers(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="1 to 64"):
        options._transfers(text)


def test_data_directories_are_there_and_readable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(UsageError, match="is not there"):
        options.data_dirs(Namespace(data_dir=[tmp_path / "none"]))
    assert options.data_dirs(Namespace(data_dir=[tmp_path / "none"]), exist=False) == (tmp_path / "none",)
    with pytest.raises(UsageError, match="is no directory"):
        options.data_dirs(Namespace(data_dir=[file]), exist=False)
    with pytest.raises(UsageError, match="given twice"):
        options.data_dirs(Namespace(data_dir=[tmp_path, tmp_path / "."]))
    monkeypatch.setattr("os.access", lambda *_: False)  # root may read everything
    with pytest.raises(UsageError, match="cannot be read by this user"):
        options.data_dirs(Namespace(data_dir=[tmp_path]))


def test_the_state_lies_beside_the_data_or_with_the_user() -> None:
    data = [Path("/var/lib/cassandra/data")]
    assert options.state_dir(Namespace(state_dir=Path("/x"), data_dir=data)) == Path("/x")
    assert options.state_dir(Namespace(state_dir=None, data_dir=data)) == Path("/var/lib/cassandra/.cassandra-agent")
    told = Namespace(state_dir=None)
    assert options.state_dir(told, {"XDG_STATE_HOME": "/state"}) == Path("/state/cassandra-agent")
    assert options.state_dir(told, {"HOME": "/home/c"}) == Path("/home/c/.local/state/cassandra-agent")
