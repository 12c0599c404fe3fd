"""What the catalog has to say of a datacenter, for that one's own reconciler to write: a status has one writer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from controller.conditions import get_condition
from controller.objects import key_of
from reconcilers.datacenter.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from controller.resource import Key
    from reconcilers.api.datacenter import CassandraDataCenter

CONDITION = "CatalogSynced"


class Said:
    """``wake`` is told of a datacenter for which there is something new."""

    def __init__(self) -> None:
        self._verdicts: dict[Key, Verdict] = {}
        self.wake: Callable[[Key], None] = lambda _: None

    def say(self, key: Key, verdict: Verdict) -> None:
        if self._verdicts.get(key) != verdict:
            self._verdicts[key] = verdict
            self.wake(key)

    def forget(self, key: Key) -> None:
        self._verdicts.pop(key, None)

    def findings(self, datacenter: CassandraDataCenter) -> list[Verdict]:
        """As last said, by this operator or by one before; nothing where no catalog is asked for."""
        if datacenter.spec.backup is None or datacenter.spec.backup.catalog is None:
            return []
        said = self._verdicts.get(key_of(datacenter))
        if said is not None:
            return [said]
        before = get_condition(datacenter.status.conditions, CONDITION)
        return [Verdict(CONDITION, before.status, before.reason, before.message)] if before is not None else []
