"""What goes wrong before S3 answers, or where something else answers: credentials, the network, a web page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from botocore import exceptions as sdk

from backends.errors import Kind
from backends.s3_network import CORRECT_ENDPOINT, Fault, causes, of_network, words_of

if TYPE_CHECKING:
    from collections.abc import Mapping

SEEN = "endpoint_has_answered"  # an attribute that s3_hooks gives to errors
RENEWED = "Renewed"  # a field that s3_hooks adds to an answer's Error
CREDENTIAL_CALLS = frozenset(
    {"AssumeRole", "AssumeRoleWithWebIdentity", "AssumeRoleWithSAML", "GetRoleCredentials", "CreateToken"}
)
CHECK_CREDENTIALS = "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY in spec.env, or the service account's role"
NO_CREDENTIALS = (
    "no credentials found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in spec.env, "
    "or use a service account with a role"
)


class Unusable(Exception):  # noqa: N818  reads as what it is
    """A setting that cannot work. The message is the sentence."""


class Redirected(Exception):  # noqa: N818  as above
    """The endpoint sends us elsewhere. It is not followed: a signature is good for one host."""


class NotS3(Exception):  # noqa: N818  as above
    """Something answers, but not S3. The message says what came; ``status`` is HTTP's."""

    def __init__(self, status: int, what: str) -> None:
        super().__init__(what)
        self.status = status


_CREDENTIALS: tuple[type[Exception], ...] = (
    sdk.PartialCredentialsError, sdk.ProfileNotFound, sdk.ConfigNotFound, sdk.ConfigParseError, sdk.InvalidConfigError,
    sdk.UnknownCredentialError, sdk.UnauthorizedSSOTokenError, sdk.SSOTokenLoadError, sdk.NoAuthTokenError,
    sdk.InfiniteLoopConfigError, sdk.RefreshWithMFAUnsupportedError, sdk.MissingDependencyException,
)  # fmt: skip
_FLEETING: tuple[type[Exception], ...] = (
    sdk.CredentialRetrievalError, sdk.TokenRetrievalError, sdk.MetadataRetrievalError,
)  # fmt: skip


def of(error: Exception, *, seen: bool) -> Fault:
    """Kind, sentence, and whether it may help to ask again.

    ``seen``: the endpoint has answered as S3 before, so that what is odd now is a broken connection.
    """
    if isinstance(error, Unusable):
        return Fault(Kind.INVALID, str(error))
    if isinstance(error, NotS3):
        return _strange(error, seen=seen)
    for cause in causes(error):  # the SDK wraps it
        if isinstance(cause, Redirected):
            return Fault(Kind.INVALID, str(cause))
    return _of_credentials(error) or of_network(error, seen=seen) or _unknown(error)


def not_s3(
    status: int, headers: Mapping[str, str], body: bytes, *, object_of: str = "", seen: bool = False
) -> NotS3 | None:
    """Something to raise for an answer that is not S3's, header names in lower case; None where it may be S3.

    For an error without a code, and for what S3 answers in XML. ``object_of`` names the verb whose answer has to carry
    an ETag. An empty body proves nothing; nor does a content type, which some servers get wrong.
    """
    start = body[:1000].lstrip().lower()
    if b"https" in start and b"http " in start and status == 400:
        what = "plain http where it wants https"
    elif b"<html" in start or start.startswith(b"<!doctype html"):
        what = "an HTML page"
    elif start.startswith((b"{", b"[")):
        what = "JSON"
    elif start and not start.startswith(b"<"):
        what = "text" if start.isascii() else "bytes that are no XML"
    elif status == 400 and not start and not any(name.startswith("x-amz-") for name in headers):
        what = "no words, as one of https does to http"
    elif object_of and status < 300 and "etag" not in headers:
        what = f"no ETag to {object_of}"
    else:
        return None
    strange = NotS3(status, what)
    setattr(strange, SEEN, seen)
    return strange


def _strange(error: NotS3, *, seen: bool) -> Fault:
    if str(error).startswith("plain http"):  # what a TLS server says to it, in whatever words
        return Fault(Kind.INVALID, f"the endpoint speaks https, not http ({CORRECT_ENDPOINT})")
    if error.status == 407:
        return Fault(Kind.FORBIDDEN, "the proxy wants a name and a password: set them in HTTPS_PROXY")
    said = f"the endpoint answered {error.status} with {error}, which is not S3"
    if error.status >= 500 or seen:  # a proxy before the store, while that restarts
        return Fault(Kind.UNAVAILABLE, said)
    return Fault(Kind.INVALID, f"{said} ({CORRECT_ENDPOINT})")


def _of_credentials(error: Exception) -> Fault | None:
    if isinstance(error, sdk.NoCredentialsError):
        return Fault(Kind.UNAUTHENTICATED, NO_CREDENTIALS)
    if isinstance(error, _CREDENTIALS):
        return Fault(Kind.UNAUTHENTICATED, f"{words_of(error)} ({CHECK_CREDENTIALS})")
    if isinstance(error, _FLEETING):
        return Fault(Kind.UNAUTHENTICATED, words_of(error), retryable=True)
    if isinstance(error, sdk.NoRegionError):
        return Fault(Kind.INVALID, "no region is known: set AWS_REGION in spec.env, or endpoint.region")
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError) and error.filename:
        said = f"{error.filename} cannot be read: {error.strerror}"  # the token file of a web identity or container
        return Fault(Kind.UNAUTHENTICATED, f"{said} ({CHECK_CREDENTIALS})")
    if isinstance(error, RuntimeError) and "credentials are still expired" in str(error):  # the SDK's, of new ones
        return Fault(Kind.UNAUTHENTICATED, f"{words_of(error)} (set the clock of this node, or {CHECK_CREDENTIALS})")
    return None


def _unknown(error: Exception) -> Fault:
    words = words_of(error)
    if isinstance(error, sdk.ParamValidationError) and "Invalid bucket name" in words:
        words = "a bucket's name is 3 to 63 lower-case letters, digits, dots and dashes: correct the target"
        return Fault(Kind.INVALID, words)
    return Fault(Kind.INVALID, f"{type(error).__name__}: {words}")
