"""``backup --keyspaces`` and ``--tables``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.cli.console import Exit
from tests.fakes.sstables import live_files
from tests.unit.agent.cli.conftest import HOST_ID, TARGET

if TYPE_CHECKING:
    from tests.unit.agent.cli.conftest import Stopped


@pytest.mark.parametrize(
    ("option", "tables"),
    [
        (("--keyspaces", "app"), {"app.users", "app.events", "app.empty"}),
        (("--tables", "app.users, app.empty"), {"app.users", "app.empty"}),
    ],
)
def test_some_of_a_node(node: Stopped, option: tuple[str, str], tables: set[str]) -> None:
    node.data.table("other", "big", 9)
    planned = node.back_up("t1", *option, "--dry-run", "--json").json
    done = node.back_up("t1", *option, "--json")
    assert (done.code, done.err) == (Exit.DONE, "")
    assert planned["sendBytes"] == done.json["bytes"]
    shown = node.agent("show", "t1", "--target", TARGET, "--json").json
    assert {one["table"] for one in shown["nodes"][0]["tables"]} == {*tables, "system_schema.tables"}
    chosen = sorted([*(["app"] if "--keyspaces" in option else tables), "system_auth", "system_schema"])
    assert shown["entities"] == chosen
    assert f"of {', '.join(chosen)} alone\n" in node.agent("show", "t1", "--target", TARGET).out
    assert node.restore().code == Exit.DONE
    back = {path.partition("-")[0].replace("/", ".") for path in live_files(node.root / "restored" / "data")}
    assert back == {*tables, "system_schema.tables"} - {"app.empty"}
    assert not list((node.root / "data").glob("*/*/snapshots/*"))


@pytest.mark.parametrize(
    ("option", "code", "words"),
    [
        (("--keyspaces", "app", "--tables", "app.users"), Exit.USAGE, "not allowed with argument"),
        (("--keyspaces", "app.users"), Exit.USAGE, "'app.users' is no keyspace"),
        (("--tables", "app"), Exit.USAGE, "'app' is no table: write keyspace.table"),
        (("--keyspaces", "app,"), Exit.USAGE, "'' is neither a keyspace nor a table"),
        (("--keyspaces", "system"), Exit.USAGE, "each node's own and never in a backup"),
        (("--keyspaces", "app", "--snapshot", "s"), Exit.USAGE, "not with --snapshot"),
        (("--keyspaces", "nope"), Exit.FAILED, "Cassandra has no keyspace nope"),
        (("--tables", "app.nope"), Exit.FAILED, "Cassandra has no table app.nope"),
    ],
)
def test_what_is_refused(node: Stopped, option: tuple[str, ...], code: Exit, words: str) -> None:
    done = node.back_up("t1", *option)
    assert done.code == code
    assert words in done.err
    assert node.stored() == []
    assert not list((node.root / "data").glob("*/*/snapshots/*"))


def test_nodes_that_were_told_different_things_are_no_backup(node: Stopped) -> None:
    common = (
        "backup", "--tag", "t1", "--target", TARGET, "--data-dir", node.root / "data", "--config-dir", node.config,
        "--offline", "--host-id", HOST_ID, "--tokens-file", node.tokens,
    )  # fmt: skip
    for name, keyspaces in (("node-1", "app"), ("node-2", "app"), ("node-3", "other,app")):
        node.data.table("other", "big", 9)
        assert node.agent(*common, "--node", name, "--keyspaces", keyspaces).code == Exit.DONE
    commit = ("commit", "--tag", "t1", "--target", TARGET, "--cluster", "shop", "--datacenter", "dc1")
    refused = node.agent(*commit, "--nodes", 3, "--state-dir", node.root / "state")
    assert refused.code == Exit.FAILED
    assert "are of different tables" in refused.err
    assert node.agent("list", "--target", TARGET, "--json").json == []
