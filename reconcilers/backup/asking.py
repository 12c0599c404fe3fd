"""How the agent of one node is reached, and what it says of an operation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from controller.resource import Key
from reconcilers import pods
from reconcilers.api.backup import BACKUPS

if TYPE_CHECKING:
    from collections.abc import Callable

    import msgspec

    from agent.protocol import Kind
    from controller.clock import Clock
    from controller.objects import RawObject
    from controller.store import Store
    from reconcilers.agents import Address
    from reconcilers.api.backup_status import BackupNode
    from reconcilers.backup.run import Run
    from reconcilers.operations import Operations, View

_SILENT = 30.0  # seconds without an answer after which a node no longer holds up an ending backup


class Asking:
    def __init__(
        self, *, operations: Operations, pod_store: Store[RawObject], wake: Callable[[Key], None], clock: Clock
    ) -> None:
        self._operations = operations.of(BACKUPS, wake)
        self._pods = pod_store
        self._clock = clock

    def address(self, run: Run, node: BackupNode) -> Address | None:
        """None while its pod is away."""
        pod = self._pods.get(Key(run.key.namespace, node.pod))
        return pods.address(pod) if pod is not None else None

    def want(
        self, run: Run, node: BackupNode, operation_id: str, kind: Kind, spec: Callable[[], msgspec.Struct]
    ) -> View | None:
        """Have it run, and say how it stands. None while the pod is away."""
        address = self.address(run, node)
        if address is None:
            return None
        node.uid = address.uid
        known = self._operations.known(run.key, address, operation_id)
        return known or self._operations.want(run.key, address, operation_id, kind=kind, spec=spec())

    def cancel(self, run: Run, address: Address, operation_id: str, kind: Kind) -> View:
        return self._operations.cancel(run.key, address, operation_id, kind)

    def silent(self, view: View) -> bool:
        return view.silent_since is not None and self._clock.monotonic() - view.silent_since > _SILENT

    def heard(self, view: View | None) -> bool:
        """Whether a deadline says something of the node. Where it was only just asked, the operator was away."""
        return view is None or view.operation is not None or self.silent(view)

    def forget(self, key: Key) -> None:
        self._operations.forget(key)
