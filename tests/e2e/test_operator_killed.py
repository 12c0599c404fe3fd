"""The operator's memory holds nothing that may not be lost: SIGKILL in the middle of an upload changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dev.scenario import bed, install
from dev.scenario.documents import RESTORED
from tests.e2e.backups import SLOW

if TYPE_CHECKING:
    from tests.e2e.backups import Backups
    from tests.e2e.conftest import World


def test_a_backup_survives_sigkill_during_upload(world: World, backups: Backups) -> None:
    backup = backups.make("operator-killed", RESTORED, bandwidth=SLOW, type="Full")  # whatever the bucket has already
    before = backup.sends()
    killed = install.operators(world.kubectl)
    for container in killed.values():
        bed.kill_container(container)
    assert backup.status["phase"] == "Uploading", "the upload ended before the operator was killed"

    after = backup.completes(400)
    assert after["snapshotTime"] == before["snapshotTime"], "the snapshot was taken again"
    assert {n["pod"]: n["agentSession"] for n in after["nodes"]} == {
        n["pod"]: n["agentSession"] for n in before["nodes"]
    }
    assert [n["attempts"] for n in after["nodes"]] == [n["attempts"] for n in before["nodes"]]
    assert after["operatorSession"] != before["operatorSession"]
    assert not killed.items() & install.operators(world.kubectl).items(), "an operator's container was not killed"
    assert backup.snapshots() == []
