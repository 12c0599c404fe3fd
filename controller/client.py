"""The API server as this operator uses it: JSON in, JSON out, a timeout on every call, one error tree.

The only import of kubernetes_asyncio. Of it are used the configuration (kubeconfig, service account, exec plugins) and
the connections that it makes from that; not its calls, since in 36.1 ``_preload_content=False`` passes HTTP errors
as answers, there is no default timeout, and bodies are encoded twice.
"""
# ruff: noqa: ASYNC109  a timeout is part of every request and reaches aiohttp as such

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import aiohttp
import msgspec
from kubernetes_asyncio import config as kubernetes_config
from kubernetes_asyncio.client import ApiClient, Configuration
from kubernetes_asyncio.config.incluster_config import SERVICE_TOKEN_FILENAME

from controller import builtin
from controller.config import ConfigError
from controller.errors import ApiError, Conflict, Invalid, NotFound, ServerError
from controller.resource import Key, Resource
from controller.transport import JSON, Answer, Transport, read, translated

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from controller.config import Config

T = TypeVar("T")
Body = dict[str, Any]
Bodies = list[Body]  # here, since inside Client "list" is the verb
list_ = list
JsonPatch = list[Body]

FIELD_MANAGER = "cassandra-operator"
PAGE_SIZE = 500
DEFAULT_TIMEOUT = 30.0
MAX_RAW_BODY = 8 << 20
_READ_BUFFER = 2 << 20  # bytes; an object has up to 1.5 MiB

_APPLY = "application/apply-patch+yaml"
_JSON_PATCH = "application/json-patch+json"
_MERGE_PATCH = "application/merge-patch+json"
_MANAGED = {"fieldManager": FIELD_MANAGER}


def in_cluster(config: Config) -> bool:
    """Whether this process runs in a pod and is to use the pod's own service account."""
    return not config.kubeconfig and Path(SERVICE_TOKEN_FILENAME).is_file()


