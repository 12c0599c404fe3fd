"""What happens around each request that the SDK makes for us: its events, and its HTTP session."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any

import aiohttp
from aiobotocore.httpsession import AIOHTTPSession
from yarl import URL

from backends.s3_faults import RENEWED, SEEN, NotS3, Redirected, not_s3

if TYPE_CHECKING:
    from backends.s3_credentials import Keys

_STAMP = "stamp_of_the_keys"
# What a listing or an upload's begin is made of. Without it an empty page would be an empty bucket.
_ROOTS = {
    "ListObjectsV2": b"ListBucketResult",
    "ListParts": b"ListParts",  # moto says ListPartsResponse
    "ListMultipartUploads": b"ListMultipartUploadsResult",
    "CreateMultipartUpload": b"InitiateMultipartUploadResult",
}
_WITH_ETAG = frozenset({"PutObject", "UploadPart", "HeadObject", "GetObject"})


def register(client: Any, keys: Keys) -> None:
    """Hangs the hooks below into ``client``."""
    hooks = _Hooks(keys)
    client.meta.events.register_last("before-call.s3", hooks.before)
    client.meta.events.register_last("after-call.s3", hooks.after)
    client.meta.events.register_last("after-call-error.s3", hooks.failed)


class _Hooks:
    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._seen = False  # that the endpoint answers as S3 does

    def before(self, params: dict[str, Any], context: dict[str, Any], model: Any, **_: object) -> None:
        # With it each put waits a round trip for "100 Continue", and without end where something between swallows that.
        params["headers"].pop("Expect", None)
        if model.name == "DeleteObjects":  # some servers know this one alone
            digest = hashlib.md5(params["body"], usedforsecurity=False).digest()
            params["headers"]["Content-MD5"] = base64.b64encode(digest).decode()
        context[_STAMP] = self._keys.stamp
        # The SDK would find out the bucket's region and go there, which our own requests do not: the same for all.
        context.setdefault("s3_redirect", {})["redirected"] = True

    async def after(
        self, http_response: Any, parsed: dict[str, Any], model: Any, context: dict[str, Any], **_: object
    ) -> None:
        """Marks refusals that other keys may lift; raises for an answer that is not S3's."""
        status = http_response.raw.status  # the SDK makes 500 of a 200 with words that it does not understand
        failed = http_response.status_code >= 300
        code = str(parsed.get("Error", {}).get("Code", ""))
        if failed and code and not code.isdecimal():
            self._seen = True
            if await self._keys.refused(code, context.get(_STAMP, 0)):
                parsed["Error"][RENEWED] = True
            return
        body = b"" if model.has_streaming_output and not failed else await http_response.content
        named = model.name if model.name in _WITH_ETAG else ""
        strange = not_s3(status, http_response.headers, body, object_of=named, seen=self._seen)
        if strange is None and not failed and _ROOTS.get(model.name, b"") not in body[:1000]:
            strange = NotS3(status, f"no result of {model.name}")
        if strange is not None:
            raise strange
        self._seen = self._seen or not failed

    def failed(self, exception: Exception, **_: object) -> None:
        setattr(exception, SEEN, self._seen)


class HttpSession(AIOHTTPSession):
    """The SDK's, which does not follow redirects, as botocore's own does not: aiohttp would drop the signature."""

    async def _get_session(self, proxy_url: str | None) -> aiohttp.ClientSession:
        session: aiohttp.ClientSession = await super()._get_session(proxy_url)  # type: ignore[no-untyped-call]
        if not session.trace_configs:
            trace = aiohttp.TraceConfig()
            trace.on_request_redirect.append(_refuse)
            trace.freeze()
            session.trace_configs.append(trace)
        return session


async def _refuse(_session: object, _context: object, params: aiohttp.TraceRequestRedirectParams) -> None:
    location = params.response.headers.get("Location")
    if location is None:  # nothing to follow: S3 says in words where the bucket is
        return
    params.response.close()
    to = params.url.join(URL(location))
    raise Redirected(
        f"the endpoint redirects to {to.origin()}: set endpoint.url (or AWS_ENDPOINT_URL in spec.env), "
        "or AWS_REGION for a bucket in another region"
    )
