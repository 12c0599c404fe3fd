"""What the API tells without an operation: the node, its readiness, its metrics, and what a bucket holds."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from agent import discovery, files, records
from agent.catalog import check_tag
from agent.errors import AgentError, Reason
from agent.protocol import DataDirectory, Endpoint, Location, Node, StoreOptions
from agent.server import refuse, reply
from agent.settings import VERSION

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from prometheus_client import CollectorRegistry

    from agent.cassandra import Cassandra
    from agent.settings import Settings
    from agent.stores import Opener
    from backends.base import ObjectStore

_MOST_NAMES = 10_000
_FEW = 10
_PATIENCE = 50.0  # seconds; the operator waits for 60


class NodeRoutes:
    """``/v1/node`` and ``/readyz``."""

    def __init__(self, cassandra: Cassandra, settings: Settings, session: str) -> None:
        self._cassandra = cassandra
        self._settings = settings
        self._session = session

    def add_to(self, app: web.Application) -> None:
        app.router.add_get("/v1/node", self.node, allow_head=False)
        app.router.add_get("/readyz", self.ready)

    async def node(self, _request: web.Request) -> web.Response:
        """DOWN, and nothing else of Cassandra's, where it does not answer."""
        node = Node(session=self._session, agent_version=VERSION, pod=self._settings.pod, state="DOWN")
        node.data_directories = await asyncio.to_thread(self._directories)
        try:
            facts = await self._cassandra.facts()
        except AgentError:
            return reply(node)
        node.host_id, node.state, node.cluster = facts.host_id, facts.mode, facts.cluster
        node.cassandra_version, node.schema_version = facts.release_version, facts.schema_version
        node.tokens, node.live, node.unreachable = facts.tokens, facts.live, facts.unreachable
        node.joining, node.schema_versions = facts.joining, facts.schema_versions
        return reply(node)

    async def ready(self, _request: web.Request) -> web.Response:
        try:
            why_not = await self._cassandra.ready()
        except AgentError as error:
            why_not = error.message
        return refuse(503, why_not, "NotReady") if why_not else reply({"ok": True})

    def _directories(self) -> list[DataDirectory]:
        found = []
        for path in self._settings.data_dirs:
            free, total = files.free_bytes(path)
            found.append(DataDirectory(path=str(path), free=free, total=total))
        return found


class CatalogRoutes:
    """``/v1/catalog/backups``: cluster records; ``/v1/catalog/names``: what they are called."""

    def __init__(self, open_store: Opener) -> None:
        self._open_store = open_store

    def add_to(self, app: web.Application) -> None:
        app.router.add_get("/v1/catalog/backups", self.all, allow_head=False)
        app.router.add_get("/v1/catalog/backups/{tag}", self.one, allow_head=False)
        app.router.add_get("/v1/catalog/names", self.names, allow_head=False)

    async def all(self, request: web.Request) -> web.Response:
        """Of one ``cluster``; ``datacenter`` narrows."""
        cluster, datacenter = _required(request, "cluster"), request.query.get("datacenter")
        async with self._open_store(location(request)) as store:
            found = [
                record
                async for record in records.records(store, cluster)
                if datacenter is None or record.datacenter == datacenter
            ]
        return reply(found)

    async def one(self, request: web.Request) -> web.Response:
        """The only one of this tag, where ``cluster`` and ``datacenter`` do not say which. BackupNotFound, or
        BackupAmbiguous. With ``manifests`` every node's manifest is there, too, or it is ManifestMissing.
        """
        tag = check_tag(request.match_info["tag"])
        cluster, datacenter = request.query.get("cluster") or None, request.query.get("datacenter") or None
        async with self._open_store(location(request)) as store, _in_time(store):
            found = await discovery.find_tag(store, tag, cluster, datacenter)
            if not found:
                of = f" of {', '.join(filter(None, (cluster, datacenter)))}" if cluster or datacenter else ""
                raise AgentError(Reason.BACKUP_NOT_FOUND, f"{store.name} has no backup {tag}{of}")
            if len(found) > 1:
                places = ", ".join(f"{record.cluster}/{record.datacenter}" for record in found[:_FEW])
                message = f"{store.name} has several backups {tag}, as CLUSTER/DATACENTER: {places}"
                raise AgentError(Reason.BACKUP_AMBIGUOUS, message)
            if _flag(request, "manifests"):
                await discovery.check_manifests(store, found[0])
        return reply(found[0])

    async def names(self, request: web.Request) -> web.Response:
        """At most ``limit`` of them."""
        limit = _required(request, "limit")
        if not limit.isdecimal() or not 0 < int(limit) <= _MOST_NAMES:
            raise AgentError(Reason.INVALID_SPEC, f"limit must be 1 to {_MOST_NAMES}")
        async with self._open_store(location(request)) as store, _in_time(store):
            return reply(await discovery.find_names(store, int(limit)))


@asynccontextmanager
async def _in_time(store: ObjectStore) -> AsyncIterator[None]:
    """Who asked has gone when this is over: a bucket of very many names must not be listed for nobody."""
    try:
        async with asyncio.timeout(_PATIENCE):
            yield
    except TimeoutError as error:
        message = f"{store.name} did not answer within {_PATIENCE:.0f} s: name the cluster, or a narrower target"
        raise AgentError(Reason.STORAGE_UNREACHABLE, message, retryable=True) from error


class MetricsRoute:
    """``/metrics``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def add_to(self, app: web.Application) -> None:
        app.router.add_get("/metrics", self.metrics, allow_head=False)

    async def metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


def location(request: web.Request) -> Location:
    """From the query: backupType, target, endpointUrl, region, pathStyle, insecureSkipVerify, caFile,
    requesterPays, credentials.
    """
    query = request.query
    endpoint = Endpoint(
        url=query.get("endpointUrl") or None,
        region=query.get("region") or None,
        path_style=_flag(request, "pathStyle"),
        insecure_skip_verify=_flag(request, "insecureSkipVerify") or False,
        ca_file=query.get("caFile", ""),
    )
    pays = _flag(request, "requesterPays") or False
    return Location(
        backup_type=_required(request, "backupType"),
        target=_required(request, "target"),
        endpoint=endpoint,
        options=StoreOptions(requester_pays=True) if pays else None,
        credentials=query.get("credentials", ""),
    )


def _required(request: web.Request, name: str) -> str:
    value = request.query.get(name)
    if not value:
        raise AgentError(Reason.INVALID_SPEC, f"the query needs {name}")
    return value


def _flag(request: web.Request, name: str) -> bool | None:
    text = request.query.get(name)
    if text not in {None, "", "true", "false"}:
        raise AgentError(Reason.INVALID_SPEC, f"{name} must be true or false")
    return text == "true" if text else None
