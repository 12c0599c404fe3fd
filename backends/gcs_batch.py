"""Many deletions in one request: ``multipart/mixed`` of requests, answered by one of answers.

See "Batch requests" in Cloud Storage's JSON API: at most 100 calls, answered in any order by their Content-ID.
"""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from backends.errors import Kind, StoreError
from backends.gcs_client import Ask
from backends.gcs_errors import foreign, refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backends.gcs_client import Client

LIMIT = 100
_ANSWER = re.compile(
    rb"Content-ID: *<?response-(\d+)>?.*?\r?\n\r?\n *HTTP/1\.[01] (\d{3})[^\n]*\n(.*?)\r?\n\r?\n(.*)",
    re.DOTALL | re.IGNORECASE,
)


async def delete(client: Client, keys: Sequence[str]) -> None:
    """At most ``LIMIT`` keys; absent ones are fine. Raises the first failure, and says how many there are."""
    boundary = secrets.token_hex(16)
    query = f"?{urlencode(client.query)}" if client.query else ""
    calls = [
        f"--{boundary}\r\nContent-Type: application/http\r\nContent-ID: <{number}>\r\n\r\n"
        f"DELETE {urlsplit(client.object(key)).path}{query} HTTP/1.1\r\n\r\n\r\n"
        for number, key in enumerate(keys)
    ]
    body = ("".join(calls) + f"--{boundary}--\r\n").encode()
    headers = {"Content-Type": f"multipart/mixed; boundary={boundary}"}
    ask = Ask("delete", keys[0], "POST", f"{client.root}/batch/storage/v1", {}, headers)
    answer = await client.call(ask, body)
    _, told, rest = answer.headers.get("Content-Type", "").partition("boundary=")
    if not told:
        raise foreign(answer.status, answer.headers, client.place(ask))
    statuses = _statuses(answer.data, rest.partition(";")[0].strip(' "').encode())
    failed = [
        (key, refusal(status, {}, data, ("delete", client.name, key)))
        for number, key in enumerate(keys)
        for status, data in (statuses.get(number, (503, b"")),)
        if status >= 300
    ]
    failed = [(key, error) for key, error in failed if error.kind is not Kind.NOT_FOUND]
    if failed:
        key, error = failed[0]
        message = f"{len(failed)} of {len(keys)} keys stayed: {error.message}"
        raise StoreError(error.kind, "delete", client.name, key, message, error.retryable)


def _statuses(data: bytes, boundary: bytes) -> dict[int, tuple[int, bytes]]:
    """Number of the call -> status and body of its answer. A call that is missing was not answered."""
    answers = filter(None, map(_ANSWER.search, data.split(b"--" + boundary)))
    return {int(match[1]): (int(match[2]), match[4]) for match in answers}
