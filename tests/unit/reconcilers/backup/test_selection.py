from __future__ import annotations

from typing import Any

import pytest

from controller.objects import ObjectMeta
from reconcilers import labels
from reconcilers.api.backup import BackupSpec, CassandraBackup
from reconcilers.api.common import BackupType, LabelSelector
from reconcilers.api.kubernetes import SelectorRequirement
from reconcilers.backup.selection import cassandra_pods, effective_selector, problem


def backup(own: dict[str, str] | None = None, selector: LabelSelector | None = None) -> CassandraBackup:
    spec = BackupSpec(backup_type=BackupType.AWS_S3, target="bucket", selector=selector)
    return CassandraBackup(metadata=ObjectMeta(name="b", labels=own or {}), spec=spec)


def expression(key: str, operator: str, *values: str) -> SelectorRequirement:
    return SelectorRequirement(key=key, operator=operator, values=list(values))


@pytest.mark.parametrize(
    ("own", "wanted"),
    [
        ({}, ""),
        ({"cassandra-datacenter": "foo"}, "cassandra-datacenter=foo"),
        ({"b": "2", "a": "1"}, "a=1,b=2"),
        ({"app": "cassandra", "app.kubernetes.io/managed-by": "Helm"}, "app=cassandra"),
        ({"app": "cassandra", "helm.sh/chart": "c", "argocd.argoproj.io/instance": "i"}, "app=cassandra"),
        ({"app": "cassandra", "kustomize.toolkit.fluxcd.io/name": "n"}, "app=cassandra"),
        ({"stable.instaclustr.com/schedule": "nightly", "app": "x"}, "app=x"),
        ({"app.kubernetes.io/managed-by": "Helm"}, ""),  # nothing that says anything: never everything
        ({"app": "cassandra", "app.kubernetes.io/instance": "release"}, "app=cassandra"),
        ({"app": "cassandra", "helm.toolkit.fluxcd.io/name": "n"}, "app=cassandra"),
        ({"app.kubernetes.io/name": "x"}, "app.kubernetes.io/name=x"),
        ({"cassandra-operator.instaclustr.com/rack": "r"}, "cassandra-operator.instaclustr.com/rack=r"),  # a pod's own
        ({"app": ""}, "app="),
    ],
)
def test_the_backups_own_labels_select(own: dict[str, str], wanted: str) -> None:
    assert effective_selector(backup(own)) == wanted


@pytest.mark.parametrize(
    ("selector", "wanted"),
    [
        (LabelSelector(), ""),
        (LabelSelector(match_labels={"b": "2", "a": "1"}), "a=1,b=2"),
        (LabelSelector(match_labels={"helm.sh/chart": "c"}), "helm.sh/chart=c"),  # named by hand: meant
        (LabelSelector(match_expressions=[expression("k", "In", "y", "x")]), "k in (x,y)"),
        (LabelSelector(match_expressions=[expression("k", "NotIn", "x")]), "k notin (x)"),
        (LabelSelector(match_expressions=[expression("k", "Exists")]), "k"),
        (LabelSelector(match_expressions=[expression("k", "DoesNotExist")]), "!k"),
        (LabelSelector(match_labels={"a": "1"}, match_expressions=[expression("k", "Exists")]), "a=1,k"),
    ],
)
def test_a_selector_replaces_the_labels(selector: LabelSelector, wanted: str) -> None:
    assert effective_selector(backup({"app": "other"}, selector)) == wanted


def pod(
    name: str, datacenter: str = "foo", *, containers: tuple[str, ...] = ("cassandra", "sidecar"), **own: str
) -> Any:
    marks = {
        labels.OPERATOR: labels.OPERATOR_VALUE,
        labels.DATACENTER: datacenter,
        labels.DATACENTER_UID: f"uid-{datacenter}",
        labels.RACK: "rack1",
        **own,
    }
    return {
        "metadata": {"name": name, "uid": f"uid-{name}", "labels": marks},
        "spec": {"containers": [{"name": container} for container in containers]},
    }


def test_pods_that_are_no_nodes_are_left_out() -> None:
    found = cassandra_pods(
        [
            pod("node-0"),
            pod("job", containers=("sidecar",), operator="somebody-else"),
            pod("database", containers=("cassandra",)),
            {"metadata": {"name": "plain", "uid": "u"}, "spec": {"containers": [{"name": "sidecar"}]}},
            {"metadata": {"name": "bare", "uid": "u", "labels": {}}, "spec": {}},
        ]
    )
    assert [p.name for p in found] == ["node-0"]
    assert found[0].datacenter == "foo"
    assert found[0].datacenter_uid == "uid-foo"
    assert found[0].rack == "rack1"
    assert found[0].uid == "uid-node-0"


def test_pods_come_by_datacenter_and_ordinal() -> None:
    found = cassandra_pods([pod("z-0", "a"), pod("x-10"), pod("x-9"), pod("x-0")])
    assert [p.name for p in found] == ["z-0", "x-0", "x-9", "x-10"]


@pytest.mark.parametrize(
    "mark",
    [
        {labels.INSPECTOR: "restore"},
        {"batch.kubernetes.io/job-name": "j"},
        {"job-name": "j"},
        {labels.DATACENTER: ""},
    ],
)
def test_a_helper_is_no_node_whatever_else_it_carries(mark: dict[str, str]) -> None:
    helper = pod("helper")
    helper["metadata"]["labels"] |= mark
    assert [p.name for p in cassandra_pods([helper, pod("node-0")])] == ["node-0"]


@pytest.mark.parametrize(
    ("selector", "words"),
    [
        (None, ""),
        (LabelSelector(), ""),
        (LabelSelector(match_labels={"app": "x", "example.com/a_b.c": ""}), ""),
        (LabelSelector(match_labels={"app": "x,other=y"}), "'x,other=y' is no value that the label app can have"),
        (LabelSelector(match_labels={"app": "x y"}), "'x y' is no value"),
        (LabelSelector(match_labels={"app": "-x"}), "'-x' is no value"),
        (LabelSelector(match_labels={"a b": "x"}), "'a b' is no label's key"),
        (LabelSelector(match_labels={"a=b,c": "x"}), "is no label's key"),
        (LabelSelector(match_labels={"Upper.com/a": "x"}), "is no label's key"),
        (LabelSelector(match_labels={"/a": "x"}), "is no label's key"),
        (LabelSelector(match_labels={"": "x"}), "'' is no label's key"),
        (LabelSelector(match_expressions=[expression("k", "In", "x),b in (y")]), "is no value"),
        (LabelSelector(match_expressions=[expression("k", "In")]), "In of k takes values"),
        (LabelSelector(match_expressions=[expression("k", "Exists", "x")]), "Exists of k takes no values"),
        (LabelSelector(match_expressions=[expression("k,!z", "Exists")]), "is no label's key"),
    ],
)
def test_what_no_selector_can_say(selector: LabelSelector | None, words: str) -> None:
    found = problem(selector)
    assert (words in found) if words else (found == "")
