"""When a node is given up, tried again, or waited for: pure, so that every rule has a table in its test."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.protocol import State

if TYPE_CHECKING:
    from reconcilers.operations import View

_ASKED_WRONGLY = frozenset({"InvalidSpec", "AgentTooOld"})
_RETRY_FIRST = 5.0  # seconds; doubled a try
_RETRY_LAST = 300.0
_EPOCH_START = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True)
class Running:
    pass


@dataclass(frozen=True, slots=True)
class Succeeded:
    pass


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The node's failure is final. ``lasting``: no other try would go better, as what was asked for is wrong."""

    reason: str
    message: str
    lasting: bool = False


@dataclass(frozen=True, slots=True)
class TryAgain:
    """It may work the next time; ``message`` says why it did not."""

    reason: str
    message: str


Verdict = Running | Succeeded | GiveUp | TryAgain


def judge(view: View, *, attempts: int, retries: int) -> Verdict:
    """What an operation's state means, when ``attempts`` tries were made of the first and ``retries`` more."""
    if view.refused is not None:
        return GiveUp(view.refused.reason, view.refused.message, lasting=view.refused.reason in _ASKED_WRONGLY)
    operation = view.operation
    if operation is None or not operation.state.final:
        return Running()
    if operation.state is State.SUCCEEDED:
        return Succeeded()
    error = operation.error
    reason = error.reason if error else f"Operation{operation.state}"
    message = error.message if error else f"the agent's operation ended {operation.state.value}"
    if error is not None and error.retryable and attempts <= retries:
        return TryAgain(reason, message)
    return GiveUp(reason, message, lasting=error is not None and not error.retryable)


def restarts(view: View) -> int:
    """How often the agent was restarted in this work: each counts as a try, or one that always dies would never end."""
    return max(0, view.operation.attempts - 1) if view.operation is not None else 0


def retry_delay(attempts: int) -> float:
    """Seconds before the next try, after ``attempts`` of them."""
    return min(_RETRY_LAST, _RETRY_FIRST * 2.0 ** max(0, attempts - 1))


def overdue(since: dt.datetime | None, seconds: int, now: dt.datetime) -> bool:
    """True when more than ``seconds`` have passed; a limit of 0 means none."""
    return seconds > 0 and since is not None and (now - since).total_seconds() > seconds


def epoch(created: dt.datetime, uid: str) -> str:
    """Short, sortable, the same for each retry of one backup: it ends every object's name (agent.md section 1)."""
    seconds = max(0, int((created - _EPOCH_START).total_seconds()))
    order = base64.b32hexencode(seconds.to_bytes(5)).decode().lower()
    return f"{order}{hashlib.sha256(uid.encode()).hexdigest()[:4]}"
