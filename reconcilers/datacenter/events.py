"""What a person watching events should hear of. Pure: only changes speak, so a datacenter at rest is silent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from controller.conditions import get_condition

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from reconcilers.api.datacenter_status import DataCenterStatus

# By condition and its status: the event's type, and its reason where that is not the condition's own.
_SPOKEN: dict[tuple[str, str], tuple[Literal["Normal", "Warning"], str]] = {
    ("SpecValid", "False"): ("Warning", ""),
    ("ScalingDown", "False"): ("Warning", "ScaleDownNotSupported"),
    ("Degraded", "True"): ("Warning", ""),
    ("RequiresUpdate", "True"): ("Normal", "ConfigChanged"),
    ("Restored", "False"): ("Warning", "RestoreRefused"),
}
# A restore that is under way reports by itself; these are decisions of the datacenter.
_REFUSALS = frozenset({"NotEmpty", "RestoreLost", "NameTaken"})
_NAMED = 5


class Said(NamedTuple):
    type: Literal["Normal", "Warning"]
    reason: str
    message: str


def of_change(before: DataCenterStatus, after: DataCenterStatus) -> Iterator[Said]:
    for new in after.conditions:
        spoken = _SPOKEN.get((new.type, new.status))
        old = get_condition(before.conditions, new.type)
        if spoken is None or (old and (old.status, old.reason) == (new.status, new.reason)):
            continue
        if new.type == "Restored" and new.reason not in _REFUSALS:
            continue
        yield Said(spoken[0], spoken[1] or new.reason, new.message)


def volumes_kept(claims: Sequence[str]) -> str:
    rest = len(claims) - _NAMED
    names = ", ".join(sorted(claims)[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
    return f"the datacenter's volumes are kept: {names}; delete the claims when their data is not wanted any more"
