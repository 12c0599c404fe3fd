"""Brings the objects that a datacenter owns to what the builders say. Sends nothing for what is so already.

The children do not depend on each other: each is tried although another was refused, and ``Run.refused`` tells which.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from controller import builtin, desired
from controller.errors import Forbidden, Invalid, NotFound
from controller.objects import raw_object
from controller.resource import Key
from reconcilers import labels
from reconcilers.api.datacenter_status import DataCenterPhase
from reconcilers.datacenter import builders
from reconcilers.datacenter.layout import next_counts
from reconcilers.datacenter.run import Taken, own, taken
from reconcilers.datacenter.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from controller.client import Client
    from controller.clock import Clock
    from controller.objects import RawObject
    from controller.resource import Resource
    from controller.store import Store
    from reconcilers.datacenter.layout import Rack
    from reconcilers.datacenter.run import Run
    from reconcilers.datacenter.stores import Stores
    from reconcilers.identity import AgentIdentity, MasterKey

Object = dict[str, Any]
_SECRET_AGAIN = 60.0  # seconds between two writes of the agents' Secret while nodes are not ready


class _Secret(NamedTuple):
    """A write of the agents' Secret: what it held, for which generation of the datacenter, when (monotonic)."""

    mark: str
    generation: int
    at: float


class Children:
    def __init__(self, client: Client, stores: Stores, clock: Clock, master: MasterKey) -> None:
        self._client = client
        self._stores = stores
        self._clock = clock
        self._master = master
        self._secrets: dict[Key, _Secret] = {}  # as written last; a restart forgets it, and may write once more

    def forget(self, key: Key) -> None:
        self._secrets.pop(key, None)

    async def share(self, run: Run) -> None:
        """What all racks share, and what a restore's helper pod needs before there is any node."""
        stores, cdc, layout = self._stores, run.cdc, run.view.layout
        await self._secret(run)
        if not cdc.spec.service_account_name:
            await self._ensure(
                run, builtin.SERVICEACCOUNTS, stores.service_accounts, builders.service_account(cdc, layout)
            )
        await self._ensure(run, builtin.SERVICES, stores.services, builders.seeds_service(cdc, layout))
        await self._ensure(run, builtin.SERVICES, stores.services, builders.nodes_service(cdc, layout))
        await self._ensure(run, builtin.PDBS, stores.budgets, builders.disruption_budget(cdc, layout))

    async def configure(self, run: Run) -> None:
        """The nodes' configuration. It carries the mark of the Secret, so it is written after the Secret is."""
        mark = builders.fingerprint(self._identity(run))
        # Once said it stays said. Without volumes an empty node is nothing unusual.
        was_ready = bool(run.cdc.spec.data_volume_claim) and run.cdc.status.phase == DataCenterPhase.READY
        for rack in run.view.layout.racks:
            live = self._stores.configmaps.get(Key(run.key.namespace, labels.node_config(rack.statefulset)))
            established = was_ready or builders.is_established(live)
            body = builders.node_config(run.cdc, run.view.layout, rack, identity=mark, established=established)
            await self._ensure(run, builtin.CONFIGMAPS, self._stores.configmaps, body)

    async def grow(self, run: Run) -> None:
        """A StatefulSet for each rack, with as many replicas as may start now. None is ever made smaller."""
        view, wanted = run.view, run.cdc.spec.replicas
        current = [state.replicas for _, state in view.racks]
        if wanted < sum(current):
            view.findings.append(_no_shrinking(sum(current), wanted))
        counts = next_counts(current, wanted, settled=view.settled)
        for (rack, _), count in zip(view.racks, counts, strict=True):
            live = self._stores.statefulsets.get(Key(run.key.namespace, rack.statefulset))
            body = builders.stateful_set(run.cdc, view.layout, rack, count, claims=self._claims(run, rack, live))
            await self._ensure(run, builtin.STATEFULSETS, self._stores.statefulsets, body, locked=True)

    def _claims(self, run: Run, rack: Rack, live: RawObject | None) -> list[Object]:
        """A StatefulSet's claim templates cannot change: keep those it has, and say what that means."""
        wanted = builders.claim_templates(run.cdc, run.view.layout, rack)
        if live is None or own(live, run.cdc) is None:
            return wanted
        have: list[Object] = live.body["spec"].get("volumeClaimTemplates", [])
        if desired.matches({"items": wanted}, {"items": have}):
            return wanted
        message = (
            "dataVolumeClaim differs from the volumes that the nodes have: this release does not enlarge them; "
            "enlarge each PersistentVolumeClaim by hand, where its StorageClass allows it"
        )
        run.view.findings.append(Verdict("RequiresUpdate", "True", "VolumeClaimChanged", message))
        return have

    async def _secret(self, run: Run) -> None:
        """It cannot be read back (no right to read Secrets exists), so it is written when there is a reason to."""
        identity = self._identity(run)
        now = self._clock.monotonic()
        wanted = _Secret(builders.fingerprint(identity), run.cdc.metadata.generation, now)
        if self._secret_due(run, wanted):
            body = builders.agent_secret(run.cdc, run.view.layout, identity)
            with _noting(run):
                await desired.ensure(self._client, builtin.SECRETS, body, None)
            self._secrets[run.key] = wanted

    def _secret_due(self, run: Run, wanted: _Secret) -> bool:
        last = self._secrets.get(run.key)
        if last is None or last[:2] != wanted[:2]:
            name = labels.node_config(run.view.layout.racks[0].statefulset)
            config = self._stores.configmaps.get(Key(run.key.namespace, name))
            if config is None and run.view.gate.open:
                return True  # nodes are about to need it
            if config is not None and config.metadata.annotations.get(builders.IDENTITY) != wanted.mark:
                return True
            if run.cdc.status.observed_generation != wanted.generation:
                return True
        # A pod that waits for a Secret somebody deleted never becomes ready, and nothing else would tell.
        waiting = run.view.ready < run.view.replicas
        return waiting and (last is None or wanted.at - last.at >= _SECRET_AGAIN)

    def _identity(self, run: Run) -> AgentIdentity:
        return self._master.identity(run.cdc.metadata.uid)

    async def _ensure(
        self, run: Run, resource: Resource, store: Store[RawObject], body: Object, *, locked: bool = False
    ) -> None:
        key = Key(run.key.namespace, body["metadata"]["name"])
        live = store.get(key) or await self._unlisted(resource, key)
        if live is not None and taken(live, run.cdc):
            name = f"{resource.kind} {live.metadata.name}"
            raise Taken(f"{name} belongs to something else: delete it, or give this datacenter another name")
        with _noting(run):
            if locked and live is not None:
                await self._ensure_over(resource, body, live)
            else:
                await desired.ensure(self._client, resource, body, live)

    async def _unlisted(self, resource: Resource, key: Key) -> RawObject | None:
        """Before something is made: it may be there without the label that the stores list by, or not be ours."""
        try:
            return raw_object(await self._client.get(resource, key))
        except NotFound:
            return None

    async def _ensure_over(self, resource: Resource, body: Object, live: RawObject) -> None:
        """As ``ensure``, over that very state only: a store that lags behind must not undo a growth. Else Conflict."""
        full = desired.stamped(body)
        if desired.matches(full, live.body):
            return
        full["metadata"]["resourceVersion"] = live.metadata.resource_version
        await self._client.apply(resource, full)


@contextmanager
def _noting(run: Run) -> Iterator[None]:
    """What will be refused again is for the user to read; anything else is for the next try."""
    try:
        yield
    except (Invalid, Forbidden) as e:
        run.refused.append(e)


def _no_shrinking(current: int, wanted: int) -> Verdict:
    message = (
        f"replicas is {wanted} and there are {current} nodes: this release removes no node, since each holds data; "
        f"set replicas to {current}"
    )
    return Verdict("ScalingDown", "False", "NotSupported", message)
