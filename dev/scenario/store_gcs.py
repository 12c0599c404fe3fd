"""A bucket of Google Cloud Storage, by the JSON API of an emulator that asks for no credentials."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy knows the way into the cluster
_SECONDS = 30.0


@dataclass(frozen=True)
class GcsStore:
    """``endpoint`` is the store's URL as this machine reaches it."""

    endpoint: str

    def make_empty(self, bucket: str) -> int:
        self._call("POST", "/storage/v1/b?project=bed", {"name": bucket}, fine=409)
        found = self.keys(bucket)
        self.delete(bucket, found)
        return len(found)

    def remove(self, bucket: str) -> None:
        for _ in range(20):
            self.delete(bucket, self.keys(bucket))
            if self._call("DELETE", f"/storage/v1/b/{bucket}", fine=412) is not None:
                return
        raise RuntimeError(f"{bucket} is filled faster than it can be emptied")

    def delete(self, bucket: str, keys: Sequence[str]) -> None:
        for key in keys:
            self._call("DELETE", f"/storage/v1/b/{bucket}/o/{urllib.parse.quote(key, safe='')}", fine=404)

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        return [each["name"] for each in self._objects(bucket, prefix)]

    def read(self, bucket: str, key: str) -> bytes:
        url = f"{self.endpoint}/storage/v1/b/{bucket}/o/{urllib.parse.quote(key, safe='')}?alt=media"
        with _OPENER.open(url, timeout=_SECONDS) as response:
            found: bytes = response.read()
            return found

    def size(self, bucket: str) -> int:
        return sum(int(each["size"]) for each in self._objects(bucket, ""))

    def _objects(self, bucket: str, prefix: str) -> Iterator[dict[str, Any]]:
        token = ""
        while True:
            query = urllib.parse.urlencode({"prefix": prefix, "pageToken": token})
            page = self._call("GET", f"/storage/v1/b/{bucket}/o?{query}", fine=404) or {}
            yield from page.get("items", [])
            token = page.get("nextPageToken", "")
            if not token:
                return

    def _call(self, method: str, path: str, body: object = None, *, fine: int) -> dict[str, Any] | None:
        """The answer, or None where the code is ``fine``."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.endpoint}{path}", data=data, method=method)
        request.add_header("Content-Type", "application/json")
        try:
            with _OPENER.open(request, timeout=_SECONDS) as response:
                return json.loads(response.read() or b"{}") or {}
        except urllib.error.HTTPError as error:
            with error:
                if error.code != fine:
                    raise
            return None
