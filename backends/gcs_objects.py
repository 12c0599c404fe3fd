"""Single objects by the JSON API: the requests that the store's verbs, and its uploads in parts, are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from backends import gcs_batch
from backends.gcs_client import PATIENCE, Ask
from backends.gcs_upload import FIELDS, Resource, Uploader, Write

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from backends.base import Body
    from backends.gcs_client import Client
    from backends.gcs_options import Keeping

PAGE = 1000  # the API's limit


class _Page(msgspec.Struct, rename="camel"):
    items: list[Resource] = []
    next_page_token: str = ""


class _Rewrite(msgspec.Struct, rename="camel"):
    rewrite_token: str = ""
    resource: Resource | None = None


class Objects:
    """``keeping``: how the user wants objects kept."""

    def __init__(self, client: Client, keeping: Keeping) -> None:
        self.name = client.name
        self.storage_class = keeping.storage_class
        self.fields = keeping.resource
        self._client = client
        self._keeping = keeping
        self._uploader = Uploader(client)
        self.verify = self._uploader.verify

    async def write(
        self, operation: str, key: str, body: Body, query: dict[str, str] | None = None, *, storage_class: str = ""
    ) -> Resource:
        fields = self.fields(storage_class)
        return await self._uploader.write(Write(operation, key, body, fields, (query or {}) | self._keeping.key()))

    async def head(self, operation: str, key: str) -> Resource:
        ask = Ask(operation, key, "GET", self._client.object(key), {"fields": FIELDS})
        return self._client.decode(await self._client.call(ask), Resource, ask)

    async def names(self, operation: str, prefix: str, start_after: str = "") -> AsyncIterator[Resource]:
        """All that begin with ``prefix``, in order, uploads under way too."""
        query = {"prefix": prefix, "maxResults": str(PAGE), "fields": f"nextPageToken,items({FIELDS})"}
        if start_after:
            query["startOffset"] = start_after  # inclusive
        ask = Ask(operation, prefix, "GET", f"{self._client.bucket}/o", query)
        while True:
            page = self._client.decode(await self._client.call(ask), _Page, ask)
            for found in page.items:
                if found.name != start_after:
                    yield found
            if not page.next_page_token:
                return
            query["pageToken"] = page.next_page_token

    async def delete(self, keys: Sequence[str]) -> None:
        """Absent keys are fine."""
        once = list(dict.fromkeys(keys))
        for start in range(0, len(once), gcs_batch.LIMIT):
            await gcs_batch.delete(self._client, once[start : start + gcs_batch.LIMIT])

    async def rewrite(
        self, operation: str, source: str, target: str, fields: dict[str, Any], query: dict[str, str]
    ) -> Resource:
        """A copy on the server, by as many calls as it wants."""
        client = self._client
        url = f"{client.object(source)}/rewriteTo{client.object(target).removeprefix(f'{client.root}/storage/v1')}"
        query = query | self._keeping.key("destinationKmsKeyName")
        ask = Ask(operation, target, "POST", url, query, patience=PATIENCE)
        while True:
            step = client.decode(await client.call(ask, fields), _Rewrite, ask)
            if step.resource is not None:
                return step.resource
            query["rewriteToken"] = step.rewrite_token

    async def compose(
        self,
        key: str,
        sources: Sequence[tuple[str, str]],
        fields: dict[str, Any],
        query: dict[str, str],
        *,
        last: bool = False,
    ) -> Resource:
        """``sources``: name and generation. ``last``: they go with it, for good.

        Deleted by themselves they would be kept, and paid for, another seven days where the bucket has soft delete.
        """
        body: dict[str, Any] = {
            "sourceObjects": [{"name": name, "generation": generation} for name, generation in sources],
            "destination": fields,
        }
        if last:
            body["deleteSourceObjects"] = True
        url = f"{self._client.object(key)}/compose"
        ask = Ask("complete upload", key, "POST", url, query | self._keeping.key(), patience=PATIENCE)
        return self._client.decode(await self._client.call(ask, body), Resource, ask)
