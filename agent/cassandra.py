"""Cassandra, asked through Jolokia on the loopback address: JMX as JSON, without a JVM here.

Names are those of ``StorageServiceMBean`` and ``StorageProxyMBean`` (apache/cassandra, 3.11 to 5.0). Every call has a
timeout. What does not answer is CassandraUnavailable; what answers with an error says so in Cassandra's own words.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec

from agent import scope
from agent.errors import AgentError, Reason
from agent.missing import Member

if TYPE_CHECKING:
    from collections.abc import Sequence

STORAGE_SERVICE = "org.apache.cassandra.db:type=StorageService"
STORAGE_PROXY = "org.apache.cassandra.db:type=StorageProxy"
SNITCH = "org.apache.cassandra.db:type=EndpointSnitchInfo"
_HOST_IDS, _TOKENS = "EndpointToHostId", "TokenToEndpointMap"  # address -> host id, token -> address
PREFIX = "co-"  # of every snapshot of ours: what a janitor may clear, and nothing else
_READY_TIMEOUT = 4.0  # a probe that waits longer is given up by kubelet
_TAKE = "takeSnapshot(java.lang.String,java.util.Map,[Ljava.lang.String;)"
_ALL_TABLES = "org.apache.cassandra.db:type=Tables,*"
_CLEAR = "clearSnapshot(java.lang.String,[Ljava.lang.String;)"
_ATTRIBUTES = {
    "OperationMode": "mode", "LocalHostId": "host_id", "ReleaseVersion": "release_version",
    "SchemaVersion": "schema_version", "ClusterName": "cluster", "PartitionerName": "partitioner", "Tokens": "tokens",
    "LiveNodes": "live", "UnreachableNodes": "unreachable", "JoiningNodes": "joining",
    "NativeTransportRunning": "native_transport",
}  # fmt: skip


class Facts(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What a node says of itself; empty where its version has no such attribute."""

    mode: str = ""
    host_id: str = ""
    release_version: str = ""
    schema_version: str = ""
    cluster: str = ""
    partitioner: str = ""
    tokens: list[str] = []
    live: list[str] = []
    unreachable: list[str] = []
    joining: list[str] = []
    schema_versions: dict[str, list[str]] = {}
    native_transport: bool = False


