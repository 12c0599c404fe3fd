"""Snapshots that real Cassandras made (tests/fixtures), as a node's data."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tests.fakes.sstables import NodeData

HOME = Path(__file__).parents[1] / "fixtures" / "sstables"
NAMES = sorted(path.name for path in HOME.iterdir() if path.is_dir())
TAKEN = "co-fixture"  # the snapshot's name when it was made
_BESIDE = frozenset({"manifest.json", "schema.cql"})


class RealData(NodeData):
    """The fixture ``name`` below ``root``; a snapshot of it is a copy of that which Cassandra took."""

    def __init__(self, root: Path, name: str) -> None:
        self.facts: dict[str, Any] = json.loads((HOME / name / "fixture.json").read_text())
        sources = sorted(path for path in (HOME / name).iterdir() if path.is_dir())
        super().__init__([root / source.name for source in sources])
        for source, target in zip(sources, self.data_dirs, strict=True):
            for file in filter(Path.is_file, source.rglob("*")):
                copy = target / file.relative_to(source)
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(file.read_bytes())  # not a link: tests damage it

    def taken(self) -> list[Path]:
        return self.snapshots(TAKEN)

    def snapshot(self, name: str, entities: list[str]) -> None:
        assert not entities, "a fixture is one snapshot of everything"
        for directory in self.taken():
            for file in filter(Path.is_file, directory.rglob("*")):
                link = directory.parent / name / file.relative_to(directory)
                link.parent.mkdir(parents=True, exist_ok=True)
                os.link(file, link)

    def files(self) -> dict[str, bytes]:
        """What a restore must bring: path below a data directory -> content."""
        return {
            f"{directory.parts[-4]}/{directory.parts[-3]}/{file.relative_to(directory)}": file.read_bytes()
            for directory in self.taken()
            for file in directory.rglob("*")
            if file.is_file() and file.name not in _BESIDE
        }
