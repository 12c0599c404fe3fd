"""``status.conditions`` as in ``meta/v1.Condition``. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from controller.clock import rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

Truth = Literal["True", "False", "Unknown"]


class Condition(msgspec.Struct, rename="camel", kw_only=True, frozen=True):
    """``reason`` is one CamelCase word; ``message`` one sentence for people; ``last_transition_time`` RFC 3339.

    ``meta/v1`` requires ``lastTransitionTime`` and ``reason``, so nothing is left out on the wire.
    """

    type: str
    status: Truth = "Unknown"
    reason: str = ""
    message: str = ""
    last_transition_time: str = ""
    observed_generation: int = 0


def get_condition(conditions: Iterable[Condition], type_: str) -> Condition | None:
    return next((c for c in conditions if c.type == type_), None)


def is_true(conditions: Iterable[Condition], type_: str) -> bool:
    found = get_condition(conditions, type_)
    return found is not None and found.status == "True"


def set_condition(conditions: Iterable[Condition], new: Condition, now: datetime) -> list[Condition]:
    """The list with ``new`` in place of its type, order kept; the transition time moves only when the status does.

    ``new.last_transition_time`` is ignored. Setting what is there already gives an equal list: no write follows.
    """
    result = list(conditions)
    for i, old in enumerate(result):
        if old.type == new.type:
            kept = old.last_transition_time if old.status == new.status else ""
            result[i] = msgspec.structs.replace(new, last_transition_time=kept or rfc3339(now))
            return result
    result.append(msgspec.structs.replace(new, last_transition_time=rfc3339(now)))
    return result
