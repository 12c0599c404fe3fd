"""What the demo applies is the user's document, word for word."""

from __future__ import annotations

import yaml

from dev.scenario import documents
from dev.scenario.bed import REPO

EXAMPLES = REPO / "manifests" / "examples"


def test_the_datacenter_has_one_variable_more() -> None:
    theirs = (EXAMPLES / "datacenter.yaml").read_text().rstrip()
    ours = documents.datacenter("http://store:9000")
    assert ours.startswith(theirs)
    added = yaml.safe_load(f"env:\n{ours.removeprefix(theirs)}")
    assert added == {"env": [{"name": "AWS_ENDPOINT_URL", "value": "http://store:9000"}]}


def test_the_backup_is_as_it_stands() -> None:
    assert documents.backup() == (EXAMPLES / "backup.yaml").read_text()


def test_another_datacenter_keeps_everything_else() -> None:
    theirs = yaml.safe_load(documents.datacenter("http://store:9000"))
    ours = documents.other_datacenter("bar", "http://store:9000", 3, restoreFromBackup="b")
    assert ours["spec"].pop("restoreFromBackup") == "b"
    assert ours["spec"] == theirs["spec"]
    assert ours["metadata"] == {"name": "bar", "labels": {"app": "cassandra"}}
