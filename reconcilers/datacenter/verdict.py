"""One finding of a reconcile, before it is a condition with a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from controller.conditions import Truth


class Verdict(NamedTuple):
    """``reason`` is a stable CamelCase word, ``message`` a sentence that says what to do."""

    type: str
    status: Truth
    reason: str
    message: str
