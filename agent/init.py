"""``agent init``: Cassandra's configuration, and before its first start the restore that a plan asks for.

No plan: exit 0. Plans, but none for this pod: it would join empty where its data was promised, so it fails. A restore
is an operation ``<restore id>-<pod>`` on the same API as ever, so the operator watches it as it watches a backup.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import msgspec
import structlog

from agent import coding, configuration, server, volume
from agent.errors import AgentError, Reason
from agent.journal import Journal
from agent.lag import Lag
from agent.operations import Operations
from agent.protocol import Kind, OperationRequest, RestorePlan, State
from agent.restore import RestoreHandler
from agent.stores import Stores

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from agent.protocol import Operation
    from agent.settings import Settings
    from agent.stores import Opener

_PROBE_TIMEOUT = 2.0
_PEER_TRIES, _PEER_WAIT = 12, 5.0  # a minute: the others may be starting too

log = structlog.get_logger(__name__)


async def run(settings: Settings, stop: asyncio.Event, *, open_store: Opener | None = None) -> int:
    """The exit status."""
    node = configuration.decode_node(await asyncio.to_thread(settings.node_file.read_bytes))
    plan = await asyncio.to_thread(find_plan, settings.plan_dir, settings.pod)
    if plan is not None:
        operation = await _restore(settings, plan, stop, open_store or Stores().opened)
        if operation.state is not State.SUCCEEDED:
            log.error("the restore did not succeed", state=str(operation.state), operation=operation.id)
            return 1
    await configure(settings, node)
    return 0


def find_plan(directory: Path, pod: str) -> RestorePlan | None:
    """The plan of ``pod``. None without any plan; InvalidSpec where there are plans and none is for it."""
    plans = sorted(path.name for path in directory.glob("*.json")) if directory.is_dir() else []
    if not plans:
        return None
    if f"{pod}.json" not in plans:
        message = f"a restore is under way and has no plan for {pod}: it would start empty; check the restore's mapping"
        raise AgentError(Reason.INVALID_SPEC, message)
    try:
        return msgspec.json.decode((directory / f"{pod}.json").read_bytes(), type=RestorePlan)
    except msgspec.MsgspecError as error:
        raise AgentError(Reason.INVALID_SPEC, f"the restore plan of {pod} cannot be read: {error}") from error


async def configure(settings: Settings, node: configuration.NodeConfig) -> None:
    """Renders it all. The first pod with an empty volume looks for its peers first."""
    empty = not await asyncio.to_thread(volume.occupied, settings.data_dirs)
    restored = await asyncio.to_thread(volume.read_restored, settings.state_dir)
    answering: list[str] = []
    if empty and settings.pod == node.first_pod:
        peers = [host for host in {*node.peers, *node.seeds} if not configuration.names_pod(host, settings.pod)]
        for attempt in range(_PEER_TRIES if node.established else 1):
            await asyncio.sleep(_PEER_WAIT if attempt else 0)
            if answering := await reachable(peers, configuration.STORAGE_PORT):
                break
    await asyncio.to_thread(configuration.write, settings, node, restored=restored, empty=empty, answering=answering)


async def reachable(hosts: Iterable[str], port: int) -> list[str]:
    """Those that accept a connection; a name that does not resolve does not answer."""

    async def answers(host: str) -> bool:
        try:
            async with asyncio.timeout(_PROBE_TIMEOUT):
                _, writer = await asyncio.open_connection(host, port)
        except (OSError, TimeoutError):
            return False
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return True

    names = sorted(hosts)
    found = await asyncio.gather(*(answers(host) for host in names))
    return [host for host, answered in zip(names, found, strict=True) if answered]


async def _restore(settings: Settings, plan: RestorePlan, stop: asyncio.Event, open_store: Opener) -> Operation:
    """Serves the API meanwhile. What failed stays readable for a while: a restarting container would hide it."""
    codings = coding.from_files(settings.encryption_keys)
    handler = RestoreHandler(open_store, settings.data_dirs, settings.state_dir, codings=codings)
    operations = Operations(Journal(settings.state_dir / "operations", settings.owner), {Kind.RESTORE: handler})
    app = server.application(server.read_token(settings.credentials_dir))
    server.OperationRoutes(operations).add_to(app)
    await operations.load(resume=False)  # the plan says what to do, and may have changed
    operation_id = f"{plan.restore_id}-{settings.pod}"
    request = OperationRequest(kind=Kind.RESTORE, spec=msgspec.to_builtins(plan))
    context = server.tls(settings.credentials_dir)
    try:
        # Before the API answers: whoever asks finds the operation.
        operation, _ = await operations.put(operation_id, request, retry=True)
        async with server.Server(app, settings.address, settings.port, context):
            lag = Lag()
            ticking = [asyncio.create_task(one) for one in (operations.run(), lag.run())]
            try:
                await _either(asyncio.create_task(operations.over(operation_id)), stop)
                log.info("event loop stalls", p99_ms=round(lag.below(0.99) * 1000), max_ms=round(lag.longest * 1000))
                if operation.state in {State.FAILED, State.CANCELLED}:
                    await _linger(operations, operation_id, stop, settings.failure_linger)
            finally:
                for task in ticking:
                    task.cancel()
                await operations.stop()  # answers those who wait, so that the server can close
                await asyncio.gather(*ticking, return_exceptions=True)
    finally:
        await operations.stop()
    return operation


async def _linger(operations: Operations, operation_id: str, stop: asyncio.Event, seconds: float) -> None:
    """Until a DELETE says that the failure was seen, or nobody came for it."""
    seen = asyncio.create_task(operations.dismissed(operation_id))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await _either(seen, stop)
    seen.cancel()
    await asyncio.gather(seen, return_exceptions=True)


async def _either(task: asyncio.Task[None], stop: asyncio.Event) -> None:
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([task, stopped], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for other in (task, stopped):
            if not other.done():
                other.cancel()
        await asyncio.gather(task, stopped, return_exceptions=True)
