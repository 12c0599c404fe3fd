"""What only the operator can see to be wrong, each with its sentence."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import yaml

from reconcilers.api.crds import DIRECTORY
from reconcilers.api.schedule import CassandraBackupSchedule
from reconcilers.schedule import check
from reconcilers.schedule.check import checked
from reconcilers.schedule.slots import ScheduleError
from tests.unit.reconcilers.schedule.objects import schedule

LONG = "a" * 64


@pytest.mark.parametrize(
    ("given", "reason", "words"),
    [
        ({"cron": "99 * * * *"}, "InvalidSchedule", "has a bad minute"),
        ({"cron": "0 0 30 2 *"}, "NeverMatches", "names no time"),
        ({"timeZone": "Mars/Phobos"}, "InvalidTimeZone", "'Mars/Phobos' is not known"),
        ({"name": "a" * 51}, "NameTooLong", "at most 50 characters"),
        ({"own": {}}, "EmptySelector", "neither labels nor a selector"),
        ({"own": {"app.kubernetes.io/managed-by": "Helm"}}, "EmptySelector", "neither labels nor a selector"),
        ({"own": {"app": "x"}, "template": {"selector": {}}}, "EmptySelector", "neither labels nor a selector"),
        ({"own": {"a b": "c"}}, "InvalidTemplate", "template's labels are not valid: 'a b' is no label's key"),
        ({"own": {"a": "b c"}}, "InvalidTemplate", "template's labels are not valid: 'b c' is no value"),
        ({"own": {"a": LONG}}, "InvalidTemplate", "is no value"),
        ({"own": {LONG: "a"}}, "InvalidTemplate", "is no label's key"),
        ({"own": {"": "b"}}, "InvalidTemplate", "is no label's key"),
        ({"annotations": {"a b": "c"}}, "InvalidTemplate", "template's annotations are not valid: 'a b'"),
        (
            {"template": {"selector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}},
            "InvalidSelector",
            "template's selector is not valid: In of a takes values",
        ),
        ({"template": {"snapshotTag": "t"}}, "InvalidTemplate", "snapshotTag cannot be in a template"),
        ({"template": {"cancel": True}}, "InvalidTemplate", "cancel cannot be in a template"),
        ({"retention": {"keepWithin": "30 days"}}, "InvalidRetention", "'30 days' is not a number and one of"),
    ],
)
def test_refused(given: dict[str, Any], reason: str, words: str) -> None:
    with pytest.raises(ScheduleError) as raised:
        checked(schedule(**given))
    assert raised.value.reason == reason
    assert words in str(raised.value)


def test_what_is_not_acted_on_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "unsupported", lambda _: ["spec.a is not acted on yet: remove it", "so is b"])
    with pytest.raises(ScheduleError, match="remove it; so is b") as raised:
        checked(schedule())
    assert raised.value.reason == "FieldNotSupported"


@pytest.mark.parametrize("field", ["importExisting", "ttlSecondsAfterFinished"])
def test_refused_one_way_or_the_other(field: str) -> None:
    value = {"importExisting": True, "ttlSecondsAfterFinished": 60}[field]
    with pytest.raises(ScheduleError, match=field):
        checked(schedule(template={field: value}))


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"cron": "@daily", "timeZone": "Europe/Vienna"},
        {"name": "a" * 50},
        {"own": {"app": "", "example.com/a.b_c-d": "A.b_c-D"}, "annotations": {"a": "any thing"}},
        {"own": {}, "template": {"selector": {"matchLabels": {"a": "b"}}}},
        {"retention": {"keepWithin": "30d", "keepLast": 0}},
    ],
)
def test_accepted(given: dict[str, Any]) -> None:
    checked(schedule(**given))


def test_the_example_can_be_acted_on_and_is_the_one_of_the_docs() -> None:
    example = yaml.safe_load((DIRECTORY.parent / "examples" / "schedule.yaml").read_text())
    checked(msgspec.convert(example, CassandraBackupSchedule))
    page = (DIRECTORY.parents[1] / "docs" / "schedule.md").read_text()
    assert yaml.safe_load(page.split("```yaml\n")[1].split("```")[0]) == example
