"""Bytes are lives, three for each step; and the shortest of a life that still breaks a rule."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.unit.reconcilers.backup.model.play import play
from tests.unit.reconcilers.backup.model.steps import DRAWN, NUMBERS
from tests.unit.reconcilers.backup.model.world import BrokenRuleError

if TYPE_CHECKING:
    from collections.abc import Sequence

    First = tuple[int, int, int]
    Step = tuple[str, int, int]

LEAST, MOST = 3 * 11, 3 * 51  # bytes of a life


async def lived(drawn: bytes) -> None:
    """BrokenRuleError with the story, and how to play it again."""
    kind, *steps = (tuple(drawn[at : at + 3]) for at in range(0, len(drawn) - 2, 3))
    first, steps = (kind[0] % NUMBERS, kind[1] % NUMBERS, kind[2]), [_step(*step) for step in steps]
    if (broken := await _broken(first, steps)) is None:
        return
    for at in reversed(range(len(steps))):
        fewer = [*steps[:at], *steps[at + 1 :]]
        if (still := await _broken(first, fewer)) is not None:
            steps, broken = fewer, still
    raise BrokenRuleError(f"{broken}\n\nplay(first={first}, steps={steps})")


def _step(kind: int, a: int, b: int) -> Step:
    return DRAWN[kind % len(DRAWN)], a % NUMBERS, b % NUMBERS


async def _broken(first: First, steps: Sequence[Step]) -> BrokenRuleError | None:
    try:
        await play(first, steps)
    except BrokenRuleError as error:
        return error
    return None
