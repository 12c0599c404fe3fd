"""``make bench-transfer``: the agent, s5cmd and Medusa, side by side on real object stores; writes TRANSFER.md.

python -m benchmarks.transfer [--only http,https,azure,gcs] [--cases real,many,huge] [--rounds 3] [--add] [--quick]
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from benchmarks import certificates, dataset, facts, peers, report
from benchmarks.paths import HERE, REPO, root
from benchmarks.session import CASES, DEFAULTS, S5CMD, TOOLS, TUNED, Record, Session
from dev.bed import tools
from dev.bed.say import note

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

STORES = {"http": "minio", "https": "minio", "azure": "azurite", "gcs": "fake-gcs-server"}
_S3 = frozenset({"http", "https"})
_SLOW = frozenset({TUNED, DEFAULTS})  # one round of the synthetic sets: minutes each, and no goal hangs on them
REPORT = HERE / "TRANSFER.md"
_AGED = 360.0  # seconds until ext4 uses the inodes of deleted files again without a second look at them


def sessions(stores: Sequence[str], cases: Sequence[str], chosen: Sequence[str], rounds: int) -> Iterator[Session]:
    """In order: rounds inside a case, so that all tools meet the machine in the same minutes, each first in turn."""
    for kind in stores:
        for case in cases:
            able = [tool for tool in chosen if _can(tool, kind, case)]
            for number in range(rounds):
                first = number % len(able) if able else 0
                for tool in able[first:] + able[:first]:
                    if number == 0 or case == "real" or tool not in _SLOW:
                        yield Session(kind, case, tool, number)


def _can(tool: str, kind: str, case: str) -> bool:
    """s5cmd speaks S3 alone. With emulators large or many files say little of the services.

    Medusa's default cap of 50 MB/s makes 8 GiB 3 minutes, whatever else it does.
    """
    if kind not in _S3 and (tool == S5CMD or case != "real"):
        return False
    return not (tool == DEFAULTS and case == "huge")


def main() -> int:
    options = _options()
    for end in (signal.SIGTERM, signal.SIGINT):  # servers are ended and data removed, even where INT was ignored
        signal.signal(end, signal.default_int_handler)
    tools.ensure([*{STORES[kind] for kind in options.only}, "s5cmd"])
    peers.medusa_python()
    sets = {case: dataset.ensure(case, quick=options.quick) for case in options.cases}
    todo = list(sessions(options.only, options.cases, options.tools, options.rounds))
    before = _others(options)
    records: list[Record] = []
    root().mkdir(parents=True, exist_ok=True)
    with _room() as room:
        trust = certificates.make(room / "certificates")
        for number, session in enumerate(todo, start=1):
            note(f"[{number}/{len(todo)}] {session.kind}, {session.case}, {session.tool}, round {session.round + 1}")
            records += session.run(sets[session.case], room / f"session-{number}", trust, options.checkout)
            every = sorted([*before, *records], key=_place)
            text = report.render(every, facts.facts(every, quick=options.quick), facts.how(every))
            options.report.write_text(text)
            lines = [msgspec.json.encode(record) for record in every]
            options.report.with_suffix(".jsonl").write_bytes(b"\n".join([*lines, b""]))
    note(f"written: {options.report}")
    return 0


def _others(options: argparse.Namespace) -> list[Record]:
    """With ``--add``: the records beside the report, of stores and data sets that are not to be run now."""
    kept = options.report.with_suffix(".jsonl")
    if not options.add or not kept.exists():
        return []
    found = [msgspec.json.decode(line, type=Record) for line in kept.read_bytes().splitlines()]
    return [one for one in found if not (one.kind in options.only and one.case in options.cases)]


def _place(record: Record) -> tuple[int, int]:
    return list(STORES).index(record.kind), list(CASES).index(record.case)


@contextmanager
def _room() -> Iterator[Path]:
    """A directory, once what an earlier run deleted costs this one nothing; see ``session._hollow``."""
    ended = root() / "ended"
    left = ended.stat().st_mtime + _AGED - time.time() if ended.exists() else 0.0
    if left > 0:
        note(f"waiting {left:.0f} s: the disk has just deleted the files of an earlier run")
        time.sleep(left)
    try:
        # On the file system of the data sets: snapshots are hard links.
        with tempfile.TemporaryDirectory(prefix=".run-", dir=root()) as made:
            yield Path(made)
    finally:
        ended.touch()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.transfer", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", type=_list(STORES), default=list(STORES), help="stores: http,https,azure,gcs")
    parser.add_argument("--cases", type=_list(CASES), default=list(CASES), help="data sets: real,many,huge")
    parser.add_argument("--tools", type=_list(TOOLS), default=list(TOOLS), help=f"of {', '.join(TOOLS)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--add", action="store_true", help="to the figures of other stores and data sets in the report")
    parser.add_argument("--quick", action="store_true", help="a tenth of the data: tries the harness")
    parser.add_argument("--checkout", type=Path, default=REPO, help="measure the agent of another checkout")
    parser.add_argument("--report", type=Path, help="another file than TRANSFER.md")
    options = parser.parse_args()
    if options.report is None:
        options.report = root() / "quick.md" if options.quick else REPORT
    return options


def _list(known: Iterable[str]) -> Callable[[str], list[str]]:
    """Of words between commas, each a known one."""
    names = list(known)

    def split(text: str) -> list[str]:
        words = [word.strip() for word in text.split(",")]
        if unknown := [word for word in words if word not in names]:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not one of {', '.join(names)}")
        return words

    return split


if __name__ == "__main__":
    sys.exit(main())
