"""Client of the agents' API (``agent/protocol.py``), directly to the pod or through the API server's pod proxy.

::

    AgentError
    ├── AgentUnreachable   no answer, or none that is the agent's word: starting, gone; always worth another try
    ├── UnknownOperation   404: the agent has no such operation (its volume is new)
    └── AgentRefused       it answered, and said no: reason and message are its own
"""
# ruff: noqa: ASYNC109  a timeout is part of every request and reaches aiohttp as such
# ruff: noqa: N818  what an agent did, without "Error" after each

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import parse_qsl, quote, urlencode

import aiohttp
import msgspec

from agent.protocol import (
    DEFAULT_PORT,
    TOKEN_HEADER,
    BackupNames,
    ClusterRecord,
    Kind,
    Location,
    Node,
    Operation,
    OperationRequest,
)
from controller.errors import ApiError
from reconcilers.labels import agent_hostname

if TYPE_CHECKING:
    from controller.client import Client
    from reconcilers.identity import MasterKey

_T = TypeVar("_T")
_REQUEST_TIMEOUT = 10.0
_POLL_MARGIN = 10.0  # an answer to a long poll may be this late before the agent counts as gone
_CATALOG_TIMEOUT = 60.0  # the agent asks the bucket, which may be slow


class AgentError(Exception):
    """Base of what a call to an agent raises; ``reason`` is CamelCase, ``message`` one sentence."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class AgentUnreachable(AgentError):
    pass


class UnknownOperation(AgentError):
    pass


class AgentRefused(AgentError):
    pass


@dataclass(frozen=True, slots=True)
class Address:
    """Where one agent answers. ``uid`` is the pod's: another pod under the same name is another agent."""

    namespace: str
    pod: str
    uid: str
    ip: str
    datacenter_uid: str


class Transport(Protocol):
    async def request(
        self, address: Address, method: str, path: str, *, body: bytes, headers: dict[str, str], timeout: float
    ) -> tuple[int, bytes]:
        """Status and body; AgentUnreachable where nothing answered."""


class DirectTransport:
    """To the pod's address. The certificate proves the datacenter, so the name to check is not the address."""

    def __init__(self, master: MasterKey, port: int = DEFAULT_PORT) -> None:
        self._tls = master.client_context()
        self._port = port
        self._session: aiohttp.ClientSession | None = None

    async def request(
        self, address: Address, method: str, path: str, *, body: bytes, headers: dict[str, str], timeout: float
    ) -> tuple[int, bytes]:
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        host = f"[{address.ip}]" if ":" in address.ip else address.ip
        try:
            async with self._session.request(
                method,
                f"https://{host}:{self._port}{path}",
                data=body or None,
                headers=headers,
                ssl=self._tls,
                server_hostname=agent_hostname(address.datacenter_uid),
                timeout=aiohttp.ClientTimeout(total=timeout, sock_connect=5.0),
                allow_redirects=False,  # the token is for this agent alone
            ) as response:
                return response.status, await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as e:
            raise _unreachable(address, str(e) or type(e).__name__) from e

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


class ProxyTransport:
    """Through the API server, where pod addresses are not routable (a laptop). It vouches for the pod's address."""

    def __init__(self, client: Client, port: int = DEFAULT_PORT) -> None:
        self._client = client
        self._port = port

    async def request(
        self, address: Address, method: str, path: str, *, body: bytes, headers: dict[str, str], timeout: float
    ) -> tuple[int, bytes]:
        proxy = f"/api/v1/namespaces/{address.namespace}/pods/https:{address.pod}:{self._port}/proxy"
        route, _, query = path.partition("?")
        try:
            answer = await self._client.raw(
                method, proxy + route, query=dict(parse_qsl(query)), body=body, headers=headers, timeout=timeout
            )
        except ApiError as e:
            raise _unreachable(address, str(e)) from e
        if (said := _api_status(answer.status, answer.body)) is not None:
            raise _unreachable(address, f"the API server answered {answer.status}: {said}")
        return answer.status, answer.body

    async def close(self) -> None:
        return


def _unreachable(address: Address, why: str) -> AgentUnreachable:
    return AgentUnreachable("AgentUnreachable", f"the agent of {address.pod} does not answer: {why}")


class _ApiStatus(msgspec.Struct):
    kind: str = ""
    message: str = ""


def _api_status(status: int, body: bytes) -> str | None:
    """What the API server itself says (``meta/v1.Status``), None where the answer is the agent's.

    It answers 404 for a pod that is gone and 403 without the right to proxy: neither is the agent's word.
    """
    if status < 400:
        return None
    try:
        found = msgspec.json.decode(body, type=_ApiStatus)
    except msgspec.DecodeError:
        return None
    return found.message if found.kind == "Status" else None


