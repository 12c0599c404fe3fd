"""What one agent does for its whole datacenter: whichever agent is there."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconcilers.backup import partial, policy
from reconcilers.backup import status as said
from reconcilers.backup.specs import operation_id

if TYPE_CHECKING:
    import msgspec

    from agent.protocol import Kind
    from controller.resource import Key
    from reconcilers.api.backup_status import BackupDatacenter, BackupNode
    from reconcilers.backup.asking import Asking
    from reconcilers.backup.run import Run


@dataclass(frozen=True, slots=True)
class _Try:
    """Lost with the operator: then the agents tell of it once more."""

    number: int = 1
    not_before: dt.datetime | None = None


@dataclass(frozen=True, slots=True)
class GaveUp:
    """It failed for good, at ``node``. ``lasting`` as in ``policy.GiveUp``; ``silent``: nobody answered."""

    node: BackupNode
    reason: str
    message: str
    lasting: bool = False
    silent: bool = False


class Shared:
    def __init__(self, asking: Asking) -> None:
        self._asking = asking
        self._tries: dict[tuple[Key, str, Kind], _Try] = {}

    def forget(self, key: Key) -> None:
        self._tries = {k: v for k, v in self._tries.items() if k[0] != key}

    def ask(
        self, run: Run, datacenter: BackupDatacenter, kind: Kind, spec: msgspec.Struct, *, since: str
    ) -> dict[str, object] | GaveUp | None:
        """Its result, None while there is none. GaveUp also where nobody did it since ``since``."""
        nodes = [n for n in partial.going(run.status.nodes) if n.datacenter == datacenter.name]
        node = next((n for n in nodes if self._asking.address(run, n) is not None), nodes[0])
        key = (run.key, datacenter.name, kind)
        last = self._tries.get(key, _Try())
        if last.not_before is not None and run.now < last.not_before:
            return None
        view = self._asking.want(run, node, operation_id(run, kind, last.number), kind, lambda: spec)
        verdict = policy.judge(view, attempts=last.number, retries=run.spec.retries) if view else policy.Running()
        match verdict:
            case policy.Succeeded():
                run.status.reason = run.status.message = ""
                return view.operation.result if view is not None and view.operation is not None else {}
            case policy.GiveUp(reason, message, lasting):
                return GaveUp(node, reason, message, lasting=lasting)
            case policy.TryAgain(reason, message):
                self._try_again(run, node, key, last, reason, message)
                return None
        start = said.moment(max(since, view.moved_at if view is not None else ""))
        if policy.overdue(start, run.spec.node_progress_deadline_seconds, run.now):
            silence = view.silence if view and view.silence else "no answer"
            return GaveUp(node, "AgentUnreachable", silence, silent=True)
        return None

    def _try_again(  # noqa: PLR0917  of ``ask``
        self, run: Run, node: BackupNode, key: tuple[Key, str, Kind], last: _Try, reason: str, message: str
    ) -> None:
        delay = dt.timedelta(seconds=policy.retry_delay(last.number))
        self._tries[key] = _Try(last.number + 1, run.now + delay)
        run.status.reason, run.status.message = reason, f"{node.pod}: {message}"
        run.event("NodeRetry", run.status.message, "Warning")
