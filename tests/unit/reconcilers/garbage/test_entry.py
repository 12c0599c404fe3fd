"""What is remembered of garbage, and when it is looked at."""

from __future__ import annotations

import datetime as dt
from typing import Any

from msgspec import structs

from agent.protocol import Collected, CollectSpec, Endpoint, Location, StoreOptions
from controller.clock import parse_rfc3339
from reconcilers import labels
from reconcilers.api.common import KeySelector
from reconcilers.errands import NotYet
from reconcilers.garbage import entry as entries
from reconcilers.garbage.cycle import Cycle, errands
from reconcilers.garbage.entry import Ended, Entry, Left

NOON = "2026-11-28T12:00:00Z"
LATER = "2026-11-29T12:00:00Z"
DAY = 86_400


def entry(**changes: Any) -> Entry:
    made = Entry(
        location=Location(backup_type="AWS_S3", target="bucket"), cluster="c", datacenter="d", name="foo",
        nodes={"n0": Left(10), "n1": Left(20, empty=True)}, since=NOON, due=NOON, notes=["u1/forgotten"],
    )  # fmt: skip
    return structs.replace(made, **changes)


def test_it_is_read_as_it_was_written() -> None:
    body = entries.config_map(entry(), "ns")
    assert entries.decode(body) == entry()
    assert body["metadata"]["labels"] == {labels.GARBAGE: "foo"}
    assert "ownerReferences" not in body["metadata"], "it outlives the backups and the datacenter"


def test_what_reaches_the_store_is_kept() -> None:
    """A note of a backup that named no Secret takes nothing away."""
    known = entry(credentials="keys", ca_bundle=KeySelector(name="ca", key="pem"))
    assert entries.decode(entries.config_map(known, "ns")) == known
    for both in (entries.merged(known, entry(notes=["u2/x"])), entries.merged(entry(notes=["u2/x"]), known)):
        assert (both.credentials, both.ca_bundle) == ("keys", KeySelector(name="ca", key="pem"))


def test_what_somebody_made_of_it_is_none() -> None:
    for data in ({}, {"entry.json": ""}, {"entry.json": "{"}, {"entry.json": '{"cluster": "c"}'}):
        assert entries.decode({"data": data}) is None
    assert entries.decode({}) is None


def test_a_place_has_one_name() -> None:
    same = entry(since=LATER, nodes={}, notes=["x"], cycle=7)
    same.location = Location(backup_type="AWS_S3", target="bucket", options=StoreOptions(encryption="KMS"))
    assert entries.name_of(same) == entries.name_of(entry())
    others = [
        entry(cluster="x"),
        entry(datacenter="x"),
        entry(name="x"),
        entry(location=Location(backup_type="AWS_S3", target="x")),
        entry(location=Location(backup_type="AWS_S3", target="bucket", endpoint=Endpoint(url="http://x"))),
    ]
    assert len({entries.name_of(one) for one in [*others, entry()]}) == 6
    assert len(entries.name_of(entry(name="f" * 60))) < 64


def test_notes_add_up_and_none_twice() -> None:
    fresh = entry(nodes={"n1": Left(5), "n2": Left(7)}, notes=["u2/forgotten"], since=LATER, due=LATER)
    both = entries.merged(entry(), fresh)
    assert both.nodes == {"n0": Left(10), "n1": Left(25, empty=True), "n2": Left(7)}
    assert (both.since, both.due) == (LATER, NOON)
    assert entries.merged(both, fresh) == both
    assert entries.merged(both, structs.replace(fresh, notes=["u2/unfinished"])).nodes["n2"].expected == 14


