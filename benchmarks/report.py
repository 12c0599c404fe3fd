"""benchmarks/TRANSFER.md out of what was measured. Pure: records in, text out."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from benchmarks.figures import MIB, Medians, cpu_per_gb, durable, ratio, server_per_gb, stall, wall
from benchmarks.goals import GOALS
from benchmarks.session import CHANGED, S5CMD, TUNED, UNCHANGED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchmarks.figures import Group
    from benchmarks.goals import Goal
    from benchmarks.session import Record

_STORES = {
    "http": "MinIO over HTTP", "https": "MinIO over TLS", "azure": "Azurite", "gcs": "fake-gcs-server",
}  # fmt: skip
NOTHING = "-"
_CASES = {"real": "", "many": "20,000 files of 4 KiB: ", "huge": "one file of 8 GiB: "}


def render(records: Sequence[Record], facts: Mapping[str, str], how: str) -> str:
    """The whole file. ``facts``: of machine and versions; ``how``: the last section."""
    medians = Medians(records)
    lines = [
        "# Transfer", "",
        "Written by `make bench-transfer`. What is measured, and how, is in [README.md](README.md).", "",
        *(f"- {name}: {value}" for name, value in facts.items()), "",
    ]  # fmt: skip
    lines += ["Each figure is the median of the rounds, with [minimum-maximum]. GB are 10⁹ bytes, MiB 2²⁰.", ""]
    lines += _goals(medians)
    heading = ""
    for group in medians.groups():
        if _STORES[group[0]] != heading:
            heading = _STORES[group[0]]
            lines += [f"## {heading}", ""]
        lines += _table(medians, group)
    return "\n".join([*lines, "## How to repeat it", "", how, ""])


def _goals(medians: Medians) -> list[str]:
    kinds = list(dict.fromkeys(group[0] for group in medians.groups()))
    rows = [
        "## Goals",
        "",
        f"| Goal | {' | '.join(_STORES[kind] for kind in kinds)} |",
        "|---" * (len(kinds) + 1) + "|",
    ]
    for goal in GOALS:
        cells = [_verdict(goal, goal.value(medians, kind)) for kind in kinds]
        rows.append(f"| {goal.text} | {' | '.join(cells)} |")
    return [*rows, ""]


def _verdict(goal: Goal, value: float | None) -> str:
    if value is None:
        return "not measured"
    return f"{'reached' if goal.enough(value) else '**not reached**'}: {value:.2f} {goal.unit}"


def _table(medians: Medians, group: Group) -> list[str]:
    _, case, step = group
    columns: dict[str, Callable[[Record], float | None]] = {"wall s": wall, "to disk s": durable}
    if step in {UNCHANGED, CHANGED}:
        columns |= {"CPU s": lambda record: record.cpu, "server CPU s": lambda record: record.server_cpu}
    else:
        columns |= {
            "MB/s": lambda record: record.size / 1e6 / record.wall, "CPU s/GB": cpu_per_gb,
            "server CPU s/GB": server_per_gb,
        }  # fmt: skip
    columns |= {
        "peak MiB": lambda record: record.memory / MIB, "requests": lambda record: record.requests or None,
        "loop stall p99 ms": lambda record: None if (found := stall(record)) is None else found * 1000,
    }  # fmt: skip
    tools = medians.tools(group)
    cells = {
        title: [spread(medians.values(group, tool, value)) for tool in tools] for title, value in columns.items()
    } | {
        "times as fast as s5cmd": [_times(medians, group, S5CMD, tool) for tool in tools],
        "as medusa tuned": [_times(medians, group, TUNED, tool) for tool in tools],
    }
    cells = {title: column for title, column in cells.items() if {*column} != {NOTHING}}  # some are of some steps
    title = f"{_CASES[case]}{step}"
    lines = [f"### {title[0].upper()}{title[1:]}", "", f"| tool | {' | '.join(cells)} |"]
    lines.append("|---" * (len(cells) + 1) + "|")
    lines += [f"| {' | '.join(row)} |" for row in zip(tools, *cells.values(), strict=True)]
    return [*lines, ""]


def _times(medians: Medians, group: Group, than: str, tool: str) -> str:
    """How many times faster ``tool`` is."""
    found = ratio(medians.of(group, than, wall), medians.of(group, tool, wall))
    return NOTHING if found is None else f"{found:.2f}"


def spread(values: Sequence[float]) -> str:
    """``median [minimum-maximum]``."""
    if not values:
        return NOTHING
    middle, least, most = (_number(value) for value in (median(values), min(values), max(values)))
    return middle if least == most else f"{middle} [{least}-{most}]"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.2f}"
