"""What a reader of the figures must know of the machine, the programs and the data. No names of hosts, no paths."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import peers
from benchmarks.session import FULL
from dev.bed import tools

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.session import Record


def facts(records: Sequence[Record], *, quick: bool) -> dict[str, str]:
    """Of records that this machine has made."""
    loads = sorted(record.load for record in records)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    found = {
        "date": " and ".join(sorted({record.date for record in records})),
        "machine": f"{os.cpu_count()} cores ({_processor()}), {memory:.0f} GiB, store and client on the same one;"
        f" Linux {platform.release().split('-')[0]}",
        "load before each step": f"{loads[0]:.1f} to {loads[-1]:.1f}, median {loads[len(loads) // 2]:.1f}",
        "versions": ", ".join(
            [f"Python {platform.python_version()}", *(_version(name) for name in ("s5cmd", "minio")),
             f"cassandra-medusa {peers.MEDUSA}", "Cassandra 5.0.6 (the data)"]
        ),
        "page cache": "warm: everything is read once before each backup",
    }  # fmt: skip
    for record in records:
        if record.step == FULL:
            found[f"data set {record.case}"] = f"{record.files:,} files, {record.size / 1e9:.2f} GB"
    if quick:
        found["note"] = "**a run with `--quick`: a tenth of the data, to try the harness; its figures mean nothing**"
    return found


def how(records: Sequence[Record]) -> str:
    """What to say to a shell, a line for each data set: it may be one run or several."""
    lines = []
    for case in dict.fromkeys(record.case for record in records):
        kinds = ",".join(dict.fromkeys(record.kind for record in records if record.case == case))
        rounds = 1 + max(record.round for record in records if record.case == case)
        lines.append(f"    make bench-transfer ARGS='--add --only {kinds} --cases {case} --rounds {rounds}'")
    return "\n".join(["On a quiet Linux machine with 40 GB free:", "", *lines])


def _version(tool: str) -> str:
    return f"{tool} {tools.TOOLS[tool].version}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