class RawResponse(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


class Page(NamedTuple):
    """One page of a list: undecoded items, the list's resourceVersion, the token for the next page ("" at the end)."""

    items: list[msgspec.Raw]
    resource_version: str
    next: str


class _ListMeta(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    next: str = msgspec.field(name="continue", default="")


class _List(msgspec.Struct):
    metadata: _ListMeta
    items: list[msgspec.Raw] | None = None


_list_decoder = msgspec.json.Decoder(_List)
_body_decoder = msgspec.json.Decoder(Body)


class Client:
    """Safe to share between tasks. Every ``timeout`` is seconds for the whole call and ends in ``errors.Timeout``."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    @classmethod
    async def connect(cls, config: Config) -> Client:
        """Finds the API server and how to log in; sends nothing yet. ConfigError where that cannot be found."""
        configuration = Configuration()
        try:
            if in_cluster(config):
                kubernetes_config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
            else:
                await _load_kubeconfig(config, configuration)
        except kubernetes_config.ConfigException as e:
            raise ConfigError(f"No way to reach Kubernetes: {e}") from e

        async def authorization() -> str:
            found = (await configuration.auth_settings()).get("BearerToken") or {}
            return (found.get("value") or "").strip()

        options: dict[str, Any] = {}
        if configuration.proxy:
            options |= {"proxy": configuration.proxy, "proxy_headers": configuration.proxy_headers}
        if configuration.tls_server_name:
            options["server_hostname"] = configuration.tls_server_name
        theirs = ApiClient(configuration).rest_client.pool_manager
        session = aiohttp.ClientSession(
            connector=theirs.connector, trust_env=True, read_bufsize=_READ_BUFFER, response_class=Answer
        )
        theirs.detach()
        return cls(Transport(session, configuration.host or "", authorization, options))

    async def close(self) -> None:
        await self._transport.session.close()

    def set_guard(self, guard: Callable[[], None] | None) -> None:
        """``guard`` is asked before every write and may raise NotLeading."""
        self._transport.guard = guard

    def unguarded(self) -> Client:
        """The same connections without a guard: for the Lease itself."""
        return Client(replace(self._transport, guard=None))

    async def get(self, resource: Resource, key: Key, *, timeout: float = DEFAULT_TIMEOUT) -> Body:
        """The live object; NotFound."""
        return await self._json("get", resource, key, "GET", resource.key_path(key), timeout=timeout)

    async def list(
        self, resource: Resource, namespace: str = "", *, label_selector: str = "", timeout: float = DEFAULT_TIMEOUT
    ) -> Bodies:
        """All live objects, page by page; ``timeout`` is a page's. Items have ``apiVersion`` and ``kind``."""
        found: Bodies = []
        token = ""
        while True:
            page = await self.list_page(
                resource, namespace, label_selector=label_selector, token=token, timeout=timeout
            )
            head = {"apiVersion": resource.api_version, "kind": resource.kind}
            found += [head | _body_decoder.decode(item) for item in page.items]
            token = page.next
            if not token:
                return found

    async def list_page(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        label_selector: str = "",
        token: str = "",
        limit: int = PAGE_SIZE,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> Page:
        """One page, undecoded; Gone when ``token`` has expired."""
        query = {"limit": str(limit)}
        if label_selector:
            query["labelSelector"] = label_selector
        if token:
            query["continue"] = token
        operation = _operation("list", resource, Key(namespace, ""))
        path = resource.path(namespace)
        body = await self._transport.checked("list", operation, "GET", path, query=query, timeout=timeout)
        found = _decode(_list_decoder, body, operation)
        return Page(found.items or [], found.metadata.resource_version, found.metadata.next)

    def watch_lines(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        resource_version: str,
        timeout: float,
        label_selector: str = "",
    ) -> AsyncGenerator[bytes, None]:
        """Lines of a watch from ``resource_version``, bookmarks among them, until the server ends it after ``timeout``.

        Raises as every call does, and LineTooLong. Close the iterator when leaving it early (``aclosing``).
        """
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(max(1, int(timeout))),
        }
        if label_selector:
            query["labelSelector"] = label_selector
        operation = _operation("watch", resource, Key(namespace, ""))
        return self._transport.lines(operation, resource.path(namespace), query=query, timeout=timeout)

    async def create(self, resource: Resource, body: Mapping[str, Any], *, timeout: float = DEFAULT_TIMEOUT) -> Body:
        """AlreadyExists. ``body`` may have ``metadata.generateName``."""
        key = _key(body)
        full = _typed(resource, body)
        path = resource.path(key.namespace)
        return await self._json("create", resource, key, "POST", path, query=_MANAGED, body=full, timeout=timeout)

    async def apply(
        self, resource: Resource, body: Mapping[str, Any], *, force: bool = True, timeout: float = DEFAULT_TIMEOUT
    ) -> Body:
        """Server-side apply: creates the object or makes our fields of it equal to ``body``; others' stay.

        Without ``force`` a field that another manager owns gives Conflict.
        """
        key = _key(body)
        return await self._json(
            "apply",
            resource,
            key,
            "PATCH",
            resource.key_path(key),
            query=_MANAGED | {"force": "true" if force else "false"},
            body=_typed(resource, body),
            content_type=_APPLY,
            timeout=timeout,
        )

    async def patch_status(
        self,
        resource: Resource,
        key: Key,
        status: Mapping[str, Any],
        *,
        uid: str,
        resource_version: str = "",
        timeout: float = DEFAULT_TIMEOUT,
    ) -> Body:
        """Replaces the whole status; Conflict when the object has another uid or, where given, resourceVersion."""
        patch: JsonPatch = [{"op": "test", "path": "/metadata/uid", "value": uid}]
        if resource_version:
            patch.append({"op": "test", "path": "/metadata/resourceVersion", "value": resource_version})
        patch.append({"op": "add", "path": "/status", "value": status})
        return await self.patch(resource, key, patch, subresource="status", timeout=timeout)

    async def patch(
        self,
        resource: Resource,
        key: Key,
        patch: JsonPatch | Mapping[str, Any],
        *,
        subresource: str = "",
        timeout: float = DEFAULT_TIMEOUT,
    ) -> Body:
        """A list is a JSON patch (Conflict when a ``test`` in it fails), a mapping a merge patch."""
        content_type = _JSON_PATCH if isinstance(patch, list_) else _MERGE_PATCH
        path = resource.key_path(key, subresource)
        try:
            return await self._json(
                "patch",
                resource,
                key,
                "PATCH",
                path,
                query=_MANAGED,
                body=patch,
                content_type=content_type,
                timeout=timeout,
            )
        except Invalid as e:
            if isinstance(patch, list_) and _test_failed(e) and any(op["op"] == "test" for op in patch):
                message = "the object is not the one, or not in the state, that the patch expects"
                raise Conflict(message, status=e.status, operation=e.operation) from e
            raise

    async def delete(
        self,
        resource: Resource,
        key: Key,
        *,
        uid: str = "",
        resource_version: str = "",
        propagation: str = "Background",
        grace_period: int | None = None,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> bool:
        """False: it was not there. Conflict when it has another uid or resourceVersion than given."""
        body: Body = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        preconditions = {k: v for k, v in (("uid", uid), ("resourceVersion", resource_version)) if v}
        if preconditions:
            body["preconditions"] = preconditions
        if grace_period is not None:
            body["gracePeriodSeconds"] = grace_period
        try:
            await self._json("delete", resource, key, "DELETE", resource.key_path(key), body=body, timeout=timeout)
        except NotFound:
            return False
        return True

    async def raw(
        self,
        method: str,
        path: str,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        limit: int = MAX_RAW_BODY,
    ) -> RawResponse:
        """Any request, whatever its status: the pods' proxy. ApiError where ``limit`` bytes are not enough."""
        operation = f"{method} {path}"
        limits = aiohttp.ClientTimeout(total=timeout)
        with translated(operation):
            async with self._transport.send(
                "raw", method, path, query=query, body=body or None, headers=headers, limits=limits
            ) as response:
                data = await read(response, limit, operation)
                return RawResponse(response.status, response.headers, data)

    async def _json(
        self,
        verb: str,
        resource: Resource,
        key: Key,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = JSON,
        timeout: float,
    ) -> Body:
        operation = _operation(verb, resource, key)
        data = None if body is None else msgspec.json.encode(body)
        try:
            answer = await self._transport.checked(
                verb, operation, method, path, query=query, body=data, content_type=content_type, timeout=timeout
            )
        except (Invalid, ServerError) as e:
            if resource == builtin.SECRETS:  # the server quotes what it cannot take
                message = "the API server refuses it; its message is withheld, since it may quote a value"
                raise type(e)(message, status=e.status, reason=e.reason, operation=operation) from None
            raise
        return _decode(_body_decoder, answer, operation)


async def _load_kubeconfig(config: Config, configuration: Configuration) -> None:
    loader = await kubernetes_config.load_kube_config(
        config_file=config.kubeconfig or None,
        context=config.context or None,
        client_configuration=configuration,
        persist_config=False,
    )
    if hasattr(loader, "exec_plugin_expiry"):  # a plugin's token that ends; the loader runs the plugin only then

        async def refresh(current: Configuration) -> None:
            await loader.load_from_exec_plugin()
            current.api_key["BearerToken"] = loader.token

        configuration.refresh_api_key_hook = refresh


def _operation(verb: str, resource: Resource, key: Key) -> str:
    return f"{verb} {resource} {key}".rstrip("/ ")


def _key(body: Mapping[str, Any]) -> Key:
    metadata = body["metadata"]
    return Key(metadata.get("namespace", ""), metadata.get("name", ""))


def _typed(resource: Resource, body: Mapping[str, Any]) -> Body:
    return {"apiVersion": resource.api_version, "kind": resource.kind} | dict(body)


def _decode(decoder: msgspec.json.Decoder[T], body: bytes, operation: str) -> T:
    try:
        return decoder.decode(body)
    except msgspec.MsgspecError as e:
        raise ApiError(f"the answer is not what the API promises: {e}", operation=operation, retryable=True) from e


def _test_failed(e: Invalid) -> bool:
    """The API server (1.34) says nothing but this when a ``test`` failed or a path of the patch is not there."""
    return "the server rejected our request" in e.message
