"""What becomes of a request, to the API server or to an agent."""

from __future__ import annotations

from enum import StrEnum


class Fate(StrEnum):
    """What becomes of one request, to the API server or to an agent."""

    CONFLICT = "conflicts"
    REFUSED = "is refused"
    LOST = "is done, its answer is lost"
    TIMES_OUT = "times out, undone"
    SLOW = "is done, its answer is slow"
    HANGS = "hangs, then is done"
    DIES_BEFORE = "kills the operator before it is done"
    DIES_AFTER = "kills the operator when it is done"
    LATE = "times out, and is done later"
    DIES_LATE = "kills the operator, and is done later"


TO_SERVER = tuple(Fate)[:8]
TO_AGENT = (
    Fate.LATE, Fate.REFUSED, Fate.LOST, Fate.SLOW, Fate.DIES_LATE, Fate.HANGS, Fate.DIES_BEFORE, Fate.DIES_AFTER,
)  # fmt: skip


class Fates:
    """Of the requests to come."""

    def __init__(self) -> None:
        self._planned: list[tuple[int, Fate]] = []

    def plan(self, after: int, fate: Fate) -> None:
        """For the next request but ``after``."""
        self._planned.append((after, fate))

    def next(self) -> Fate | None:
        met = next((one for one in self._planned if one[0] <= 0), None)
        if met is not None:
            self._planned.remove(met)
        self._planned = [(after - 1, fate) for after, fate in self._planned]
        return met[1] if met else None

    def clear(self) -> None:
        self._planned = []