def test_a_run_that_left_nothing_is_kept_where_others_left_something() -> None:
    bad, good = Ended("e1"), Ended("e2", ["n0", "n9"])
    known = entry(ended=[bad])
    fresh = entry(nodes={}, ended=[good], notes=["u2/unfinished"], since=LATER, due=LATER)
    both = entries.merged(known, fresh)
    assert both == entry(ended=[bad, good]), "it is no garbage that is waited for"
    assert entries.merged(both, fresh) == both
    assert entries.merged(both, structs.replace(fresh, ended=[Ended("e3", ["n0"])])) == both, "one is enough"
    assert entries.merged(known, structs.replace(fresh, ended=[Ended("e3", ["n9"])])) == known, "no node of these"
    other = entries.merged(both, structs.replace(fresh, ended=[Ended("e3", ["n0", "n1"])]))
    assert [run.epoch for run in other.ended] == ["e1", "e2", "e3"]


def test_an_agent_is_told_which_runs_ended_without_a_backup_of_its_node() -> None:
    told = entry(ended=[Ended("e1"), Ended("e2", ["n1"])])
    specs = {node: errand.spec for node, errand in errands(told, "cm", DAY)}
    assert {node: (spec.ended, spec.allow_ended) for node, spec in specs.items() if isinstance(spec, CollectSpec)} == {
        "n0": (["e1", "e2"], True),
        "n1": (["e1"], False),
    }
    more = entries.merged(told, entry(nodes={}, ended=[Ended("e3", ["n0"])]))
    assert ids(more)[0] != ids(told)[0], "the question is another one"


def test_not_every_run_is_remembered_for_ever() -> None:
    known = entry()
    for number in range(600):
        known = entries.merged(known, entry(notes=[f"u{number}/unfinished"], ended=[Ended(f"e{number}")]))
    assert [run.epoch for run in known.ended] == [f"e{number}" for number in range(100, 600)]


def test_a_note_brings_only_the_first_cycle_forward() -> None:
    fresh = entry(notes=["u2/forgotten"], due=NOON)
    assert entries.merged(entry(due=LATER), fresh).due == NOON
    assert entries.merged(entry(due=LATER, cycle=2), fresh).due == LATER


def test_the_next_cycle_comes_when_the_list_is_older_than_the_grace() -> None:
    now = parse_rfc3339(NOON)
    for grace in (60, 3600, DAY):
        coming = entries.next_cycle(entry(), now, grace)
        assert coming.cycle == 2
        assert dt.timedelta(seconds=grace) < coming.due_at - now <= dt.timedelta(seconds=grace * 1.1)


def ids(of: Entry, uid: str = "cm") -> list[str]:
    return [errand.id for _, errand in errands(of, uid, DAY)]


def test_an_errand_is_that_of_one_cycle_and_one_knowledge() -> None:
    assert ids(entry()) == ids(entry(), "cm")
    for other in (ids(entry(), "other"), ids(entry(cycle=2)), ids(entry(since=LATER))):
        assert not set(other) & set(ids(entry()))
    (_, first), (_, second) = errands(entry(), "cm", DAY)
    assert isinstance(second.spec, CollectSpec)
    assert (second.spec.node, second.spec.expected, second.spec.allow_empty, second.spec.grace) == ("n1", 20, True, DAY)
    assert isinstance(first.spec, CollectSpec)
    assert not first.spec.allow_empty, "the bucket did not say so"
    assert second.by == "n1"
    assert all(len(i) < 190 for i in ids(entry(), "u" * 36))


def test_a_place_is_clean_when_nothing_is_left_to_wait_for() -> None:
    assert Cycle(done={"n": Collected(objects=3, live=3)}).clean
    assert Cycle(done={"n": Collected(objects=5, live=3, candidates=2, deleted=2)}).clean
    for left in ({"young": 1}, {"owned": 1}, {"candidates": 1}, {"candidates": 2, "deleted": 1}):
        assert not Cycle(done={"m": Collected(), "n": Collected(**left)}).clean
    assert not Cycle(done={"n": Collected()}, problems={"m": NotYet("AccessDenied", "no")}).clean


def test_what_passes_by_itself_is_no_trouble() -> None:
    assert Cycle(problems={"n": NotYet("CollectBlocked", "a backup has just begun")}).trouble == ""
    two = {name: NotYet("AccessDenied", "no") for name in ("n", "m")}
    assert Cycle(problems=two).trouble == "m: no; and 1 nodes more"
