"""What is to be reached, as numbers out of the medians. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.figures import MIB, cpu_per_gb, durable, ratio, stall, wall
from benchmarks.session import FULL, OURS, RESTORE, S5CMD, TUNED, UNCHANGED

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.figures import Medians


@dataclass(frozen=True)
class Goal:
    """``value`` of a store's medians, and whether it is enough; None where what it takes was not run."""

    text: str
    value: Callable[[Medians, str], float | None]
    enough: Callable[[float], bool]
    unit: str = "times"


def _cpu_share(medians: Medians, kind: str, step: str) -> float | None:
    group = (kind, "real", step)
    return ratio(medians.of(group, OURS, cpu_per_gb), medians.of(group, S5CMD, cpu_per_gb))


GOALS = (
    Goal("upload 1.3 times as fast as s5cmd", lambda m, k: m.faster((k, "real", FULL), S5CMD), lambda x: x >= 1.3),
    Goal("upload 3 times as fast as tuned Medusa", lambda m, k: m.faster((k, "real", FULL), TUNED), lambda x: x >= 3),
    Goal("restore as fast as s5cmd", lambda m, k: m.faster((k, "real", RESTORE), S5CMD), lambda x: x >= 1),
    Goal(
        "restore as fast as s5cmd, until the bytes are on the disk",
        lambda m, k: m.faster((k, "real", RESTORE), S5CMD, durable), lambda x: x >= 1,
    ),
    Goal(
        "restore 3 times as fast as tuned Medusa",
        lambda m, k: m.faster((k, "real", RESTORE), TUNED), lambda x: x >= 3,
    ),
    Goal("upload: CPU per GB at most half of s5cmd's", lambda m, k: _cpu_share(m, k, FULL), lambda x: x <= 0.5),
    Goal("restore: CPU per GB at most half of s5cmd's", lambda m, k: _cpu_share(m, k, RESTORE), lambda x: x <= 0.5),
    Goal(
        "nothing changed: at most 0.5 s beyond the snapshot",
        lambda m, k: m.of((k, "real", UNCHANGED), OURS, wall), lambda x: x <= 0.5, "s",
    ),
    Goal(
        "peak memory under 256 MiB, the worst of all steps",
        lambda m, k: m.most(k, lambda record: record.memory / MIB), lambda x: x < 256, "MiB",
    ),
    Goal(
        "event-loop stall p99 under 50 ms, the worst of all steps",
        lambda m, k: _times(m.most(k, stall), 1000), lambda x: x < 50, "ms",
    ),
)  # fmt: skip


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor
