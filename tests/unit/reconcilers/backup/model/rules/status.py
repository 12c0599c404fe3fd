"""What a status may become, one write after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from controller.objects import key_of
from reconcilers.api.backup import CassandraBackup, DeletionPolicy
from reconcilers.api.backup_status import BackupPhase
from reconcilers.api.restore import FINAL_PHASES as RESTORED
from reconcilers.api.restore import RESTORES, CassandraRestore
from reconcilers.backup import status as said
from reconcilers.status_writer import SLOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.reconcilers.backup.model.invariants import Invariants

    Change = Callable[[Invariants, CassandraBackup, CassandraBackup], str | None]

_SIZE = 3000  # bytes of a status, and as many again for each node


def an_end_is_never_left(_: Invariants, old: CassandraBackup, new: CassandraBackup) -> str | None:
    if not old.ended:
        return None
    removed = new.metadata.deletion_timestamp and new.spec.deletion_policy == DeletionPolicy.DELETE
    onward = new.status.phase in (old.status.phase, BackupPhase.DELETING)
    if removed and onward and new.status.completion_time == old.status.completion_time:
        return None
    return f"its status was written after its end, {old.status.phase}"


def the_selection_is_frozen(_: Invariants, old: CassandraBackup, new: CassandraBackup) -> str | None:
    pods = [n.pod for n in old.status.nodes]
    same = pods == [n.pod for n in new.status.nodes] and old.status.storage == new.status.storage
    return (
        None if not pods or (same and old.status.snapshot_tag == new.status.snapshot_tag) else "its selection changed"
    )


def phases_go_one_way(_: Invariants, old: CassandraBackup, new: CassandraBackup) -> str | None:
    order = [*BackupPhase]
    if not old.status.phase or order.index(BackupPhase(old.status.phase)) <= order.index(BackupPhase(new.status.phase)):
        return None
    return f"from {old.status.phase} back to {new.status.phase}"


def counters_wait_for_their_slot(of: Invariants, old: CassandraBackup, new: CassandraBackup) -> str | None:
    writer, uid, now = of.world.author, new.metadata.uid, of.world.clock.monotonic()
    assert writer is not None
    last = writer.written.get(uid)
    writer.written[uid] = now
    early = last is not None and now - last < SLOT - 1e-6
    return "counters were written twice in a slot" if early and not said.urgent(old.status, new.status) else None


def it_stays_small(_: Invariants, _old: CassandraBackup, new: CassandraBackup) -> str | None:
    size = len(msgspec.json.encode(new.status))
    return f"the status has {size} bytes" if size > _SIZE * (1 + len(new.status.nodes)) else None


def one_run_a_datacenter(of: Invariants, _old: CassandraBackup, new: CassandraBackup) -> str | None:
    if not new.status.start_time or new.ended:
        return None
    mine = {d.name for d in new.status.datacenters}
    for other in of.world.backups():
        runs = other.status.start_time and not other.ended and other.metadata.uid != new.metadata.uid
        if runs and mine & {d.name for d in other.status.datacenters}:
            return f"it runs beside {other.metadata.name}"
    return None


def it_starts_after_restores(of: Invariants, old: CassandraBackup, new: CassandraBackup) -> str | None:
    """Those that its operator knew of all the while that it looked."""
    if old.status.start_time or not new.status.start_time:
        return None
    assert of.world.author is not None
    mine = {d.name for d in new.status.datacenters}
    author = of.world.author
    both = [author.knew[key_of(new)], author.feeds[RESTORES].store.all()]
    first, last = ({r.metadata.name for r in known if _fills(r, mine)} for known in both)
    active = sorted(first & last)
    return f"it starts beside restore {active[0]}" if active else None


def _fills(restore: CassandraRestore, datacenters: set[str]) -> bool:
    return restore.spec.datacenter in datacenters and restore.status.phase not in RESTORED


ON_STATUS: list[Change] = [
    an_end_is_never_left, the_selection_is_frozen, phases_go_one_way, counters_wait_for_their_slot, it_stays_small,
    one_run_a_datacenter, it_starts_after_restores,
]  # fmt: skip
