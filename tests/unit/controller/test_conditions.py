from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from controller.conditions import Condition, get_condition, is_true, set_condition

T0 = datetime(2026, 1, 1, tzinfo=UTC)
READY = Condition(type="Ready", status="True", reason="AllUp", message="3 of 3", observed_generation=2)


def test_the_transition_time_moves_only_with_the_status() -> None:
    conditions = set_condition([], READY, T0)
    assert conditions[0].last_transition_time == "2026-01-01T00:00:00Z"
    later = T0 + timedelta(hours=1)
    worded = set_condition(conditions, msgspec.structs.replace(READY, message="4 of 4"), later)
    assert (worded[0].message, worded[0].last_transition_time) == ("4 of 4", "2026-01-01T00:00:00Z")
    fallen = set_condition(worded, msgspec.structs.replace(READY, status="False"), later)
    assert fallen[0].last_transition_time == "2026-01-01T01:00:00Z"


def test_setting_the_same_changes_nothing_and_keeps_the_order() -> None:
    conditions = set_condition(
        set_condition([], READY, T0), Condition(type="Degraded", status="False", reason="Fine"), T0
    )
    again = set_condition(conditions, READY, T0 + timedelta(days=1))
    assert again == conditions
    assert [c.type for c in again] == ["Ready", "Degraded"]


def test_get() -> None:
    conditions = set_condition([], READY, T0)
    assert get_condition(conditions, "Nothing") is None
    assert is_true(conditions, "Ready")
    assert not is_true(conditions, "Nothing")


def test_the_wire_has_what_meta_v1_requires() -> None:
    wire = msgspec.to_builtins(Condition(type="Ready"))
    assert wire == {
        "type": "Ready",
        "status": "Unknown",
        "reason": "",
        "message": "",
        "lastTransitionTime": "",
        "observedGeneration": 0,
    }
