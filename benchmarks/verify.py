"""Whether what came back is byte for byte what was sent, and the page cache that every tool finds the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.dataset import BESIDE

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.dataset import DataSet

_PIECE = 1 << 20


def same(dataset: DataSet, state: str, target: Path) -> None:
    """AssertionError with the first file that is missing, too many, or other. What is beside SSTables may differ."""
    expected = set(dataset.files(state))
    found = {
        str(path.relative_to(target))
        for path in target.glob("*/*/**/*")
        if path.is_file() and path.name not in BESIDE
    }  # fmt: skip
    if expected != found:
        raise AssertionError(
            f"missing: {sorted(expected - found)[:3]}, too many: {sorted(found - expected)[:3]},"
            f" {len(found)} files of {len(expected)}"
        )
    for name in sorted(expected):
        if not equal(dataset.state(state) / name, target / name):
            raise AssertionError(f"{name} did not come back as it was sent")


def equal(one: Path, other: Path) -> bool:
    with one.open("rb") as first, other.open("rb") as second:
        while piece := first.read(_PIECE):
            if second.read(_PIECE) != piece:
                return False
        return not second.read(1)


def warm(dataset: DataSet, state: str) -> None:
    """Reads it all: every tool then reads from memory, whatever the one before it left there."""
    buffer = bytearray(_PIECE)
    for name in dataset.files(state):
        with (dataset.state(state) / name).open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
