from __future__ import annotations

import pytest

from reconcilers.api.backup import BackupSpec, NodeFailurePolicy
from reconcilers.api.backup_status import BackupNode
from reconcilers.api.common import BackupType
from reconcilers.backup import partial


def spec(min_nodes: int | str | None = None, *, allow: bool = True) -> BackupSpec:
    policy = NodeFailurePolicy.ALLOW_PARTIAL if allow else NodeFailurePolicy.FAIL
    return BackupSpec(backup_type=BackupType.AWS_S3, target="b", node_failure_policy=policy, min_nodes=min_nodes)


@pytest.mark.parametrize(
    ("given", "total", "least"),
    [
        (None, 1, 1), (None, 2, 2), (None, 3, 2), (None, 4, 3), (None, 1000, 501),
        (1, 3, 1), (3, 3, 3), (5, 3, 5),
        ("50%", 3, 2), ("50%", 4, 2), ("34%", 3, 2), ("33%", 3, 1), ("0%", 3, 1), ("100%", 3, 3), ("1%", 1000, 10),
    ],
)  # fmt: skip
def test_least(given: int | str | None, total: int, least: int) -> None:
    assert partial.least(spec(given), total) == least
    assert partial.least(spec(given, allow=False), total) == total


def nodes(*phases: str) -> list[BackupNode]:
    """``a:Failed`` is a node of datacenter a."""
    made = [phase.partition(":")[::2] for phase in phases]
    return [BackupNode(pod=f"p{n}", datacenter=dc, phase=phase) for n, (dc, phase) in enumerate(made)]


@pytest.mark.parametrize(
    ("found", "enough"),
    [
        (nodes("a:Completed", "a:Uploading", "a:Failed"), True),
        (nodes("a:Completed", "a:Failed", "a:Failed"), False),
        (nodes("a:Completed", "a:Completed", "b:Failed"), False),  # of b there would be nothing
        (nodes("a:Completed", "a:Completed", "b:Failed", "b:Pending"), True),
    ],
)
def test_enough(found: list[BackupNode], *, enough: bool) -> None:
    assert partial.enough(spec(), found) is enough
    assert not partial.enough(spec(allow=False), found)


def test_none_failed_is_enough_always() -> None:
    assert partial.enough(spec(allow=False), nodes("a:Completed", "a:Pending"))
