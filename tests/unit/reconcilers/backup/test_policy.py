from __future__ import annotations

import datetime as dt
import itertools
import random
import re

import pytest

from agent import catalog
from agent.protocol import Failure, Kind, Operation, State
from reconcilers.agents import AgentRefused
from reconcilers.backup import policy
from reconcilers.backup.policy import GiveUp, Running, Succeeded, TryAgain
from reconcilers.operations import View

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
SOFT = Failure(reason="StorageThrottled", message="slow down", retryable=True)
HARD = Failure(reason="AccessDenied", message="denied")


def view(state: State, error: Failure | None = None, attempts: int = 1) -> View:
    operation = Operation(
        id="a", kind=Kind.BACKUP, state=state, revision=1, session="s", error=error, attempts=attempts
    )
    return View(operation=operation)


@pytest.mark.parametrize(
    ("seen", "attempts", "retries", "verdict"),
    [
        (View(), 1, 3, Running()),
        (view(State.PENDING), 1, 3, Running()),
        (view(State.RUNNING), 9, 3, Running()),
        (view(State.SUCCEEDED), 1, 3, Succeeded()),
        (view(State.SUCCEEDED), 9, 3, Succeeded()),
        (view(State.FAILED, SOFT), 1, 3, TryAgain("StorageThrottled", "slow down")),
        (view(State.FAILED, SOFT), 3, 3, TryAgain("StorageThrottled", "slow down")),
        (view(State.FAILED, SOFT), 4, 3, GiveUp("StorageThrottled", "slow down")),
        (view(State.FAILED, SOFT), 1, 0, GiveUp("StorageThrottled", "slow down")),
        (view(State.FAILED, HARD), 1, 3, GiveUp("AccessDenied", "denied", lasting=True)),
        (view(State.FAILED), 1, 3, GiveUp("OperationFailed", "the agent's operation ended Failed")),
        (view(State.CANCELLED), 1, 3, GiveUp("OperationCancelled", "the agent's operation ended Cancelled")),
        (View(refused=AgentRefused("OtherSpec", "known")), 1, 3, GiveUp("OtherSpec", "known")),
        (View(refused=AgentRefused("InvalidSpec", "odd")), 1, 3, GiveUp("InvalidSpec", "odd", lasting=True)),
        (View(refused=AgentRefused("AgentTooOld", "old")), 1, 3, GiveUp("AgentTooOld", "old", lasting=True)),
        (View(refused=AgentRefused("OperationWithdrawn", "late")), 1, 3, GiveUp("OperationWithdrawn", "late")),
    ],
)
def test_judge(seen: View, attempts: int, retries: int, verdict: policy.Verdict) -> None:
    assert policy.judge(seen, attempts=attempts, retries=retries) == verdict


@pytest.mark.parametrize(
    ("seen", "count"), [(View(), 0), (view(State.RUNNING), 0), (view(State.RUNNING, attempts=4), 3)]
)
def test_restarts_of_the_agent(seen: View, count: int) -> None:
    assert policy.restarts(seen) == count


def test_delays_double_and_end() -> None:
    assert [policy.retry_delay(n) for n in range(1, 9)] == [5, 10, 20, 40, 80, 160, 300, 300]
    assert policy.retry_delay(0) == 5


@pytest.mark.parametrize(
    ("since", "limit", "late"),
    [
        (None, 10, False),
        (NOW, 10, False),
        (NOW - dt.timedelta(seconds=10), 10, False),
        (NOW - dt.timedelta(seconds=10.5), 10, True),
        (NOW - dt.timedelta(days=9), 0, False),
        (NOW + dt.timedelta(days=9), 10, False),
    ],
)
def test_overdue(since: dt.datetime | None, limit: int, late: bool) -> None:
    assert policy.overdue(since, limit, NOW) is late


def test_epochs_sort_by_creation() -> None:
    rng = random.Random(1)
    moments = sorted(NOW + dt.timedelta(seconds=rng.randrange(3_000_000_000)) for _ in range(500))
    epochs = [policy.epoch(moment, f"uid-{rng.random()}") for moment in moments]
    for (earlier, later), (a, b) in zip(itertools.pairwise(moments), itertools.pairwise(epochs), strict=True):
        assert a < b or earlier == later


def test_an_epoch_is_stable_short_and_fit_for_a_key() -> None:
    first = policy.epoch(NOW, "uid")
    assert first == policy.epoch(NOW, "uid")
    assert first == "001s7e4017b7"  # a retry by a later release must find the same objects
    assert re.fullmatch("[0-9a-v]{8}[0-9a-f]{4}", policy.epoch(NOW, "other"))
    assert policy.epoch(NOW, "other") != first, "two backups of one second differ"


def test_an_epoch_before_the_first_is_the_first() -> None:
    assert policy.epoch(dt.datetime(2020, 1, 1, tzinfo=dt.UTC), "u").startswith("00000000")


def test_the_agent_accepts_an_epoch() -> None:
    assert catalog.check_epoch(policy.epoch(NOW, "uid")) is not False
