"""One tool, one store, one data set: from an empty bucket to a restore that is compared."""

from __future__ import annotations

import os
import stat
import subprocess
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from benchmarks import node, peers, servers, verify
from benchmarks.ours import Agent
from benchmarks.tool import Place
from dev.bed.say import note

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from benchmarks.dataset import DataSet
    from benchmarks.measure import Usage
    from benchmarks.servers import Server
    from benchmarks.tool import Tool

OURS, S5CMD, TUNED, DEFAULTS = "agent", "s5cmd", "medusa tuned", "medusa defaults"
TOOLS: dict[str, Callable[[Place], Tool]] = {
    OURS: Agent, S5CMD: peers.S5cmd, TUNED: peers.medusa_tuned, DEFAULTS: peers.medusa_default,
}  # fmt: skip
FULL, UNCHANGED, CHANGED, RESTORE = "full backup", "nothing changed", "5 % changed", "restore"
# Case -> the backups of a session, each with the state that it finds. The last one is restored.
CASES: dict[str, tuple[tuple[str, str], ...]] = {
    "real": ((FULL, "a"), (UNCHANGED, "a"), (CHANGED, "b")),
    "many": ((FULL, "a"),),
    "huge": ((FULL, "a"),),
}


class Record(msgspec.Struct, kw_only=True):
    """One measured step. Seconds and bytes; ``files`` and ``size`` are of the data set's state, sent or not."""

    kind: str
    case: str
    step: str
    tool: str
    round: int
    wall: float
    cpu: float
    memory: int
    files: int
    size: int
    requests: int
    server_cpu: float
    date: str
    load: float  # of the machine in the last minute, when the step began
    extra: dict[str, float]


@dataclass(frozen=True)
class Session:
    kind: str
    case: str
    tool: str
    round: int

    def run(self, dataset: DataSet, directory: Path, certificates: Path, checkout: Path) -> list[Record]:
        """Leaves names without data in ``directory``. ``checkout``: whose agent is measured."""
        directory.mkdir(parents=True)
        try:
            with (
                servers.running(self.kind, directory / "store", certificates) as server,
                node.serving(dataset, directory / "node") as served,
            ):
                work = directory / "work"
                work.mkdir()
                place = Place(server, served, work, certificates, checkout)
                tool = TOOLS[self.tool](place)
                try:
                    return self._steps(tool, place, directory / "restored")
                finally:
                    tool.close()
        except Exception:
            for log in directory.glob("work/*.log"):
                note(f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}")
            raise
        finally:
            _hollow(directory)

    def _steps(self, tool: Tool, place: Place, target: Path) -> list[Record]:
        records, dataset = [], place.node.dataset
        for number, (step, state) in enumerate(CASES[self.case]):
            place.node.state = state
            verify.warm(dataset, state)
            back_up = partial(tool.back_up, f"t{number}")
            records.append(self._step(step, place.server, dataset.files(state), back_up))
        restore = partial(_restored, tool, f"t{number}", target)
        records.append(self._step(RESTORE, place.server, dataset.files(state), restore))
        verify.same(dataset, state, target)
        return records

    def _step(self, step: str, server: Server, files: Mapping[str, int], act: Callable[[], Usage]) -> Record:
        os.sync()  # what others left to be written is not this step's
        load = os.getloadavg()[0]
        requests, server_cpu = server.requests(), server.cpu()
        usage = act()
        after, server_after = server.requests(), server.cpu()
        sent = sum(after.values()) - sum(requests.values())
        record = Record(
            kind=self.kind, case=self.case, step=step, tool=self.tool, round=self.round, wall=usage.wall,
            cpu=usage.cpu, memory=usage.memory, files=len(files), size=sum(files.values()), requests=sent,
            server_cpu=server_after - server_cpu, date=datetime.now(UTC).strftime("%Y-%m-%d"), load=load,
            extra=usage.extra,
        )  # fmt: skip
        note(
            f"  {self.kind:5} {self.case:4} round {self.round + 1} {self.tool:15} {step:15}"
            f" {usage.wall:7.2f} s {usage.cpu:7.2f} CPU s {usage.memory / 2**20:6.0f} MiB {sent:6} requests"
            + "".join(f"  {name} {value:.3f}" for name, value in sorted(usage.extra.items()))
        )
        return record


def _hollow(directory: Path) -> None:
    """Frees the data and keeps the files: ext4 passes over the inodes of files deleted within the last minutes one by
    one, which would cost the next session's first files up to seconds (recently_deleted, fs/ext4/ialloc.c).
    """
    for path in directory.rglob("*"):
        found = path.lstat()
        if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:  # others are the data set's
            os.truncate(path, 0)


def _restored(tool: Tool, tag: str, target: Path) -> Usage:
    """With what it takes until the bytes are on the disk, beside the time of the process."""
    usage = tool.restore(tag, target)
    began = time.monotonic()
    subprocess.run(["sync", "--file-system", target], check=True)
    usage.extra["durable"] = usage.wall + time.monotonic() - began
    return usage
