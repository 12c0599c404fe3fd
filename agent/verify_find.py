"""Faults in words: which object, which table and files, which backups need it. Lists are bounded, counts are whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent import catalog
from agent.protocol import Fault, Finding, Healing
from agent.verify import Use, Verdict, uses

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from agent.catalog import Manifest
    from agent.protocol import Verified
    from agent.verify import Wants
    from agent.verify_records import Lost
    from agent.wanted import Wanted

LISTED = 100  # findings that a result names
_BACKUPS = 10  # tags, and files, that a finding names
_FILES = 20


class Findings:
    """Of one verification; ``result`` gets them and their counts."""

    def __init__(self, root: str, result: Verified) -> None:
        self._root = root
        self._result = result
        self._notes: dict[str, Verdict] = {}

    def note(self, key: str, verdict: Verdict) -> None:
        """What was seen, kept until it gets its name."""
        if len(self._notes) < LISTED:
            self._notes[key] = verdict

    def name(self, key: str, wanted: Wanted, users: Sequence[Use], backups: Sequence[str]) -> Finding:
        """``wanted`` has a fault."""
        assert wanted.fault is not None
        verdict = self._notes.get(key) or Verdict(wanted.fault, "the store does not list it")
        hit = [use for use in users if use.component.offset in verdict.offsets] or users
        table = users[0].table
        finding = Finding(
            object=self._root + key, fault=wanted.fault, detail=verdict.detail, backups=list(backups[:_BACKUPS]),
            backups_in_all=len(backups), table=f"{table.keyspace}.{table.name}{table.index}",
            components=[catalog.file_name(use.sstable, use.component.name) for use in hit[:_FILES]],
        )  # fmt: skip
        self._list(finding)
        return finding

    def lost(self, one: Lost) -> None:
        self._result.manifests += 1
        self._list(Finding(object=one.key, fault=one.fault, detail=one.detail, backups=[one.tag], backups_in_all=1))

    def healed(self, wanted: Wanted, finding: Finding) -> None:
        if finding.healing is Healing.HEALED:
            wanted.fault = None
            self._result.healed += 1

    def close(self, wants: Wants) -> None:
        """Counts what is so still."""
        faults = wants.objects.tally()
        self._result.missing = faults[Fault.MISSING]
        self._result.damaged = faults.total() - self._result.missing

    def _list(self, finding: Finding) -> None:
        if len(self._result.findings) < LISTED:
            self._result.findings.append(finding)
        else:
            self._result.findings_not_listed += 1


def users_of(manifest: Manifest, keys: Container[str]) -> dict[str, list[Use]]:
    """What lies in these objects, as one manifest has it, in order of place."""
    at = {number: stored.key for number, stored in enumerate(manifest.objects) if stored.key in keys}
    found: dict[str, list[Use]] = {}
    for use in uses(manifest):
        if (key := at.get(use.component.object)) is not None:
            found.setdefault(key, []).append(use)
    for users in found.values():
        users.sort(key=lambda use: use.component.offset)
    return found
