"""What a verification found of one node, and what the backup says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconcilers.backup import partial
from reconcilers.backup.specs import reads_back

if TYPE_CHECKING:
    from agent.protocol import Verified
    from reconcilers.api.backup_status import BackupNode
    from reconcilers.backup.run import Run


def judge(run: Run, node: BackupNode, found: Verified) -> None:
    """What the agent could not put right fails the node."""
    if found.intact:
        if found.healed:
            run.event("NodeHealed", f"{node.pod}: {_objects(found.healed)} not as sent, sent again", "Warning")
        return
    wrong = f"of {found.objects} objects {found.missing} are missing and {found.damaged} damaged"
    if found.manifests:
        wrong += ", and the manifest cannot be used"
    first = next((f": {one.object}: {one.detail}" for one in found.findings if one.healing != "Healed"), "")
    run.fail(node, "VerificationFailed", f"{wrong}{first}")
    run.say("Verified", "False", "VerificationFailed", f"{node.pod}: {node.message}")


def conclude(run: Run) -> None:
    """Before the end of a backup that has its records."""
    if reads_back(run):
        count = len(partial.going(run.status.nodes))
        message = f"every byte of {count} nodes was read back before the backup was recorded"
        run.say("Verified", "True", "BytesRead", message)
    elif run.spec.verify != "None":
        run.say("Verified", "True", "SizesCompared", "before each commit every object was there with its size")


def _objects(count: int) -> str:
    return "1 object was" if count == 1 else f"{count} objects were"