class Cassandra:
    """One client a process. Times are in seconds."""

    def __init__(
        self, url: str, *, timeout: float = 10.0, snapshot_timeout: float = 1800.0, clear_timeout: float = 300.0
    ) -> None:
        self._url = url.rstrip("/") + "/"
        self._timeout = timeout
        self._snapshot_timeout = snapshot_timeout
        self._clear_timeout = clear_timeout
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def facts(self) -> Facts:
        """All of :class:`Facts` in one request."""
        service, proxy = await self._post(
            [
                _read(STORAGE_SERVICE, [*_ATTRIBUTES]) | {"config": {"ignoreErrors": True}},
                _read(STORAGE_PROXY, "SchemaVersions"),
            ],
            self._timeout,
        )
        values = _value(service)
        known = {field: values.get(name) for name, field in _ATTRIBUTES.items()}
        # With ignoreErrors an attribute that fails is the text "ERROR: …" in the place of its value.
        known = {field: value for field, value in known.items() if value is not None and not _failed(value)}
        if proxy.get("status") == 200:
            known["schema_versions"] = proxy.get("value") or {}
        try:
            return msgspec.convert(known, Facts, strict=False)
        except msgspec.ValidationError as error:
            raise AgentError(Reason.CASSANDRA_UNAVAILABLE, f"Jolokia's answer makes no sense: {error}") from error

    async def ready(self) -> str:
        """Empty when clients can be served; else one sentence that says why not."""
        wanted = _read(STORAGE_SERVICE, ["OperationMode", "NativeTransportRunning"])
        answers = await self._post([wanted], min(self._timeout, _READY_TIMEOUT))
        values = _value(answers[0])
        if values.get("OperationMode") != "NORMAL":
            return f"Cassandra is {values.get('OperationMode') or 'starting'}, not NORMAL"
        return "" if values.get("NativeTransportRunning") is True else "the native transport is not running"

    async def take_snapshot(self, name: str, entities: Sequence[str] = ()) -> None:
        """Flushed first, of all tables or of ``entities``. SnapshotFailed in Cassandra's words, for example when the
        name exists.
        """
        for part in scope.calls(entities):
            await self._execute(_TAKE, [_ours(name), {}, part], self._snapshot_timeout)

    async def tables(self) -> dict[str, set[str]]:
        """Every table by its keyspace, also of keyspaces that have none. Virtual ones are not among them."""
        keyspaces, names = await self._post(
            [_read(STORAGE_SERVICE, ["Keyspaces"]), {"type": "search", "mbean": _ALL_TABLES}], self._timeout
        )
        found: dict[str, set[str]] = {str(name): set() for name in _value(keyspaces).get("Keyspaces") or ()}
        listed = names.get("value")
        if names.get("status") != 200 or not isinstance(listed, list):
            raise _unavailable(f"Cassandra does not say which tables it has: {_error(names)}")
        for name in listed:
            told = dict(pair.partition("=")[::2] for pair in str(name).partition(":")[2].split(","))
            if told.get("keyspace") in found and told.get("table"):
                found[told["keyspace"]].add(told["table"])
        return found

    async def clear_snapshot(self, name: str) -> None:
        """Of all keyspaces; one that is not there is cleared. An empty name would clear everyone's."""
        await self._execute(_CLEAR, [_ours(name), []], self._clear_timeout)

    async def ring(self) -> list[Member]:
        """Every node of the cluster that this one knows, whether it is up or not."""
        answer = (await self._post([_read(STORAGE_SERVICE, [_HOST_IDS, _TOKENS])], self._timeout))[0]
        found = _value(answer)
        addresses: dict[str, str] = found.get(_HOST_IDS) or {}
        tokens: dict[str, list[str]] = {address: [] for address in addresses}
        for token, address in (found.get(_TOKENS) or {}).items():
            tokens.setdefault(str(address), []).append(str(token))
        asked = [_ask(what, address) for address in addresses for what in ("getDatacenter", "getRack")]
        told = [str(_said(one)) for one in await self._post(asked, self._timeout)] if asked else []
        return [
            Member(host_id, datacenter, rack, sorted(tokens[address], key=_number))
            for (address, host_id), datacenter, rack in zip(addresses.items(), told[::2], told[1::2], strict=True)
        ]

    async def _execute(self, operation: str, arguments: list[Any], timeout: float) -> None:  # noqa: ASYNC109
        request = {"type": "exec", "mbean": STORAGE_SERVICE, "operation": operation, "arguments": arguments}
        answer = (await self._post([request], timeout))[0]
        if answer.get("status") != 200:
            name = operation.partition("(")[0]
            raise AgentError(Reason.SNAPSHOT_FAILED, f"Cassandra refused {name}: {_error(answer)}", retryable=True)

    async def _post(self, requests: list[dict[str, Any]], timeout: float) -> list[dict[str, Any]]:  # noqa: ASYNC109
        if self._session is None:
            self._session = aiohttp.ClientSession(trust_env=False)
        try:
            async with self._session.post(
                self._url, data=json.dumps(requests), timeout=aiohttp.ClientTimeout(total=timeout)
            ) as response:
                text = await response.read()
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            said = str(error) or type(error).__name__
            raise _unavailable(f"Cassandra does not answer on {self._url} ({said})") from error
        try:
            answers = json.loads(text)
        except ValueError as error:
            raise _unavailable(f"Jolokia answered {response.status} without JSON") from error
        if not isinstance(answers, list) or len(answers) != len(requests):
            raise _unavailable(f"Jolokia refused the request: {_error(answers)}")
        return answers


def _read(mbean: str, attribute: str | list[str]) -> dict[str, Any]:
    return {"type": "read", "mbean": mbean, "attribute": attribute}


def _ask(what: str, address: str) -> dict[str, Any]:
    """Of the snitch."""
    return {"type": "exec", "mbean": SNITCH, "operation": f"{what}(java.lang.String)", "arguments": [address]}


def _said(answer: dict[str, Any]) -> object:
    if answer.get("status") != 200:
        raise _unavailable(f"Cassandra does not say where its nodes are: {_error(answer)}")
    return answer.get("value")


def _number(token: str) -> tuple[int, str]:
    """As numbers, where the partitioner's tokens are some."""
    return (int(token), "") if token.lstrip("-").isdecimal() else (0, token)


def _value(answer: dict[str, Any]) -> dict[str, Any]:
    value = answer.get("value")
    if answer.get("status") != 200 or not isinstance(value, dict):
        raise _unavailable(f"Cassandra's JMX is not ready: {_error(answer)}")
    return value


def _failed(value: object) -> bool:
    return isinstance(value, str) and value.startswith("ERROR:")


def _error(answer: object) -> str:
    text = str(answer.get("error") or answer.get("status")) if isinstance(answer, dict) else "an odd answer"
    return text.split("\n", 1)[0][:500]


def _ours(name: str) -> str:
    if not name.startswith(PREFIX) or name == PREFIX:
        raise AgentError(Reason.INTERNAL, f"{name!r} is not a snapshot of ours")
    return name


def _unavailable(message: str) -> AgentError:
    return AgentError(Reason.CASSANDRA_UNAVAILABLE, message, retryable=True)
