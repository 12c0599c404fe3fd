"""The lost cluster: no CassandraBackup is left, only the bucket, and a CassandraRestore that somebody wrote by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dev.scenario import dataset
from dev.scenario.demo import CBACK, CDC
from dev.scenario.documents import SMALL
from tests.e2e.copies import CRS, only_node

if TYPE_CHECKING:
    from tests.e2e.backups import Backups
    from tests.e2e.conftest import World
    from tests.e2e.copies import Copies

_COPY, _TAG = "copy-cassandra", "before-the-loss"


def test_a_restore_from_the_bucket_alone_under_another_name(world: World, backups: Backups, copies: Copies) -> None:
    """The new datacenter's agents know where the store is by ``endpoint`` alone, not by a variable."""
    kubectl, documents = world.kubectl, world.documents
    with only_node(world, SMALL) as cql:
        dataset.write_numbers(cql, "copied", SMALL)
    place = {
        "backupType": documents.backup_type,
        "target": f"{documents.scheme}://{world.target}/deep/prefix",
        **({"endpoint": {"url": documents.url}} if documents.url else {}),
    }
    backups.make(_TAG, SMALL, **place).completes()
    kubectl.delete(CBACK, _TAG)

    source = {**place, "clusterName": SMALL, "datacenterName": SMALL, "snapshotTag": _TAG}
    copies.restore("by-hand", _COPY, source=source)
    env = documents.other_datacenter(_COPY, 1)["spec"].get("env", [])
    copies.make(_COPY, env=[each for each in env if each["name"] != documents.url_env])
    assert kubectl.row(CRS, "by-hand")["STATUS"] == "Completed"
    status = kubectl.get(CDC, _COPY)["status"]
    assert (status["clusterName"], status["datacenterName"]) == (_COPY, SMALL)
    assert copies.numbers(_COPY, "copied") == list(range(100))
    backups.make("of-the-copy", _COPY, **place).completes()