class _Refusal(msgspec.Struct, rename="camel"):
    error: str = ""
    reason: str = "AgentRefused"


class Agents:
    """One call a method; each has a deadline, none retries: who calls knows when it is worth it."""

    def __init__(self, transport: Transport, master: MasterKey) -> None:
        self._transport = transport
        self._master = master

    async def put(self, address: Address, operation_id: str, kind: Kind, spec: msgspec.Struct) -> Operation:
        """Start it, or learn how it stands. AgentRefused where the id is known with another spec."""
        request = OperationRequest(kind=kind, spec=msgspec.to_builtins(spec))
        return await self._call(
            address, "PUT", f"/v1/operations/{quote(operation_id)}", Operation, body=msgspec.json.encode(request)
        )

    async def poll(self, address: Address, operation_id: str, *, since: int, wait: float) -> Operation:
        """Answer when the operation's revision is past ``since``, or after ``wait`` seconds."""
        query = urlencode({"since": since, "wait": int(wait)})
        return await self._call(
            address, "GET", f"/v1/operations/{quote(operation_id)}?{query}", Operation, timeout=wait + _POLL_MARGIN
        )

    async def cancel(self, address: Address, operation_id: str) -> Operation:
        return await self._call(address, "DELETE", f"/v1/operations/{quote(operation_id)}", Operation)

    async def node(self, address: Address) -> Node:
        return await self._call(address, "GET", "/v1/node", Node)

    async def cluster_record(
        self,
        address: Address,
        location: Location,
        *,
        tag: str,
        cluster: str = "",
        datacenter: str = "",
        manifests: bool = False,
    ) -> ClusterRecord:
        """What the bucket says of one backup: the only one of this tag, where its names are not given. With
        ``manifests`` every node's is there, too. AgentRefused with the store's reason, ``BackupNotFound``,
        ``BackupAmbiguous`` or ``ManifestMissing``.
        """
        wanted = {"cluster": cluster, "datacenter": datacenter, "manifests": manifests or ""}
        path = f"/v1/catalog/backups/{quote(tag, safe='')}?{_query(location, wanted)}"
        return await self._call(address, "GET", path, ClusterRecord, timeout=_CATALOG_TIMEOUT)

    async def backup_names(self, address: Address, location: Location, *, limit: int) -> BackupNames:
        """What the bucket's backups are called, the newest ``limit`` of them."""
        path = f"/v1/catalog/names?{_query(location, {'limit': limit})}"
        return await self._call(address, "GET", path, BackupNames, timeout=_CATALOG_TIMEOUT)

    async def _call(
        self,
        address: Address,
        method: str,
        path: str,
        answer: type[_T],
        *,
        body: bytes = b"",
        timeout: float = _REQUEST_TIMEOUT,
    ) -> _T:
        token = self._master.token(address.datacenter_uid)
        headers = {TOKEN_HEADER: token, "Content-Type": "application/json"}
        async with asyncio.timeout(timeout + 1.0):
            status, content = await self._transport.request(
                address, method, path, body=body, headers=headers, timeout=timeout
            )
        if status < 300:
            return msgspec.json.decode(content, type=answer)
        refusal = _refusal(content)
        operation = path.startswith("/v1/operations/")
        if status == 404 and operation:
            raise UnknownOperation("UnknownOperation", f"the agent of {address.pod} does not know this operation")
        if status >= 500 and (operation or not refusal.error):  # it starts, or stops: no word about the operation
            raise _unreachable(address, refusal.error or f"it answered {status}")
        raise AgentRefused(
            refusal.reason or "AgentRefused", refusal.error or f"the agent of {address.pod} answered {status}"
        )


def _query(location: Location, wanted: dict[str, Any]) -> str:
    """Where to look, as the catalog's routes read it, and what for; without what is empty."""
    query: dict[str, Any] = {"backupType": location.backup_type, "target": location.target, **wanted}
    if (endpoint := location.endpoint) is not None:
        query |= msgspec.to_builtins(endpoint)
        query["endpointUrl"] = query.pop("url", "")
    if location.options is not None and location.options.requester_pays:
        query["requesterPays"] = True
    return urlencode({k: str(v).lower() if isinstance(v, bool) else v for k, v in query.items() if v not in (None, "")})


def _refusal(content: bytes) -> _Refusal:
    try:
        return msgspec.json.decode(content, type=_Refusal)
    except msgspec.DecodeError:
        return _Refusal()
